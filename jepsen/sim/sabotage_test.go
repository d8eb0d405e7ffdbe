//go:build sabotage

package sim

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var until = flag.Bool("until", false, "stop at the first seed that finds something")

// TestUntilSomethingIsFound runs the seeds of the clean build until one finds something, and prints what scripts/sabotage
// shows. It knows nothing of the bug.
func TestUntilSomethingIsFound(t *testing.T) {
	if !*until {
		t.Skip("for scripts/sabotage")
	}
	began := time.Now()
	for seed := uint64(1); seed <= uint64(*seeds); seed++ {
		r := Run(config(seed))
		if r.Violation != nil {
			fmt.Printf("FOUND seed=%d seconds=%.1f guarantee=%s what=%s\n", seed, time.Since(began).Seconds(), r.Violation.Guarantee, r.Violation.What)
			return
		}
	}
	fmt.Printf("NOTHING seconds=%.1f seeds=%d\n", time.Since(began).Seconds(), *seeds)
}
