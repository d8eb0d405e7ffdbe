package main

import "github.com/lockstep-dev/lockstep/jepsen/check"

// reconciled counts what reporters said, and what came of it.
func (r *report) reconciled(ops []*check.Op, events []check.Event) {
	kinds := map[string]bool{}
	plan := false
	for _, e := range events {
		switch e.Type {
		case "observation.reported":
			r.Observed++
			kinds[e.Drift] = true
		case "plan.applied":
			r.Plans++
			plan = true
		case "step.resolved":
			if plan {
				r.Adopted++
			}
		case "drift.settled":
			plan = false
		}
	}
	for _, op := range ops {
		if op.Kind == "apply" && op.Code == "STALE_PLAN" {
			r.Stale++
		}
	}
	var void []check.Fact
	for _, class := range [...]string{"AHEAD", "BEHIND", "MISSING", "DUPLICATE", "ORPHAN", "CONFLICTING"} {
		if !kinds[class] {
			void = append(void, check.Fact{Guarantee: "S4", What: "no reporter saw anything " + class + ": the run shows nothing about that"})
		}
	}
	if r.Plans == 0 || r.Adopted == 0 || r.Stale == 0 {
		void = append(void, check.Fact{Guarantee: "S4", What: "no plan was applied, or none was stale, or nothing was adopted: the run shows nothing about that"})
	}
	r.check("what reporters saw was reconciled", "S4", void)
}
