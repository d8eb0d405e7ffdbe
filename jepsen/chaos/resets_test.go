package main

import (
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// A run in which nothing was set back while it was leased shows nothing of that.
func TestARunWithoutResetsIsVoid(t *testing.T) {
	reset, leased := check.Event{Type: "instance.reset", Instance: "redo-1"}, check.Event{Type: "step.leased", Instance: "redo-1", Step: "cut"}
	done, cancelled := check.Event{Type: "step.completed", Instance: "redo-1", Step: "cut"}, check.Event{Type: "step.cancelled", Instance: "redo-1", Step: "cut", Code: "RESET"}
	for _, x := range []struct {
		events []check.Event
		want   string
	}{{[]check.Event{leased, reset, cancelled}, pass}, {[]check.Event{reset, cancelled}, failed}, {[]check.Event{leased, done, reset, cancelled}, failed}, {nil, failed}} {
		r := newReport(&config{})
		if r.reset(x.events); r.Checks["an instance was set back"] != x.want {
			t.Errorf("%v: %v", x.events, r.Checks)
		}
	}
}
