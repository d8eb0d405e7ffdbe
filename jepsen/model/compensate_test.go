package model

import "testing"

func undo(step string) *Step { return &Step{Name: step + ".compensate", Queue: "q", Attempts: 3} }

func ready(step string) Fact { return Fact{Kind: "step.ready", Instance: "i", Step: step} }

func became(state string) Fact { return Fact{Kind: "instance." + state, Instance: "i"} }

// stopping has completed a and b of a chain, and holds c under token 9: failing it stops the instance.
func stopping(t *testing.T, sequential bool) *told {
	w := flow(Step{Name: "a", Undo: undo("a")}, Step{Name: "b", Needs: []string{"a"}, Undo: undo("b")}, Step{Name: "c", Needs: []string{"b"}, Undo: undo("c")})
	if w.Sequential = sequential; sequential {
		w.Steps[1].Needs = nil
	}
	h := tell(t, w)
	h.session(1)
	if sequential {
		h.good(start("w", "i", "a", "b"))
		h.good(leased(1, "i", "a", 7, 1, 0))
		h.good(complete("i", "a", 7, Running))
	} else {
		h.good(start("w", "i", "a"))
		h.good(leased(1, "i", "a", 7, 1, 0))
		h.good(complete("i", "a", 7, Running, ready("b")))
	}
	h.good(leased(1, "i", "b", 8, 1, 0))
	h.good(complete("i", "b", 8, Running, ready("c")))
	h.good(leased(1, "i", "c", 9, 1, 0))
	return h
}

// fails ends a run for good.
func fails(step, kind string, token int64, facts ...Fact) Entry {
	facts = append([]Fact{{Kind: kind, Instance: "i", Step: step, Token: token, Attempt: 1, Used: 1}}, facts...)
	return one(Command{Kind: Fail, Instance: "i", Step: step, Token: token}, facts...)
}

func TestWhatIsUndone(t *testing.T) {
	stops := func(facts ...Fact) Entry {
		return fails("c", "step.failed", 9, append([]Fact{became("failing")}, facts...)...)
	}
	stopping(t, false).bad("S1", "instance.failed", stops(became("failed")))
	stopping(t, false).bad("liveness", "none of its steps is leased", stops())
	stopping(t, false).bad("saga", "is PENDING", stops(became("compensating")))
	stopping(t, false).bad("saga", "before what came behind it", stops(became("compensating"), ready("a.compensate")))
	stopping(t, false).bad("S7", "which is not", stops(became("compensating"), ready("c.compensate")))
	stopping(t, true).bad("saga", "before what came behind it", stops(became("compensating"), ready("a.compensate")))
	for _, sequential := range []bool{false, true} {
		h := stopping(t, sequential)
		h.good(stops(became("compensating"), ready("b.compensate")))
		h.good(leased(1, "i", "b.compensate", 10, 1, 0))
		h.good(complete("i", "b.compensate", 10, Compensating, ready("a.compensate")))
		h.good(leased(1, "i", "a.compensate", 11, 1, 0))
		h.good(complete("i", "a.compensate", 11, Failed, became("failed")))
		h.bad("S1", "", complete("i", "a.compensate", 11, Failed))
	}
	begun := func() *told {
		h := stopping(t, false)
		h.good(stops(became("compensating"), ready("b.compensate")))
		h.good(leased(1, "i", "b.compensate", 10, 1, 0))
		return h
	}
	begun().bad("S1", "instance.failed", complete("i", "b.compensate", 10, Failed, became("failed")))
	begun().bad("saga", "is PENDING", complete("i", "b.compensate", 10, Compensating))
	begun().bad("S2", "FENCED", complete("i", "b.compensate", 9, Compensating, ready("a.compensate")))
	begun().bad("saga", "does not stand still", fails("b.compensate", "step.failed", 10))
	begun().bad("S5", "RUN_NOT_FOUND", one(Command{Kind: Complete, Instance: "i", Step: "c.compensate", Token: 9}))
}

func TestWhatStandsStill(t *testing.T) {
	still := func() *told {
		h := stopping(t, false)
		h.good(fails("c", "step.failed", 9, became("failing"), became("compensating"), ready("b.compensate")))
		h.good(leased(1, "i", "b.compensate", 10, 1, 0))
		h.good(fails("b.compensate", "step.incident", 10))
		return h
	}
	of := func(kind string, used int32) Fact {
		return Fact{Kind: kind, Instance: "i", Step: "b.compensate", Token: 10, Attempt: 1, Used: used}
	}
	byHand := func(skip bool, from string, steps []string, facts ...Fact) Entry {
		return one(Command{Kind: Compensate, Instance: "i", From: from, Skip: skip, Answer: Answer{State: Compensating, Steps: steps}}, facts...)
	}
	b := []string{"b.compensate"}
	still().good(byHand(false, "", b, of("step.resumed", 0), of("step.ready", 0)))
	still().good(byHand(false, "a", b, of("step.resumed", 0), of("step.ready", 0)))
	still().good(byHand(true, "", b, of("step.skipped", 1), ready("a.compensate")))
	still().good(byHand(false, "c", nil))
	still().bad("saga", "is INCIDENT", byHand(false, "", b))
	still().bad("saga", "is PENDING", byHand(false, "", b, of("step.resumed", 0)))
	still().bad("saga", "is answered", byHand(false, "c", b))
	still().bad("saga", "is tried again", byHand(false, "c", nil, of("step.resumed", 0), of("step.ready", 0)))
	still().bad("saga", "is skipped", byHand(false, "", b, of("step.skipped", 1), ready("a.compensate")))
	still().bad("S1", "becomes ready", ticks(of("step.ready", 1)))
	still().bad("saga", "is tried again", ticks(of("step.resumed", 0)))
}

// A run that holds its lease keeps the instance from compensating; from a step on, what came before is left as it is.
func TestPartlyUndone(t *testing.T) {
	stop := func(from, state string, facts ...Fact) Entry {
		return one(Command{Kind: Compensate, Instance: "i", From: from, Answer: Answer{State: state}}, facts...)
	}
	cancelling := Fact{Kind: "instance.cancelling", Instance: "i", Name: "b"}
	h := stopping(t, false)
	h.bad("saga", "compensates", stop("b", Compensating, cancelling, became("compensating"), ready("b.compensate")))
	h = stopping(t, false)
	h.bad("S1", "instance.cancelling", stop("a", Cancelling, cancelling))
	h = stopping(t, false)
	h.good(stop("b", Cancelling, cancelling))
	h.good(stop("b", Cancelling))
	h.good(complete("i", "c", 9, Compensating, became("compensating"), ready("c.compensate")))
	h.good(leased(1, "i", "c.compensate", 10, 1, 0))
	h.good(complete("i", "c.compensate", 10, Compensating, ready("b.compensate")))
	h.good(leased(1, "i", "b.compensate", 11, 1, 0))
	h.good(complete("i", "b.compensate", 11, Cancelled, became("cancelled")))

	h = stopping(t, false)
	h.good(stop("b", Cancelling, cancelling))
	h.bad("S5", "INVALID", stop("a", Cancelling))
}
