package model

import "testing"

// inHand has step a of i leased under token 7, and b behind it.
func inHand(t *testing.T) *told {
	h := tell(t, flow(Step{Name: "a"}, Step{Name: "b", Needs: []string{"a"}}))
	h.session(1)
	h.good(start("w", "i", "a"))
	h.good(leased(1, "i", "a", 7, 1, 0))
	return h
}

func byHand(token int64, facts ...Fact) Entry {
	facts = append([]Fact{
		{Kind: "step.resolved", Instance: "i", Step: "a", Token: token, Attempt: 1}, {Kind: "step.completed", Instance: "i", Step: "a", Token: token, Attempt: 1},
	}, facts...)
	return one(Command{Kind: Resolve, Instance: "i", Step: "a", Answer: Answer{State: Running, Token: token}}, facts...)
}

func pauses() Entry {
	return one(Command{Kind: Halt, Instance: "i", Answer: Answer{State: Running}}, became("paused"))
}

func resumes() Entry {
	return one(Command{Kind: Unhalt, Instance: "i", Answer: Answer{State: Running}}, became("resumed"))
}

func passed(step string) Fact { return Fact{Kind: "step.completed", Instance: "i", Step: step} }

// approves lets a step go on, which is not the last of its instance unless that is told.
func approves(step string, facts ...Fact) Entry {
	state := Running
	if n := len(facts); n > 0 && facts[n-1].Kind == "instance.completed" {
		state = Completed
	}
	facts = append([]Fact{{Kind: "step.approved", Instance: "i", Step: step}, passed(step)}, facts...)
	return one(Command{Kind: Approve, Instance: "i", Step: step, Answer: Answer{State: state}}, facts...)
}

func TestACompletionByHandIsUnderATokenOfItsOwn(t *testing.T) {
	h := inHand(t)
	h.good(byHand(8, ready("b")))
	h.good(one(Command{Kind: Complete, Instance: "i", Step: "a", Token: 7, Answer: Answer{Code: "FENCED"}}))
	inHand(t).bad("S1", "token 7", byHand(7, ready("b")))
	inHand(t).bad("liveness", "is not begun", byHand(8))
	h = inHand(t)
	h.good(byHand(8, ready("b")))
	h.bad("S2", "FENCED", one(Command{Kind: Complete, Instance: "i", Step: "a", Token: 7, Answer: Answer{State: Running}}))
	inHand(t).bad("S1", "is given its end", one(Command{Kind: Revoke, Token: 7}, Fact{Kind: "step.resolved", Instance: "i", Step: "a", Token: 8, Attempt: 1}))
	inHand(t).bad("S5", "NOT_READY", one(Command{Kind: Resolve, Instance: "i", Step: "b", Answer: Answer{State: Running}}))
}

// An output by hand gives the keys that the step says, or is refused.
func TestAnOutputByHandGivesKeys(t *testing.T) {
	with := func(keys ...Key) *told {
		h := tell(t, flow(Step{Name: "a", Queue: "q", Attempts: 1, Keys: []Given{{"made", "s"}}}, Step{Name: "b", Needs: []string{"a"}, Signal: "g", Total: 600 * second}))
		h.good(one(Command{Kind: Start, Workflow: "w", Instance: "i", Keys: keys, Answer: Answer{State: Running}},
			Fact{Kind: "instance.started", Workflow: "w", Instance: "i"}, ready("a")))
		return h
	}
	waits := Fact{Kind: "step.waiting", Instance: "i", Step: "b", Name: "g"}
	resolves := func(code string, facts ...Fact) Entry {
		e := byHand(1, facts...)
		e.Commands[0].Output = 3
		for at := range e.Facts[:2] {
			e.Facts[at].Attempt = 0
		}
		if code != "" {
			e.Commands[0].Answer, e.Facts = Answer{Code: code}, nil
		}
		return e
	}
	given := Fact{Kind: "instance.keyed", Instance: "i", Step: "a", Token: 1, Key: Key{"made", "s3"}}
	with().good(resolves("", given, waits))
	with(Key{"made", "s3"}).good(resolves("", waits))
	with(Key{"made", "s4"}).good(resolves("KEY_REFUSED"))
	with().bad("S1", "does not have [{made s3}]", resolves("", waits))
	with(Key{"made", "s4"}).bad("S5", "must be refused as KEY_REFUSED", resolves("", waits))
	with().bad("S2", "must be done", resolves("KEY_REFUSED"))
}

func TestNothingIsBegunOfAPausedInstance(t *testing.T) {
	paused := func() *told {
		h := inHand(t)
		h.good(pauses())
		return h
	}
	paused().bad("S1", "which is paused", complete("i", "a", 7, Running, ready("b")))
	h := paused()
	h.good(complete("i", "a", 7, Running))
	h.good(resumes())
	h.good(ticks(ready("b")))
	h.good(pauses())
	h.bad("S1", "is leased while", leased(1, "i", "b", 8, 1, 0))
	paused().bad("S4", "is answered", one(Command{Kind: Halt, Instance: "i", Answer: Answer{State: Running}}))
	paused().bad("S4", "instance.paused", pauses())
	inHand(t).bad("S4", "instance.resumed", resumes())
	inHand(t).bad("S4", "is answered", one(Command{Kind: Halt, Instance: "i", Answer: Answer{State: Running}}))
	paused().good(one(Command{Kind: Halt, Instance: "i", Answer: Answer{State: Running, Duplicate: true}}))
}

