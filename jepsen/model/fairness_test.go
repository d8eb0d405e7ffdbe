package model

import "testing"

// keyed is a workflow of one step of queue q, whose runs are of a key.
func keyed(name string, weight int64) Workflow {
	return Workflow{Name: name, Steps: []Step{{Name: "a", Queue: "q", Attempts: 3, Fairness: &Fairness{Key: name, Weight: weight}}}}
}

func startKeyed(flow, id string) Entry {
	e := start(flow, id, "a")
	for i := range e.Facts {
		if e.Facts[i].Kind == "step.ready" {
			e.Facts[i].Fair = flow
		}
	}
	return e
}

func TestTurnsAreByKey(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t, keyed("k", 1), keyed("m", 2))
		h.session(1)
		for _, id := range []string{"k1", "k2", "k3"} {
			h.good(startKeyed("k", id))
		}
		for _, id := range []string{"m1", "m2", "m3", "m4", "m5"} {
			h.good(startKeyed("m", id))
		}
		return h
	}
	h := begun(t)
	h.good(leased(1, "k1", "a", 1, 1, 0))
	h.good(leased(1, "m1", "a", 2, 1, 0))
	h.good(leased(1, "m2", "a", 3, 1, 0))
	h.good(leased(1, "k2", "a", 4, 1, 0))
	h.good(leased(1, "m3", "a", 5, 1, 0))
	h = begun(t)
	h.good(leased(1, "k1", "a", 1, 1, 0))
	h.bad("fairness", `key "k" has had`, leased(1, "k2", "a", 2, 1, 0)) // m waits for its first
	h = begun(t)
	h.good(leased(1, "m1", "a", 1, 1, 0))
	h.bad("fairness", `key "m" has had`, leased(1, "m2", "a", 2, 1, 0)) // k does
	h = begun(t)
	h.bad("liveness", "ahead of it", leased(1, "k2", "a", 1, 1, 0)) // within a key
	h.bad("fairness", "is ready under key", start("k", "k9", "a"))

	h = tell(t, keyed("k", 1), keyed("m", 2)) // what waits again begins anew
	h.session(1)
	h.good(startKeyed("k", "k1"))
	h.good(startKeyed("m", "m1"))
	h.good(leased(1, "k1", "a", 1, 1, 0))
	h.good(one(Command{Kind: Cancel, Instance: "m1", Answer: Answer{State: Cancelled}},
		Fact{Kind: "instance.cancelling", Instance: "m1"}, Fact{Kind: "step.cancelled", Instance: "m1", Step: "a"}, Fact{Kind: "instance.cancelled", Instance: "m1"}))
	h.good(startKeyed("m", "m2"))
	h.good(startKeyed("k", "k2"))
	h.good(leased(1, "k2", "a", 2, 1, 0))
}
