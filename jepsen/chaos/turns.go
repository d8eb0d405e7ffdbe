package main

import (
	"strings"

	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// lined counts the starts that waited for an id, and those that took one.
func (r *report) lined(events []check.Event) {
	for _, e := range events {
		if strings.HasPrefix(e.Instance, "turn-") {
			switch {
			case e.Type == "instance.queued":
				r.Lined++
			case e.Type == "instance.cancelled" && e.Code == "REPLACED":
				r.Replaced++
			}
		}
	}
	var void []check.Fact
	if r.Lined == 0 || r.Replaced == 0 {
		void = []check.Fact{{Guarantee: "id", What: "no start waited for its id, or none took one: the run shows nothing about that"}}
	}
	r.check("starts waited for their id", "id", void)
}
