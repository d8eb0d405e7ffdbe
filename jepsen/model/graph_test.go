package model

import "testing"

func skipped(id, step string) Fact { return Fact{Kind: "step.skipped", Instance: id, Step: step} }

// done completes step a of instance i under token 7 with an output, and what follows.
func done(output int64, state string, facts ...Fact) Entry {
	e := complete("i", "a", 7, state, facts...)
	e.Commands[0].Output = output
	return e
}

// fork has begun a and holds it.
func fork(t *testing.T, steps ...Step) *told {
	h := tell(t, flow(append([]Step{{Name: "a"}}, steps...)...))
	h.session(1)
	h.good(start("w", "i", "a"))
	h.good(leased(1, "i", "a", 7, 1, 0))
	return h
}

func TestConditionsAndWhatIsSkippedWithThem(t *testing.T) {
	steps := []Step{{Name: "b", Needs: []string{"a"}, When: &When{Step: "a", Above: 1}}, {Name: "c", Needs: []string{"b"}}}
	ready := Fact{Kind: "step.ready", Instance: "i", Step: "b"}
	ends := Fact{Kind: "instance.completed", Instance: "i"}
	fork(t, steps...).good(done(2, Running, ready))
	fork(t, steps...).good(done(1, Completed, skipped("i", "b"), skipped("i", "c"), ends))
	fork(t, steps...).bad("S1", "becomes ready", done(1, Running, ready))
	fork(t, steps...).bad("S1", "is skipped", done(2, Completed, skipped("i", "b"), skipped("i", "c"), ends))
	fork(t, steps...).bad("liveness", "is not begun", done(1, Running, skipped("i", "b")))
	fork(t, steps...).bad("liveness", "is not begun", done(2, Running))

	h := tell(t, flow(Step{Name: "a", When: &When{Above: 3}}))
	e := one(Command{Kind: Start, Workflow: "w", Instance: "i", Input: 3, Answer: Answer{State: Completed}},
		Fact{Kind: "instance.started", Workflow: "w", Instance: "i"}, skipped("i", "a"), ends)
	h.good(e)
	h.bad("S5", "INSTANCE_EXISTS", one(Command{Kind: Start, Workflow: "w", Instance: "i", Input: 4, Answer: Answer{State: Completed, Existing: true}}))
}

// a and b are begun; c needs some of them.
func joined(t *testing.T, atLeast int32) *told {
	h := tell(t, flow(Step{Name: "a"}, Step{Name: "b"}, Step{Name: "c", Needs: []string{"a", "b"}, AtLeast: atLeast}))
	h.session(1)
	h.good(start("w", "i", "a", "b"))
	h.good(leased(1, "i", "a", 7, 1, 0))
	return h
}

func TestJoins(t *testing.T) {
	ready := Fact{Kind: "step.ready", Instance: "i", Step: "c"}
	joined(t, 0).good(done(0, Running))
	joined(t, 0).bad("S1", "becomes ready", done(0, Running, ready))
	joined(t, 1).good(done(0, Running, ready))
	joined(t, 1).bad("liveness", "is not begun", done(0, Running))
	joined(t, 2).good(done(0, Running))
	joined(t, 2).bad("S1", "becomes ready", done(0, Running, ready))
	joined(t, 2).bad("S1", "is skipped", done(0, Running, skipped("i", "c")))
}

