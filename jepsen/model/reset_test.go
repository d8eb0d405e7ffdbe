package model

import "testing"

// backTo is what sets instance i back for the first time, with what follows.
func backTo(step string, steps int, facts ...Fact) Entry {
	reset := Fact{Kind: "instance.reset", Instance: "i", Name: step, Index: 1, Count: int32(steps)}
	return one(Command{Kind: Reset, Instance: "i", From: step, Answer: Answer{Index: 1, Back: steps, State: Running}}, append([]Fact{reset}, facts...)...)
}

// toReset has completed a of a chain and holds b under token 9; d is beside them, and held as well.
func toReset(t *testing.T) *told {
	h := tell(t, flow(Step{Name: "a", Undo: undo("a")}, Step{Name: "b", Needs: []string{"a"}}, Step{Name: "c", Needs: []string{"b"}}, Step{Name: "d"}))
	h.session(1)
	h.good(start("w", "i", "a", "d"))
	h.good(leased(1, "i", "a", 7, 1, 0))
	h.good(complete("i", "a", 7, Running, ready("b")))
	h.good(leased(1, "i", "d", 8, 1, 0))
	h.good(leased(1, "i", "b", 9, 1, 0))
	return h
}

func TestResets(t *testing.T) {
	b := Fact{Kind: "step.cancelled", Instance: "i", Step: "b", Token: 9, Attempt: 1}
	c := Fact{Kind: "step.cancelled", Instance: "i", Step: "c"}
	h := toReset(t)
	h.good(backTo("a", 3, b, c, ready("a#1")))
	again := Command{Kind: Reset, Instance: "i", From: "a", Answer: Answer{Index: 1, Back: 3, State: Running, Existing: true}}
	h.good(one(again))
	h.bad("S2", "must be done", one(Command{Kind: Reset, Instance: "i", From: "a", Answer: Answer{Code: "NOT_RUNNING"}}))

	toReset(t).bad("S4", "there are", backTo("a", 2, b, c, ready("a#1")))
	toReset(t).bad("S1", "its step c is PENDING", backTo("a", 3, b, ready("a#1")))
	toReset(t).bad("S1", "its step b is LEASED", backTo("a", 3, c, ready("a#1")))
	toReset(t).bad("liveness", "is not begun", backTo("a", 3, b, c))
	toReset(t).bad("S1", "becomes ready", backTo("a", 3, b, c, ready("a#1"), ready("b#1")))
	toReset(t).bad("S1", "is cancelled", backTo("b", 2, b, c, ready("b#1"), Fact{Kind: "step.cancelled", Instance: "i", Step: "d", Token: 8, Attempt: 1}))
	toReset(t).bad("S5", "is set back to b", one(Command{Kind: Cancel, Instance: "i"}, Fact{Kind: "instance.reset", Instance: "i", Name: "b", Index: 1, Count: 2}))
	toReset(t).bad("S2", "must be done", one(Command{Kind: Reset, Instance: "i", From: "b", Answer: Answer{Code: "RESET_BUSY"}}))
	not := Command{Kind: Reset, Instance: "i", From: "c", Answer: Answer{Code: "STEP_NOT_BEGUN"}}
	toReset(t).good(one(not))

	h = toReset(t)
	h.good(backTo("b", 2, b, c, ready("b#1")))
	h.bad("S2", "must be refused as FENCED", complete("i", "b", 9, Running))
}

// What is behind a step is set back with it, and all of a race.
func TestWhatIsSetBack(t *testing.T) {
	f := flow(Step{Name: "a"}, Step{Name: "s"}, Step{Name: "t"}, Step{Name: "r", Race: true, AtLeast: 1, Needs: []string{"s", "t"}}, Step{Name: "z", Needs: []string{"a", "r"}})
	for from, want := range map[string]int{"a": 2, "s": 4, "t": 4, "r": 2, "z": 1} {
		if got := f.back(from); len(got) != want {
			t.Errorf("with %s are set back %v", from, got)
		}
	}
}

// What was called is cancelled by a reset, and what is new begins when that has ended, and not before.
func TestAResetOfACall(t *testing.T) {
	child := []Fact{{Kind: "instance.cancelling", Instance: "i:a"}, {Kind: "step.cancelled", Instance: "i:a", Step: "s"}, {Kind: "instance.cancelled", Instance: "i:a"}}
	left := Fact{Kind: "step.cancelled", Instance: "i", Step: "a"}
	anew := []Fact{callsOf("i", "a#1", "i:a#1"), childOf("i:a#1", "i", "a#1"), {Kind: "step.waiting", Instance: "i:a#1", Step: "s", Name: "g"}}
	calling(t, Call{}).good(backTo("a", 1).and(child...).and(left).and(anew...))
	calling(t, Call{}).bad("saga", "runs on", backTo("a", 1))
	calling(t, Call{}).bad("S1", "is cancelled", backTo("a", 1, left))
	calling(t, Call{}).bad("S1", "waits", backTo("a", 1, anew[0]))
	calling(t, Call{}).bad("S1", "waits", backTo("a", 1).and(child[:1]...).and(anew[0]))
	calling(t, Call{}).bad("liveness", "is not begun", backTo("a", 1).and(child...).and(left))
	calling(t, Call{}).bad("S2", "must be done", one(Command{Kind: Reset, Instance: "i", From: "a", Answer: Answer{Code: "RESET_BUSY"}}))
	calling(t, Call{Abandon: true}).good(backTo("a", 1, left, anew[0]).and(anew[1:]...))

	done := sent("i:a") // in the entry of the reset: it is kept
	done.Commands = append(backTo("a", 1).Commands, done.Commands...)
	for k := range done.Facts {
		done.Facts[k].Ordinal = 2
	}
	done.Facts = append(backTo("a", 1).Facts, done.Facts...)
	calling(t, Call{}).good(done.and(Fact{Kind: "step.completed", Instance: "i", Step: "a"}).and(anew...))
}

// What was completed is undone before anything of what is new begins, where that is asked for, and once.
func TestAResetThatCompensates(t *testing.T) {
	b := Fact{Kind: "step.cancelled", Instance: "i", Step: "b", Token: 9, Attempt: 1}
	c := Fact{Kind: "step.cancelled", Instance: "i", Step: "c"}
	undoes := func(undone int, facts ...Fact) Entry {
		e := backTo("a", 3, facts...)
		e.Commands[0].Compensate, e.Commands[0].Answer.Undone, e.Facts[0].Code = true, undone, "COMPENSATE"
		return e
	}
	first := ready("a.compensate")
	h := toReset(t)
	h.good(undoes(1, b, c, first))
	h.good(leased(1, "i", "a.compensate", 10, 1, 0))
	h.bad("S1", "becomes ready", ticks(ready("a#1")))

	h = toReset(t)
	h.good(undoes(1, b, c, first))
	h.good(leased(1, "i", "a.compensate", 10, 1, 0))
	h.good(complete("i", "a.compensate", 10, Running, ready("a#1")))

	h = toReset(t)
	h.good(undoes(1, b, c, first))
	h.good(leased(1, "i", "a.compensate", 10, 1, 0))
	h.bad("liveness", "is not begun", complete("i", "a.compensate", 10, Running))

	toReset(t).bad("S1", "becomes ready", undoes(1, b, c, first, ready("a#1")))
	toReset(t).bad("saga", "is PENDING", undoes(1, b, c))
	toReset(t).bad("S5", "is answered", undoes(0, b, c, first))
	kept := undoes(1, b, c, first)
	kept.Commands[0].Compensate = false
	toReset(t).bad("S5", "is set back as", kept)
}
