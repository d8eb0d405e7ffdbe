package main

import "github.com/lockstep-dev/lockstep/jepsen/check"

// keyed counts what became of signals by key.
func (r *report) keyed(events []check.Event) {
	received := map[string]int{} // how many instances had a signal
	for _, e := range events {
		switch e.Type {
		case "signal.kept":
			r.Kept++
		case "signal.correlated":
			r.Correlated++
		case "signal.received":
			if received[e.Signal]++; e.Key != "" {
				r.Taken++
			}
		case "signal.broadcast":
			if received[e.Signal] > 1 {
				r.Broadcast++
			}
		}
	}
	var void []check.Fact
	for _, x := range []struct {
		count int
		lacks string
	}{
		{r.Taken, "no signal by key was kept and taken"}, {r.Correlated, "no signal by key found who has it"}, {r.Broadcast, "no broadcast reached several"},
	} {
		if x.count == 0 {
			void = append(void, check.Fact{Guarantee: "S4", What: x.lacks + ": the run shows nothing about that"})
		}
	}
	r.check("signals went by keys", "S4", void)
}