func TestSignals(t *testing.T) {
	send := func(id string, delivered, duplicate bool, facts ...Fact) Entry {
		return one(Command{Kind: Signal, Instance: "i", Name: "g", Signal: id, TTL: 2 * second, Answer: Answer{Delivered: delivered, Duplicate: duplicate}}, facts...)
	}
	received := func(id string) Fact { return Fact{Kind: "signal.received", Instance: "i", Name: "g", Code: id} }
	waiting := Fact{Kind: "step.waiting", Instance: "i", Step: "s", Name: "g"}
	takes := func(id string) []Fact {
		return []Fact{{Kind: "signal.delivered", Instance: "i", Step: "s", Name: "g", Code: id}, {Kind: "step.completed", Instance: "i", Step: "s"}}
	}
	signalled := []Step{{Name: "s", Signal: "g", Needs: []string{"a"}, Total: 5 * second}, {Name: "z", Needs: []string{"s"}}}
	ready := Fact{Kind: "step.ready", Instance: "i", Step: "z"}
	begun := func(t *testing.T) *told { return fork(t, signalled...) }
	kept := func(t *testing.T) *told {
		h := begun(t)
		h.good(send("1", false, false, received("1")))
		h.good(send("2", false, false, received("2")))
		return h
	}
	kept(t).good(done(0, Running, append(append([]Fact{waiting}, takes("1")...), ready)...))
	kept(t).bad("S1", "gets signal", done(0, Running, append([]Fact{waiting}, takes("2")...)...))
	kept(t).bad("liveness", "is there", done(0, Running, waiting))
	kept(t).good(send("2", false, true))
	kept(t).bad("S5", "is told again", send("2", true, true))
	kept(t).bad("S5", "is told again", send("2", false, false))
	kept(t).bad("S5", "is received", send("3", false, false, received("4")))

	h := kept(t)
	h.elapsed = 2 * second // both are kept no more
	h.good(done(0, Running, waiting))
	h.good(send("1", true, false, append(append([]Fact{received("1")}, takes("1")...), ready)...))

	h = begun(t)
	h.good(done(0, Running, waiting))
	h.bad("S4", "while a step waits", send("1", false, false, received("1")))
	fails := []Fact{{Kind: "step.failed", Instance: "i", Step: "s", Code: "TIMEOUT_TOTAL"}, {Kind: "instance.failing", Instance: "i"},
		{Kind: "step.cancelled", Instance: "i", Step: "z"}, {Kind: "instance.failed", Instance: "i"}}
	h = begun(t)
	h.good(done(0, Running, waiting))
	h.elapsed = 5*second - 1
	h.bad("S6", "before its time", ticks(fails...))
	h = begun(t)
	h.good(done(0, Running, waiting))
	h.elapsed = 5 * second
	h.good(ticks(fails...))
	h = begun(t)
	h.good(done(0, Running, waiting))
	h.elapsed = 5 * second
	h.bad("liveness", "beyond its timeout", ticks())
	h = begun(t)
	h.good(done(0, Running, waiting))
	h.bad("S1", "without what it waits for", ticks(Fact{Kind: "step.completed", Instance: "i", Step: "s"}))
}

func TestTheFirstInAQueueGoesFirst(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a"}), Workflow{Name: "urgent", Steps: []Step{{Name: "a", Queue: "q", Attempts: 3, Priority: 1}}})
		h.session(1)
		h.good(start("w", "i", "a"))
		h.good(start("w", "j", "a"))
		h.good(start("urgent", "u", "a"))
		return h
	}
	h := begun(t)
	h.good(leased(1, "u", "a", 7, 1, 0))
	h.good(leased(1, "i", "a", 8, 1, 0))
	h.good(leased(1, "j", "a", 9, 1, 0))
	begun(t).bad("liveness", "ahead of it", leased(1, "i", "a", 7, 1, 0))
	h = begun(t)
	h.good(leased(1, "u", "a", 7, 1, 0))
	h.bad("liveness", "ahead of it", leased(1, "j", "a", 8, 1, 0))
}

func TestQueueTimeoutsAndRetries(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a", QueueTimeout: 3 * second, Backoff: second, MaxBackoff: second, NonRetryable: []string{"N"}}))
		h.session(1)
		h.good(start("w", "i", "a"))
		return h
	}
	ended := []Fact{{Kind: "instance.failing", Instance: "i"}, {Kind: "instance.failed", Instance: "i"}}
	late := append([]Fact{{Kind: "step.failed", Instance: "i", Step: "a", Code: "TIMEOUT_QUEUE"}}, ended...)
	h := begun(t)
	h.elapsed = 3 * second
	h.good(ticks(late...))
	h = begun(t)
	h.elapsed = 3*second - 1
	h.bad("S6", "before its time", ticks(late...))
	h = begun(t)
	h.elapsed = 3 * second
	h.bad("liveness", "beyond its timeout", ticks())

	fail := func(code string, facts ...Fact) Entry {
		return one(Command{Kind: Fail, Instance: "i", Step: "a", Token: 7, Code: code, Retryable: true}, facts...)
	}
	retried := Fact{Kind: "step.retried", Instance: "i", Step: "a", Token: 7, Attempt: 1, Used: 1, Delay: second}
	failed := append([]Fact{{Kind: "step.failed", Instance: "i", Step: "a", Token: 7, Attempt: 1, Used: 1}}, ended...)
	held := func(t *testing.T) *told {
		h := begun(t)
		h.good(leased(1, "i", "a", 7, 1, 0))
		return h
	}
	held(t).bad("S1", "is retried", fail("N", retried))
	held(t).good(fail("N", failed...))
	held(t).bad("S1", "attempts used", fail("E", failed...))
	long := retried
	long.Delay = second + 1
	held(t).bad("S1", "backs off", fail("E", long))
	h = held(t)
	h.good(fail("E", retried))
	again := Fact{Kind: "step.ready", Instance: "i", Step: "a", Token: 7, Attempt: 1, Used: 1}
	h.elapsed = second - 1
	h.bad("S1", "becomes ready", ticks(again))
	h = held(t)
	h.good(fail("E", retried))
	h.elapsed = second
	h.bad("liveness", "backs off beyond", ticks())
	h = held(t)
	h.good(fail("E", retried))
	h.elapsed = second
	h.good(ticks(again))
}
