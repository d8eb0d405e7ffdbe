package model

import "testing"

func begins(id, step string) Fact { return Fact{Kind: "step.waiting", Instance: id, Step: step} }

func fired(id, step string, lag int64) []Fact {
	return []Fact{{Kind: "timer.fired", Instance: id, Step: step, Lag: lag}, {Kind: "step.completed", Instance: id, Step: step}}
}

// waiting has begun instance i of a workflow whose steps all wait, at a wall time of 100 s.
func waiting(t *testing.T, steps ...Step) *told {
	h := tell(t, flow(steps...))
	h.wall = 100 * second
	facts := []Fact{{Kind: "instance.started", Workflow: "w", Instance: "i"}}
	for _, s := range steps {
		if s.waits() && len(s.Needs) == 0 {
			begun := begins("i", s.Name)
			begun.Name = s.Signal
			facts = append(facts, begun)
		}
	}
	h.good(one(Command{Kind: Start, Workflow: "w", Instance: "i", Answer: Answer{State: Running}}, facts...))
	return h
}

func TestTimers(t *testing.T) {
	ends := Fact{Kind: "instance.completed", Instance: "i"}
	after := func(t *testing.T, elapsed int64) *told {
		h := waiting(t, Step{Name: "a", After: 5 * second})
		h.elapsed = elapsed
		return h
	}
	after(t, 5*second).good(ticks(append(fired("i", "a", 0), ends)...))
	after(t, 7*second).good(ticks(append(fired("i", "a", 2*second), ends)...))
	after(t, 5*second-1).bad("S6", "before its time", ticks(append(fired("i", "a", 0), ends)...))
	after(t, 7*second).bad("S6", "tells 0", ticks(append(fired("i", "a", 0), ends)...))
	after(t, 5*second).bad("liveness", "beyond its time", ticks())
	after(t, 5*second).bad("S1", "without what it waits for", ticks(Fact{Kind: "step.completed", Instance: "i", Step: "a"}))
	after(t, 5*second).bad("liveness", "waits for what is there", ticks(fired("i", "a", 0)[0]))

	date := func(t *testing.T, wall int64) *told {
		h := waiting(t, Step{Name: "a", Until: 105 * second})
		h.wall = wall
		return h
	}
	date(t, 106*second).good(ticks(append(fired("i", "a", second), ends)...))
	date(t, 104*second).bad("S6", "before its time", ticks(append(fired("i", "a", 0), ends)...))
	date(t, 105*second).bad("liveness", "beyond its time", ticks())

	h := tell(t, flow(Step{Name: "a", Until: 99 * second}))
	h.wall = 100 * second
	begin := func(facts ...Fact) Entry {
		facts = append([]Fact{{Kind: "instance.started", Workflow: "w", Instance: "i"}, begins("i", "a")}, facts...)
		return one(Command{Kind: Start, Workflow: "w", Instance: "i", Answer: Answer{State: Completed}}, facts...)
	}
	h.good(begin(append(fired("i", "a", 0), ends)...))
	h = tell(t, flow(Step{Name: "a", Until: 99 * second}))
	h.wall = 100 * second
	h.bad("liveness", "waits for what is there", begin())
}

func TestRacesHaveOneWinner(t *testing.T) {
	steps := []Step{{Name: "a", After: 5 * second}, {Name: "b", After: 5 * second}, {Name: "c", Signal: "g", Total: 60 * second}, {Name: "z", Race: true, AtLeast: 1, Needs: []string{"a", "b", "c"}}}
	begun := func(t *testing.T) *told {
		h := waiting(t, steps...)
		h.elapsed = 5 * second
		return h
	}
	ready := Fact{Kind: "step.ready", Instance: "i", Step: "z"}
	won := append(fired("i", "a", 0), skipped("i", "b"), skipped("i", "c"), ready)
	begun(t).good(ticks(won...))
	begun(t).bad("S6", "is due before", ticks(append(fired("i", "b", 0), skipped("i", "a"), skipped("i", "c"), ready)...))
	begun(t).bad("liveness", "another of its race has completed", ticks(append(fired("i", "a", 0), skipped("i", "b"), ready)...))
	begun(t).bad("S1", "was before", ticks(append(fired("i", "a", 0), fired("i", "b", 0)...)...))
	begun(t).bad("S1", "is skipped", ticks(skipped("i", "b")))

	h := begun(t)
	h.elapsed = 0
	h.good(one(Command{Kind: Signal, Instance: "i", Name: "g", Signal: "1", Answer: Answer{Delivered: true}}, Fact{Kind: "signal.received", Instance: "i", Name: "g", Code: "1"},
		Fact{Kind: "signal.delivered", Instance: "i", Step: "c", Name: "g", Code: "1"}, Fact{Kind: "step.completed", Instance: "i", Step: "c"}, skipped("i", "a"), skipped("i", "b"), ready))
	h.elapsed = 60 * second
	h.good(ticks())
}

