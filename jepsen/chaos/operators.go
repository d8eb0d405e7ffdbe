package main

import "github.com/lockstep-dev/lockstep/jepsen/check"

// operated counts what operators did.
func (r *report) operated(events []check.Event) {
	held := map[[2]string]bool{}
	for _, e := range events {
		if e.Bulk != "" { // that was not done to this one alone
			continue
		}
		run := [2]string{e.Instance, e.Step}
		switch e.Type {
		case "instance.paused":
			r.Halted++
		case "step.resolved":
			if r.ByHand++; held[run] {
				r.Unhanded++
			}
		case "step.skipped":
			if e.Code == "SKIPPED_BY_HAND" {
				r.ByHand++
			}
		}
		held[run] = e.Type == "step.leased" || e.Type == "step.progressed"
	}
	var void []check.Fact
	if r.Halted == 0 || r.ByHand == 0 {
		void = []check.Fact{{Guarantee: "S1", What: "no operator paused an instance, or none ended a step: the run shows nothing about that"}}
	}
	r.check("operators took instances in hand", "S1", void)
}
