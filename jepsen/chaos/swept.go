package main

import "github.com/lockstep-dev/lockstep/jepsen/check"

// swept counts how often a reporter was asked, and under how many tokens.
func (r *report) swept(events []check.Event) {
	tokens := map[int64]bool{}
	for _, e := range events {
		if e.Type == "reporter.asked" {
			r.Asked++
			tokens[e.Token] = true
		}
	}
	r.Sweepers = len(tokens)
	r.check("reporters are asked by who holds the lock of the sweep", "S2", check.Sweeps(events))
	var void []check.Fact
	if r.Asked == 0 {
		void = append(void, check.Fact{Guarantee: "S2", What: "no reporter was asked: the run shows nothing about that"})
	}
	r.check("a reporter was asked", "S2", void)
}
