package main

import (
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// A run shows something of ids that are taken when a start waited for one, and one took one.
func TestARunWithoutTurnsIsVoid(t *testing.T) {
	all := []check.Event{{Type: "instance.queued", Instance: "turn-1-0~1"}, {Type: "instance.cancelled", Instance: "turn-1-0", Code: "REPLACED"}}
	for _, x := range []struct {
		events []check.Event
		want   string
	}{{all, pass}, {all[:1], failed}, {all[1:], failed}} {
		r := newReport(&config{})
		if r.lined(x.events); r.Checks["starts waited for their id"] != x.want {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
	if !mayEnd("turn-1-0~3", "REPLACED") || mayEnd("turn-1-0", "TIMEOUT") || mayEnd("letter-1-0", "REPLACED") {
		t.Error("what may end so is not told from what may not")
	}
}