func TestWhatAnOperatorSkipsAndChanges(t *testing.T) {
	skips := func(step, code string) Entry {
		return one(Command{Kind: SkipRun, Instance: "i", Step: step, Answer: Answer{State: Running}}, Fact{Kind: "step.skipped", Instance: "i", Step: step, Code: code})
	}
	inHand(t).good(skips("b", "SKIPPED_BY_HAND"))
	inHand(t).bad("S1", "is skipped", skips("b", ""))
	inHand(t).bad("S5", "NOT_READY", skips("a", "SKIPPED_BY_HAND"))
	changes := func(u Changes, name string, delay int64, used int32) Entry {
		return one(Command{Kind: Update, Instance: "i", Step: "a", Update: u, Answer: Answer{State: Running}},
			Fact{Kind: "step.updated", Instance: "i", Step: "a", Name: name, Delay: delay, Token: 7, Attempt: 1, Used: used})
	}
	inHand(t).good(changes(Changes{Left: 1}, "attempts", 0, 2))
	inHand(t).bad("S7", "used 1", changes(Changes{Left: 1}, "attempts", 0, 1))
	inHand(t).good(changes(Changes{Run: 5}, "run", 5, 0))
	inHand(t).bad("S4", "is changed by 6", changes(Changes{Run: 5}, "run", 6, 0))
	inHand(t).bad("S5", "NOT_READY", changes(Changes{Queue: 5}, "queue", 5, 0))
	inHand(t).bad("S5", "INVALID", changes(Changes{Left: 4}, "attempts", 0, 0))
}

// Of two steps with the same body the one begins its next turn whose turn is over. The other has begun nothing untold, though its instance
// was paused: it is at its turn.
func TestWhoseTurnBeginsBehindAPause(t *testing.T) {
	loop := Step{Name: "c", Body: &Body{Turns: 2, Steps: []Step{{Name: "s", Approval: true}}}}
	h := tell(t, flow(Step{Name: "l", Body: &Body{Items: 2, Width: 2, Steps: []Step{loop}}}))
	h.good(began(0, begins("i", "l"), begins("i", "c"), begins("i", "s"), begins("i", "c#1"), begins("i", "s#1")))
	h.good(pauses())
	h.good(resumes())
	h.good(approves("s#1", begins("i", "s#2")))
	h.good(approves("s#2", passed("c#1")))
	h.good(approves("s", begins("i", "s#3")))
	h.good(approves("s#3", passed("c"), passed("l"), became("completed")))
}

// A body that begins takes the first number at once, also before one that has room for its next frame by the same cause.
func TestWhoBeginsIsBeforeWhoGoesOn(t *testing.T) {
	loop := Step{Name: "c", Body: &Body{Turns: 2, Steps: []Step{{Name: "s", Signal: "g"}}}}
	h := tell(t, flow(Step{Name: "a", Approval: true}, Step{Name: "l", Needs: []string{"a"}, Body: &Body{Items: 2, Width: 2, Steps: []Step{loop}}}))
	h.good(began(0, begins("i", "a")))
	waits := func(step string) Fact { return Fact{Kind: "step.waiting", Instance: "i", Step: step, Name: "g"} }
	sends := func(id string, facts ...Fact) Entry {
		return one(Command{Kind: Signal, Instance: "i", Name: "g", Signal: id, Answer: Answer{Delivered: len(facts) > 0}},
			append([]Fact{{Kind: "signal.received", Instance: "i", Name: "g", Code: id}}, facts...)...)
	}
	has := func(step, id string) []Fact {
		return []Fact{{Kind: "signal.delivered", Instance: "i", Step: step, Code: id}, passed(step)}
	}
	h.good(sends("1"))
	facts := append([]Fact{begins("i", "l"), begins("i", "c"), waits("s")}, has("s", "1")...)
	h.good(approves("a", append(facts, begins("i", "c#1"), waits("s#1"), waits("s#2"))...))
	h.good(sends("2", append(has("s#1", "2"), waits("s#3"))...))
	h.good(sends("3", append(has("s#2", "3"), passed("c"))...))
}

// What is held of a paused instance has its number, and what begins by itself behind the pause may be told before it.
func TestATurnThatWasHeldHasItsNumber(t *testing.T) {
	loop := Step{Name: "c", Body: &Body{Turns: 2, Steps: []Step{{Name: "s", Approval: true}}}}
	h := tell(t, flow(Step{Name: "l", Body: &Body{Items: 2, Width: 2, Steps: []Step{loop}}}))
	h.good(began(0, begins("i", "l"), begins("i", "c"), begins("i", "s"), begins("i", "c#1"), begins("i", "s#1")))
	h.good(pauses())
	h.good(approves("s#1"))
	e, second := resumes(), approves("s", begins("i", "s#3"))
	for _, f := range second.Facts {
		f.Ordinal = 2
		e = e.and(f)
	}
	e.Commands = append(e.Commands, second.Commands...)
	h.good(e.and(begins("i", "s#2")))
	h.good(approves("s#3", passed("c")))
	h.good(approves("s#2", passed("c#1"), passed("l"), became("completed")))
}
