package main

import "github.com/lockstep-dev/lockstep/jepsen/check"

// forked counts the instances that were forked, and what they copied.
func (r *report) forked(events []check.Event) {
	for _, e := range events {
		switch e.Type {
		case "instance.forked":
			r.Forked++
		case "step.copied":
			r.Copied++
		}
	}
	var void []check.Fact
	if r.Forked == 0 || r.Copied == 0 {
		void = []check.Fact{{Guarantee: "S1", What: "no instance was forked, or none with a step that was done: the run shows nothing about that"}}
	}
	r.check("an instance was forked", "S1", void)
}
