package main

import "github.com/lockstep-dev/lockstep/jepsen/check"

// bulked counts what bulk operations did.
func (r *report) bulked(events []check.Event) {
	for _, e := range events {
		switch e.Type {
		case "bulk.completed":
			r.Bulks++
		case "bulk.cancelled":
			r.Unbulked++
		case "bulk.applied":
			r.Bulked++
		}
	}
	var void []check.Fact
	if r.Bulks == 0 || r.Bulked == 0 {
		void = []check.Fact{{Guarantee: "S4", What: "no bulk operation came to all, or to any: the run shows nothing about that"}}
	}
	r.check("bulk operations were run", "S4", void)
}
