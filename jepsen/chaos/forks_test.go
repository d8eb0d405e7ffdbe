package main

import (
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// A run in which nothing was forked shows nothing of that.
func TestARunWithoutForksIsVoid(t *testing.T) {
	fork, copied := check.Event{Type: "instance.forked", Instance: "saga-1"}, check.Event{Type: "step.copied", Instance: "saga-1-fork"}
	for _, x := range []struct {
		events []check.Event
		want   string
	}{{[]check.Event{copied, fork}, pass}, {[]check.Event{fork}, failed}, {nil, failed}} {
		r := newReport(&config{})
		if r.forked(x.events); r.Checks["an instance was forked"] != x.want {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
}
