//go:build sabotage

package sim

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var census = flag.Bool("census", false, "say which faults a planted bug needs")

// TestWhichFaultsABugNeeds runs the same seeds without faults, then with each kind by itself and one at a time, then with
// all kinds and one at a time, and then with two at a time; and prints what scripts/sabotage --needs-two shows. A bug that
// only the last finds needs two faults that overlap, as far as so many seeds can tell.
func TestWhichFaultsABugNeeds(t *testing.T) {
	if !*census {
		t.Skip("for scripts/sabotage --needs-two")
	}
	began := time.Now()
	tell := func(needs, kinds string, r *Report) {
		fmt.Printf("CENSUS needs=%s kinds=%s seed=%d seconds=%.0f\n", needs, kinds, r.Config.Seed, time.Since(began).Seconds())
	}
	if r := search(Config{Without: []string{"all"}}, *seeds); r != nil {
		tell("none", "-", r)
		return
	}
	for _, k := range faultKinds {
		if r := search(Config{Without: allBut(k.name), AtOnce: 1}, *seeds); r != nil {
			tell("one", k.name, r)
			return
		}
	}
	if r := search(Config{AtOnce: 1}, 4**seeds); r != nil {
		tell("apart", kindsOf(r), r)
		return
	}
	if r := search(Config{AtOnce: 2}, 4**seeds); r != nil {
		tell("overlap", kindsOf(r), r)
		return
	}
	fmt.Printf("CENSUS needs=? kinds=- seed=0 seconds=%.0f\n", time.Since(began).Seconds())
}

// search returns the first seed's report that finds something; nil when none does.
func search(c Config, seeds int) *Report {
	for seed := uint64(1); seed <= uint64(seeds); seed++ {
		c.Seed, c.Ops = seed, *ops
		if r := Run(c); r.Violation != nil {
			return r
		}
	}
	return nil
}

func allBut(kinds ...string) (others []string) {
	for _, k := range faultKinds {
		if !slices.Contains(kinds, k.name) {
			others = append(others, k.name)
		}
	}
	return others
}

// kindsOf names the kinds of faults that are left when a run is shrunk.
func kindsOf(r *Report) string {
	_, small := Shrink(r.Config, r, 60)
	var kinds []string
	for _, k := range faultKinds {
		if small.Faults[k.name] != nil {
			kinds = append(kinds, k.name)
		}
	}
	return strings.Join(kinds, "+")
}
