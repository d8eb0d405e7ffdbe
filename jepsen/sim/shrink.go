package sim

import (
	"fmt"
	"slices"
	"strings"
)

// Shrink finds a smaller run that still breaks a guarantee: no longer than until it does, with as few kinds of faults and
// operations as can be found in so many tries.
func Shrink(c Config, r *Report, tries int) (Config, *Report) {
	c.Trace = nil
	again := func(next Config) bool {
		if tries--; tries < 0 {
			return false
		}
		got := Run(next)
		if got.Violation == nil || got.Violation.Guarantee != r.Violation.Guarantee {
			return false
		}
		c, r = next, got
		return true
	}
	prefix := c
	prefix.Ops = min(c.Ops, r.Ops+1)
	again(prefix)
	all := c
	all.Without = []string{"all"}
	if !again(all) {
		for _, k := range faultKinds {
			if r.Faults[k.name] == nil && !slices.Contains(c.Without, k.name) || slices.Contains(c.Without, k.name) {
				continue
			}
			less := c
			less.Without = append(slices.Clone(c.Without), k.name)
			again(less)
		}
	}
	for low, high := 0, min(c.Ops, r.Ops+1); low+1 < high && tries > 0; {
		mid := (low + high) / 2
		less := c
		less.Ops = mid
		if again(less) {
			high = min(mid, r.Ops+1)
		} else {
			low = mid
		}
	}
	return c, r
}

// Command is the line that makes a run again.
func (c Config) Command() string {
	line := fmt.Sprintf("go test ./jepsen/sim -run TestNoGuaranteeIsBroken -seed %d -ops %d", c.Seed, c.Ops)
	if len(c.Without) > 0 {
		line += " -without " + strings.Join(c.Without, ",")
	}
	return line
}
