package model

import "testing"

// began is that instance i of the workflow was started with a number, and what followed.
func began(input int64, facts ...Fact) Entry {
	return one(Command{Kind: Start, Workflow: "w", Instance: "i", Input: input, Answer: Answer{State: Running}},
		append([]Fact{{Kind: "instance.started", Workflow: "w", Instance: "i"}}, facts...)...)
}

func incident(step, code string) Fact {
	return Fact{Kind: "step.incident", Instance: "i", Step: step, Code: code}
}

func TestWhatCannotBeEvaluatedStandsStill(t *testing.T) {
	step := Step{Name: "a", Total: 5 * second, When: &When{Above: 3, Unsound: true}}
	ready := Fact{Kind: "step.ready", Instance: "i", Step: "a"}
	tell(t, flow(step)).good(began(4, ready))
	tell(t, flow(step)).bad("S1", "stands still", began(4, incident("a", "CONDITION_INVALID")))
	tell(t, flow(step)).bad("S1", "becomes ready", began(3, ready))
	tell(t, flow(step)).bad("S1", "is skipped", began(3, skipped("i", "a")))
	tell(t, flow(step)).bad("S1", "stands still as ITEMS_INVALID", began(3, incident("a", "ITEMS_INVALID")))

	h := tell(t, flow(step))
	h.good(began(3, incident("a", "CONDITION_INVALID")))
	h.elapsed = 5 * second
	h.good(ticks(
		Fact{Kind: "step.failed", Instance: "i", Step: "a", Code: "TIMEOUT_TOTAL"},
		Fact{Kind: "instance.failing", Instance: "i", Code: "TIMEOUT_TOTAL"}, Fact{Kind: "instance.failed", Instance: "i", Code: "TIMEOUT_TOTAL"},
	))
	h = tell(t, flow(step))
	h.good(began(3, incident("a", "CONDITION_INVALID")))
	h.elapsed = 5 * second
	h.bad("liveness", "beyond its timeout", ticks())

	list := Step{Name: "l", Total: 5 * second, Body: &Body{Items: 2, Width: 1, Unsound: true, Steps: []Step{{Name: "s"}}}}
	tell(t, flow(list)).good(began(3, incident("l", "ITEMS_INVALID")))
	tell(t, flow(list)).bad("S1", "stands still", began(2, incident("l", "ITEMS_INVALID")))
}

func TestABodyFailsByWhatCannotBeEvaluated(t *testing.T) {
	loop := Step{Name: "l", Body: &Body{Turns: 3, While: true, Unsound: true, Steps: []Step{{Name: "s", When: &When{Above: 100}}}}}
	fails := func(code string) []Fact {
		return []Fact{
			{Kind: "step.failing", Instance: "i", Step: "l", Code: code}, {Kind: "step.failed", Instance: "i", Step: "l", Code: code},
			{Kind: "instance.failing", Instance: "i", Code: code}, {Kind: "instance.failed", Instance: "i", Code: code},
		}
	}
	tell(t, flow(loop)).good(began(3, append([]Fact{begins("i", "l")}, fails("CONDITION_INVALID")...)...))
	tell(t, flow(loop)).good(began(4, append([]Fact{begins("i", "l"), skipped("i", "s")}, fails("CONDITION_INVALID")...)...))
	tell(t, flow(loop)).bad("S1", "for no reason", began(4, append([]Fact{begins("i", "l")}, fails("CONDITION_INVALID")...)...))
	tell(t, flow(loop)).bad("liveness", "all inside it has ended", began(3, begins("i", "l")))

	scope := Step{Name: "l", Body: &Body{Spoils: true, Steps: []Step{{Name: "s", When: &When{Above: 100}}}}}
	tell(t, flow(scope)).good(began(3, append([]Fact{begins("i", "l"), skipped("i", "s")}, fails("OUTPUT_INVALID")...)...))
	tell(t, flow(scope)).bad("S1", "for no reason", began(2, append([]Fact{begins("i", "l"), skipped("i", "s")}, fails("OUTPUT_INVALID")...)...))
	tell(t, flow(scope)).bad("liveness", "puts out nothing", began(3, begins("i", "l"), skipped("i", "s")))

	// The first items of a list begin one behind the other, and what they put out is looked at behind that.
	list := Step{Name: "l", Body: &Body{Items: 3, Width: 2, Spoils: true, Steps: []Step{{Name: "s", When: &When{Above: 100}}}}}
	tell(t, flow(list)).good(began(3, append([]Fact{begins("i", "l"), skipped("i", "s"), skipped("i", "s#1")}, fails("OUTPUT_INVALID")...)...))
	tell(t, flow(list)).bad("S7", "which is not", began(3, append([]Fact{begins("i", "l"), skipped("i", "s"), skipped("i", "s#1"), skipped("i", "s#2")}, fails("OUTPUT_INVALID")...)...))
}

// An entry begins so many runs and no more, and leaves others to those behind it, but not for long.
func TestEntriesLeaveRunsToOthers(t *testing.T) {
	limited := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a", Approval: true}, Step{Name: "b", Approval: true}, Step{Name: "c", Approval: true}, Step{Name: "d", Needs: []string{"c"}}))
		h.s.Limit = 1
		return h
	}
	h := limited(t)
	h.good(began(0, begins("i", "a"), begins("i", "b")))
	h.good(ticks(begins("i", "c")))
	h.good(ticks())
	limited(t).bad("liveness", "begins 3 runs", began(0, begins("i", "a"), begins("i", "b"), begins("i", "c")))
	h = limited(t)
	h.good(began(0, begins("i", "a")))
	for range mostLeft {
		h.good(ticks())
	}
	h.bad("liveness", "is not begun by", ticks())
	h = limited(t)
	h.good(began(0, begins("i", "a")))
	h.bad("S1", "becomes ready", ticks(Fact{Kind: "step.ready", Instance: "i", Step: "d"}))
	h = limited(t)
	h.s.Limit = 0
	h.bad("liveness", "is not begun", began(0, begins("i", "a"), begins("i", "b")))
}

// What is left behind many has as many entries more, and no more than that.
func TestWhatIsLeftBehindManyIsLeftForLonger(t *testing.T) {
	const before = 100
	h := tell(t, flow(Step{Name: "a", Approval: true}, Step{Name: "b", Approval: true}))
	h.s.Limit = 1
	for n := range before {
		h.s.left[&run{of: &instance{id: "x", paused: true}, state: Pending, readyAt: int64(n)}] = 1
	}
	h.good(began(0, begins("i", "a")))
	for range mostLeft + before {
		h.good(ticks())
	}
	h.bad("liveness", "is not begun by", ticks())
}
