package model

import "testing"

func callsOf(id, step, child string) Fact {
	return Fact{Kind: "step.waiting", Instance: id, Step: step, Name: "leaf", Other: child}
}

func childOf(id, parent, step string) Fact {
	return Fact{Kind: "instance.started", Workflow: "leaf", Instance: id, Other: parent, OtherStep: step}
}

// calling has begun an instance that called another, which waits for a signal.
func calling(t *testing.T, call Call) *told {
	call.Workflow = "leaf"
	h := tell(t,
		flow(Step{Name: "a", Call: &call, Total: 60 * second}, Step{Name: "g", Signal: "h", Total: 600 * second}),
		Workflow{Name: "leaf", Steps: []Step{{Name: "s", Signal: "g", Total: 600 * second}}})
	h.good(one(Command{Kind: Start, Workflow: "w", Instance: "i", Answer: Answer{State: Running}},
		Fact{Kind: "instance.started", Workflow: "w", Instance: "i"}, callsOf("i", "a", "i:a"), Fact{Kind: "step.waiting", Instance: "i", Step: "g", Name: "h"}).and(childOf("i:a", "i", "a"), Fact{Kind: "step.waiting", Instance: "i:a", Step: "s", Name: "g"}))
	return h
}

// and adds what an entry does behind its commands.
func (e Entry) and(facts ...Fact) Entry {
	e.Facts = append(e.Facts, facts...)
	return e
}

func sent(id string, facts ...Fact) Entry {
	return one(Command{Kind: Signal, Instance: id, Name: "g", Signal: "1", Answer: Answer{Delivered: true}}, append([]Fact{
		{Kind: "signal.received", Instance: id, Name: "g", Code: "1"}, {Kind: "signal.delivered", Instance: id, Step: "s", Code: "1"},
		{Kind: "step.completed", Instance: id, Step: "s"}, {Kind: "instance.completed", Instance: id},
	}, facts...)...)
}

func TestCalls(t *testing.T) {
	completed := Fact{Kind: "step.completed", Instance: "i", Step: "a"}
	calling(t, Call{}).good(sent("i:a").and(completed))
	calling(t, Call{}).bad("liveness", "which is COMPLETED", sent("i:a"))
	calling(t, Call{}).bad("S1", "without what it waits for", ticks(completed))
	calling(t, Call{}).bad("S1", "is called by", ticks(childOf("i:a", "i", "a")))
	calling(t, Call{}).bad("S1", "is called by", ticks(childOf("x", "i", "a")))

	cancel := func(facts ...Fact) Entry {
		return one(Command{Kind: Cancel, Instance: "i", Answer: Answer{State: Cancelling}}, append([]Fact{
			{Kind: "instance.cancelling", Instance: "i"}, {Kind: "step.cancelled", Instance: "i", Step: "g"}}, facts...)...)
	}
	child := []Fact{{Kind: "instance.cancelling", Instance: "i:a"}, {Kind: "step.cancelled", Instance: "i:a", Step: "s"}, {Kind: "instance.cancelled", Instance: "i:a"}}
	ends := []Fact{{Kind: "step.cancelled", Instance: "i", Step: "a"}, {Kind: "instance.cancelled", Instance: "i"}}
	calling(t, Call{}).good(cancel().and(child...).and(ends...))
	calling(t, Call{}).bad("saga", "runs on", cancel())
	calling(t, Call{}).bad("S1", "is cancelled", cancel(ends...))
	calling(t, Call{}).bad("S1", "is cancelled", cancel().and(ends...))
	calling(t, Call{}).bad("liveness", "which is FAILED", cancel().and(child...))

	h := calling(t, Call{})
	h.elapsed = 60 * second
	h.good(ticks(Fact{Kind: "step.failing", Instance: "i", Step: "a", Code: "TIMEOUT_TOTAL"}).and(child...).and(
		Fact{Kind: "step.failed", Instance: "i", Step: "a", Code: "TIMEOUT_TOTAL"}, Fact{Kind: "instance.failing", Instance: "i", Code: "TIMEOUT_TOTAL"},
		Fact{Kind: "step.cancelled", Instance: "i", Step: "g"}, Fact{Kind: "instance.failed", Instance: "i", Code: "TIMEOUT_TOTAL"}))
	calling(t, Call{}).bad("S1", "for no reason", ticks(Fact{Kind: "step.failing", Instance: "i", Step: "a", Code: "TIMEOUT_TOTAL"}))
}

// What a removed instance called may be there still when its id is started again: the call finds its own id taken.
func TestACallWhoseIdIsTaken(t *testing.T) {
	leaf := Workflow{Name: "leaf", Steps: []Step{{Name: "s", Signal: "g", Total: 600 * second}}}
	fails := func() Entry {
		return one(Command{Kind: Start, Workflow: "w", Instance: "i", Answer: Answer{State: Running}}, Fact{Kind: "instance.started", Workflow: "w", Instance: "i"}, callsOf("i", "a", "i:a")).and(
			Fact{Kind: "step.failed", Instance: "i", Step: "a", Code: "INSTANCE_EXISTS"}, Fact{Kind: "instance.failing", Instance: "i", Code: "INSTANCE_EXISTS"},
			Fact{Kind: "instance.failed", Instance: "i", Code: "INSTANCE_EXISTS"})
	}
	caller := flow(Step{Name: "a", Call: &Call{Workflow: "leaf"}})
	tell(t, caller, leaf).bad("S1", "lapses while it is WAITING", fails())
	h := tell(t, caller, leaf)
	h.good(one(Command{Kind: Start, Workflow: "leaf", Instance: "i:a", Answer: Answer{State: Running}},
		Fact{Kind: "instance.started", Workflow: "leaf", Instance: "i:a"}, Fact{Kind: "step.waiting", Instance: "i:a", Step: "s", Name: "g"}))
	h.good(fails())
}

func TestAwaits(t *testing.T) {
	waits := func(id string) []Fact {
		return []Fact{{Kind: "instance.started", Workflow: "w", Instance: id}, {Kind: "step.waiting", Instance: id, Step: "a", Other: "x1"}}
	}
	awaiting := func(t *testing.T) *told {
		return tell(t, flow(Step{Name: "a", Await: &Await{Before: "x", Add: 1}, Total: 60 * second}),
			Workflow{Name: "leaf", Steps: []Step{{Name: "s", Signal: "g", Total: 600 * second}}})
	}
	begun := func(id string, facts ...Fact) Entry {
		return one(Command{Kind: Start, Workflow: "w", Instance: id, Answer: Answer{State: Running}}, waits(id)...).and(facts...)
	}
	h := awaiting(t)
	h.good(begun("i"))
	h.good(one(Command{Kind: Start, Workflow: "leaf", Instance: "x1", Answer: Answer{State: Running}},
		Fact{Kind: "instance.started", Workflow: "leaf", Instance: "x1"}, Fact{Kind: "step.waiting", Instance: "x1", Step: "s", Name: "g"}))
	h.bad("liveness", "which is COMPLETED", sent("x1"))

	fails := func(id string) []Fact {
		return []Fact{{Kind: "step.failed", Instance: id, Step: "a", Code: "AWAIT_CYCLE"}, {Kind: "instance.failing", Instance: id, Code: "AWAIT_CYCLE"}, {Kind: "instance.failed", Instance: id, Code: "AWAIT_CYCLE"}}
	}
	awaiting(t).good(begun("x1", fails("x1")...))
	awaiting(t).bad("liveness", "cycle of waits", begun("x1"))
	awaiting(t).bad("S1", "lapses while it is WAITING", begun("i", fails("i")...))
}
