package model

import "testing"

// saw is an observation of step a of i by the ledger, and what it comes to.
func saw(id, state string, at, output int64, drift string, step Fact) Entry {
	c := Command{Kind: Report, Instance: "i", Step: "a", Sighting: Sighting{Instance: "i", Step: "a", Reporter: "ledger"}, Observation: id, Observed: state, At: at, Output: output}
	c.Answer = Answer{Instance: "i", Drift: drift}
	step.Kind, step.Instance, step.Step, step.Reporter, step.Observation, step.Observed, step.Drift = "observation.reported", "i", "a", "ledger", id, state, drift
	return one(c, step)
}

// adopts applies a plan that adopts what the ledger has seen of step a, told as done.
func adopts(plan, id string, at int64, token int64, facts ...Fact) Entry {
	x := Sighting{Instance: "i", Step: "a", Reporter: "ledger"}
	facts = append([]Fact{{Kind: "plan.applied", Plan: plan, Count: 1}}, facts...)
	return one(Command{
		Kind: Apply, PlanID: plan, Actions: []Action{{Sighting: x, ID: id, Drift: Ahead, Do: Adopt, InstanceAt: at, ObservedAt: at}},
		Answer: Answer{Done: []Done{{Done: true, Token: token}}},
	}, facts...)
}

func settledBy(plan, id string, token int64) Fact {
	return Fact{Kind: "drift.settled", Instance: "i", Step: "a", Reporter: "ledger", Observation: id, Observed: SeenDone, Drift: Ahead, Name: Adopt, Plan: plan, Token: token, Attempt: 1}
}

func doneByPlan(token int64) []Fact {
	return []Fact{
		{Kind: "step.resolved", Instance: "i", Step: "a", Token: token, Attempt: 1}, {Kind: "step.completed", Instance: "i", Step: "a", Token: token, Attempt: 1}, ready("b"),
	}
}

// What is adopted is completed once, under a token of its own, and only by a plan of which nothing has moved.
func TestAdoption(t *testing.T) {
	held := Fact{Token: 7, Attempt: 1}
	drifting := func() (*told, int64) {
		h := inHand(t)
		h.good(saw("o1", SeenDone, 1, 5, Ahead, held))
		return h, h.s.Position
	}
	h, at := drifting()
	h.good(adopts("p", "o1", at, 8, append(doneByPlan(8), settledBy("p", "o1", 8))...))
	h.good(one(Command{Kind: Apply, PlanID: "p", Actions: []Action{{}}, Answer: Answer{Duplicate: true}}))
	h.good(one(Command{Kind: Complete, Instance: "i", Step: "a", Token: 7, Answer: Answer{Code: "FENCED"}}))
	h, at = drifting()
	h.bad("S1", "token 7", adopts("p", "o1", at, 7, append(doneByPlan(7), settledBy("p", "o1", 7))...))
	h, at = drifting()
	h.bad("S1", "is given its end", adopts("p", "o1", at, 8, append([]Fact{settledBy("p", "o1", 7)}, doneByPlan(8)...)...))
	h, at = drifting()
	h.bad("drift", "are not told", adopts("p", "o1", at, 8))
	h, at = drifting()
	h.bad("S5", "STALE_PLAN", adopts("p", "o1", at-1, 8, append(doneByPlan(8), settledBy("p", "o1", 8))...))
	h, at = drifting()
	h.good(saw("o2", SeenDone, 2, 6, Ahead, held))
	h.bad("S5", "STALE_PLAN", adopts("p", "o1", at, 8, append(doneByPlan(8), settledBy("p", "o1", 8))...))
}

// Of observations the newest is kept, the same again changes nothing, and the class is what both say.
func TestObservations(t *testing.T) {
	held := Fact{Token: 7, Attempt: 1}
	again := saw("o1", SeenDone, 5, 5, Ahead, held)
	again.Facts, again.Commands[0].Answer.Duplicate = nil, true
	older := saw("o0", SeenRunning, 4, 0, Ahead, held)
	older.Facts, older.Commands[0].Answer.Superseded = nil, true
	h := inHand(t)
	h.good(saw("o1", SeenDone, 5, 5, Ahead, held))
	h.good(again)
	h.good(older)
	h.bad("drift", "is not told", func() Entry { e := saw("o2", SeenDone, 6, 5, Ahead, held); e.Facts = nil; return e }())
	inHand(t).bad("drift", "it is [\"AHEAD\"]", saw("o1", SeenDone, 5, 5, Conflicting, held))
	h = inHand(t)
	h.good(saw("o1", SeenDone, 5, 5, Ahead, held))
	h.bad("drift", "is answered", saw("o0", SeenRunning, 4, 0, "", held))
}