func TestDecisions(t *testing.T) {
	begun := func(t *testing.T) *told {
		return waiting(t, Step{Name: "a", Approval: true, Total: 5 * second})
	}
	say := func(kind Kind, state, code string, duplicate bool, facts ...Fact) Entry {
		return one(Command{Kind: kind, Instance: "i", Step: "a", Answer: Answer{State: state, Code: code, Duplicate: duplicate}}, facts...)
	}
	yes := []Fact{{Kind: "step.approved", Instance: "i", Step: "a"}, {Kind: "step.completed", Instance: "i", Step: "a"}, {Kind: "instance.completed", Instance: "i"}}
	failed := []Fact{{Kind: "instance.failing", Instance: "i"}, {Kind: "instance.failed", Instance: "i"}}
	no := append([]Fact{{Kind: "step.rejected", Instance: "i", Step: "a"}, {Kind: "step.failed", Instance: "i", Step: "a", Code: "REJECTED"}}, failed...)
	h := begun(t)
	h.good(say(Approve, Completed, "", false, yes...))
	h.good(say(Approve, Completed, "", true))
	h.good(say(Reject, "", "ALREADY_DONE", false))
	h = begun(t)
	h.good(say(Reject, Failed, "", false, no...))
	h.good(say(Reject, Failed, "", true))
	h.bad("S5", "is told again", say(Reject, Failed, "", false))
	begun(t).bad("S1", "by RejectStep", say(Reject, Completed, "", false, yes...))
	begun(t).bad("S4", "is answered", say(Approve, Running, "", false))
	begun(t).bad("S1", "by nobody", ticks(yes...))
	begun(t).bad("S1", "lapses while it is WAITING", ticks(append([]Fact{{Kind: "step.failed", Instance: "i", Step: "a", Code: "REJECTED"}}, failed...)...))
	h = begun(t)
	h.elapsed = 5 * second
	h.good(ticks(append([]Fact{{Kind: "step.failed", Instance: "i", Step: "a", Code: "TIMEOUT_TOTAL"}}, failed...)...))
	h.good(say(Reject, "", "ALREADY_DONE", false))
}

func TestAnInstanceHasATimeout(t *testing.T) {
	begun := func(t *testing.T) *told {
		w := flow(Step{Name: "a"})
		w.Total = 5 * second
		h := tell(t, w)
		h.good(start("w", "i", "a"))
		return h
	}
	ends := []Fact{{Kind: "instance.failing", Instance: "i", Code: "TIMEOUT"}, {Kind: "step.cancelled", Instance: "i", Step: "a"}, {Kind: "instance.failed", Instance: "i", Code: "TIMEOUT"}}
	h := begun(t)
	h.elapsed = 5 * second
	h.good(ticks(ends...))
	h = begun(t)
	h.elapsed = 5*second - 1
	h.bad("S1", "instance.failing", ticks(ends...))
	h = begun(t)
	h.elapsed = 5 * second
	h.bad("liveness", "beyond its timeout", ticks())
}

// What fails by itself is undone, and what waited is over with that: no timer fires while its instance compensates.
func TestATimeoutIsUndone(t *testing.T) {
	begun := func(t *testing.T) *told {
		w := flow(Step{Name: "a", Undo: undo("a")}, Step{Name: "t", After: 5 * second})
		w.Total = 5 * second
		h := tell(t, w)
		h.session(1)
		h.good(one(Command{Kind: Start, Workflow: "w", Instance: "i", Answer: Answer{State: Running}},
			Fact{Kind: "instance.started", Workflow: "w", Instance: "i"}, ready("a"), begins("i", "t")))
		h.good(leased(1, "i", "a", 7, 1, 0))
		h.good(complete("i", "a", 7, Running))
		h.elapsed = 5 * second
		return h
	}
	fails, over := Fact{Kind: "instance.failing", Instance: "i", Code: "TIMEOUT"}, Fact{Kind: "step.cancelled", Instance: "i", Step: "t"}
	h := begun(t)
	h.good(ticks(fails, over, became("compensating"), ready("a.compensate")))
	h.bad("S1", "the timer of step t", ticks(fired("i", "t", 0)...))
	h = begun(t)
	h.good(ticks(fails, over, became("compensating"), ready("a.compensate")))
	h.elapsed = 60 * second
	h.good(ticks(Fact{Kind: "session.expired", Session: 1}))
	begun(t).bad("S1", "instance.failed", ticks(fails, over, became("failed")))
	begun(t).bad("saga", "its step t is WAITING", ticks(fails, became("compensating"), ready("a.compensate")))
}
