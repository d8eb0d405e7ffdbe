package main

import (
	"maps"
	"strings"

	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// redone is the workflow whose instances are set back.
const redone = "redo"

// redos are its steps, as needs has them.
func (w *world) redos() map[string][]string {
	needs := w.needs()
	maps.DeleteFunc(needs, func(of string, _ []string) bool { return !strings.HasPrefix(of, redone+"/") })
	return needs
}

// reset counts how often instances were set back, and what was leased then.
func (r *report) reset(events []check.Event) {
	leased := map[[2]string]bool{}
	for _, e := range events {
		run := [2]string{e.Instance, e.Step}
		switch {
		case e.Type == "instance.reset":
			r.Resets++
		case e.Type == "step.leased":
			leased[run] = true
		case e.Type == "step.cancelled" && e.Code == "RESET" && leased[run]:
			r.ResetLeased++
		case strings.HasPrefix(e.Type, "step."):
			leased[run] = false
		}
	}
	var void []check.Fact
	if r.Resets == 0 || r.ResetLeased == 0 {
		void = []check.Fact{{Guarantee: "S1", What: "no instance was set back, or none while a step of it was leased: the run shows nothing about that"}}
	}
	r.check("an instance was set back", "S1", void)
}
