package main

import (
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// A run shows something of operators when one paused an instance, and one ended a step.
func TestARunWithoutOperatorsIsVoid(t *testing.T) {
	all := []check.Event{{Type: "instance.paused", Instance: "hand-1-0"}, {Type: "step.leased", Instance: "hand-1-0", Step: "a"}, {Type: "step.resolved", Instance: "hand-1-0", Step: "a"}}
	for _, x := range []struct {
		events []check.Event
		want   string
	}{{all, pass}, {all[:2], failed}, {all[1:], failed}} {
		r := newReport(&config{})
		if r.operated(x.events); r.Checks["operators took instances in hand"] != x.want {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
	r := newReport(&config{})
	if r.operated(all); r.Halted != 1 || r.ByHand != 1 || r.Unhanded != 1 {
		t.Errorf("counted %d, %d, %d", r.Halted, r.ByHand, r.Unhanded)
	}
	if !mayEnd("hand-1-3", "BY_HAND") || mayEnd("hand-1-3", "TIMEOUT") || mayEnd("letter-1-0", "BY_HAND") {
		t.Error("what may end so is not told from what may not")
	}
}
