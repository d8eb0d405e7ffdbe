package model

import "testing"

// byKeyOf has begun an instance that waits for so many that have a key, and two that have it.
func byKeyOf(t *testing.T, of int) *told {
	h := tell(t,
		flow(Step{Name: "a", Await: &Await{Key: "k", Before: "v", Of: of}, Total: 60 * second}),
		Workflow{Name: "leaf", Steps: []Step{{Name: "s", Signal: "g", Total: 600 * second}}})
	h.good(one(Command{Kind: Start, Workflow: "w", Instance: "i", Keys: []Key{{"k", "v0"}}, Answer: Answer{State: Running}},
		Fact{Kind: "instance.started", Workflow: "w", Instance: "i"}, Fact{Kind: "step.waiting", Instance: "i", Step: "a", Code: "KEY", Key: Key{"k", "v0"}, Count: int32(of)}))
	h.good(leafOf("x"))
	h.good(leafOf("y"))
	return h
}

func leafOf(id string) Entry {
	return one(Command{Kind: Start, Workflow: "leaf", Instance: id, Keys: []Key{{"k", "v0"}}, Answer: Answer{State: Running}},
		Fact{Kind: "instance.started", Workflow: "leaf", Instance: id}, Fact{Kind: "step.waiting", Instance: id, Step: "s", Name: "g"})
}

func goesOnWith(ids ...string) []Fact {
	return []Fact{{Kind: "step.completed", Instance: "i", Step: "a", Count: int32(len(ids)), Instances: ids}, {Kind: "instance.completed", Instance: "i"}}
}

func TestWaitsByKey(t *testing.T) {
	byKeyOf(t, 1).good(sent("x").and(goesOnWith("x")...))
	byKeyOf(t, 1).bad("liveness", "waits for", sent("x"))
	byKeyOf(t, 1).bad("S1", "goes on with [y]; there are [x]", sent("x").and(goesOnWith("y")...))
	byKeyOf(t, 1).bad("S1", "without what it waits for", ticks(goesOnWith("x")...))
	byKeyOf(t, 2).bad("S1", "without what it waits for", sent("x").and(goesOnWith("x", "y")...))

	h := byKeyOf(t, 2)
	h.good(sent("x"))
	h.good(sent("y").and(goesOnWith("x", "y")...))

	h = byKeyOf(t, 0)
	h.good(sent("x"))
	h.good(leafOf("z"))
	h.bad("S1", "without what it waits for", sent("y").and(goesOnWith("x", "y")...))

	failed := func(code string) []Fact {
		return []Fact{{Kind: "step.failed", Instance: "i", Step: "a", Code: code}, {Kind: "instance.failing", Instance: "i", Code: code}, {Kind: "instance.failed", Instance: "i", Code: code}}
	}
	cancel := one(Command{Kind: Cancel, Instance: "x", Answer: Answer{State: Cancelled}},
		Fact{Kind: "instance.cancelling", Instance: "x"}, Fact{Kind: "step.cancelled", Instance: "x", Step: "s"}, Fact{Kind: "instance.cancelled", Instance: "x"})
	byKeyOf(t, 0).good(cancel.and(failed("CANCELLED")...))
	byKeyOf(t, 0).bad("S1", "lapses", cancel.and(failed("OTHER")...))
	byKeyOf(t, 1).bad("S1", "lapses", cancel.and(failed("CANCELLED")...))
	byKeyOf(t, 0).bad("liveness", "waits for", cancel)
}

// A completion has the keys that its step gives, and is refused where the instance has another.
func TestStepsGiveKeys(t *testing.T) {
	with := func(keys ...Key) *told {
		h := tell(t, flow(Step{Name: "a", Queue: "q", Attempts: 1, Keys: []Given{{"made", "s"}}}, Step{Name: "b", Needs: []string{"a"}, Signal: "g", Total: 600 * second}))
		h.session(1)
		h.good(one(Command{Kind: Start, Workflow: "w", Instance: "i", Keys: keys, Answer: Answer{State: Running}},
			Fact{Kind: "instance.started", Workflow: "w", Instance: "i"}, Fact{Kind: "step.ready", Instance: "i", Step: "a"}))
		h.good(one(Command{Kind: Lease, Session: 1, Instance: "i", Step: "a", Answer: Answer{Grants: []Grant{{Instance: "i", Step: "a", Token: 1, Session: 1, Attempt: 1}}}},
			Fact{Kind: "step.leased", Instance: "i", Step: "a", Session: 1, Token: 1, Attempt: 1}))
		return h
	}
	done := func(code string, facts ...Fact) Entry {
		return one(Command{Kind: Complete, Instance: "i", Step: "a", Token: 1, Output: 3, Answer: Answer{Code: code, State: map[bool]string{true: Running}[code == ""]}}, facts...)
	}
	completed := Fact{Kind: "step.completed", Instance: "i", Step: "a", Token: 1, Attempt: 1}
	given := Fact{Kind: "instance.keyed", Instance: "i", Step: "a", Token: 1, Attempt: 1, Key: Key{"made", "s3"}}
	waits := Fact{Kind: "step.waiting", Instance: "i", Step: "b", Name: "g"}
	with().good(done("", completed, given, waits))
	with(Key{"made", "s3"}).good(done("", completed, waits))
	with(Key{"made", "s4"}).good(done("KEY_REFUSED"))
	with().bad("S1", "does not have [{made s3}]", done("", completed, waits))
	with(Key{"made", "s3"}).bad("S1", "gives {made s3}", done("", completed, given, waits))
	with(Key{"made", "s4"}).bad("S5", "must be refused as KEY_REFUSED", done("", completed, waits))
	with().bad("S2", "must be done", done("KEY_REFUSED"))
}
