package main

import (
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// A run shows something of reconciliation when each class was met, a step was adopted, and a plan was stale.
func TestARunWithoutReportersIsVoid(t *testing.T) {
	var all []check.Event
	for _, class := range []string{"AHEAD", "BEHIND", "MISSING", "DUPLICATE", "ORPHAN", "CONFLICTING"} {
		all = append(all, check.Event{Type: "observation.reported", Drift: class})
	}
	all = append(all, check.Event{Type: "plan.applied", Plan: "p"}, check.Event{Type: "step.resolved"}, check.Event{Type: "drift.settled", Plan: "p"})
	stale := []*check.Op{{Kind: "apply", Code: "STALE_PLAN"}}
	for _, x := range []struct {
		ops    []*check.Op
		events []check.Event
		want   string
	}{{stale, all, pass}, {nil, all, failed}, {stale, all[1:], failed}, {stale, all[:7], failed}} {
		r := newReport(&config{})
		if r.reconciled(x.ops, x.events); r.Checks["what reporters saw was reconciled"] != x.want {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
	if !mayEnd("book-1-3", "SEEN_BAD") || mayEnd("book-1-3", "TIMEOUT") || mayEnd("hand-1-0", "SEEN_BAD") {
		t.Error("what may end so is not told from what may not")
	}
}
