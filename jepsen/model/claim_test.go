package model

import "testing"

func granted(lock string, token int64, shared bool, take, slot int32) Fact {
	return Fact{Kind: "lock.granted", Lock: lock, Instance: "i", Step: "", Token: token, Shared: shared, Take: take, Slot: slot}
}

func acquire(session int64, w Want, a Answer, facts ...Fact) Entry {
	return one(Command{Kind: Acquire, Session: session, Want: w, Answer: a}, facts...)
}

func own(session, token int64, lock string, shared bool, take, slot int32) Fact {
	return Fact{Kind: "lock.granted", Session: session, Lock: lock, Token: token, Shared: shared, Take: take, Slot: slot}
}

func TestAClaimIsGrantedWhole(t *testing.T) {
	wants := []Want{{Lock: "x", Take: 1}, {Lock: "p", Limit: 3, Take: 2}}
	begun := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a", Locks: wants}))
		h.session(1)
		h.good(start("w", "i", "a"))
		return h
	}
	x, p := granted("x", 7, false, 1, 0), granted("p", 7, false, 2, 1)
	begun(t).good(leased(1, "i", "a", 7, 1, 0, x, p))
	begun(t).bad("S2", "without lock p", leased(1, "i", "a", 7, 1, 0, x))
	begun(t).bad("S2", "did not claim it so", leased(1, "i", "a", 7, 1, 0, x, granted("p", 7, false, 1, 1)))
	begun(t).bad("S2", "not being leased", ticks(x))
	h := begun(t)
	h.good(leased(1, "i", "a", 7, 1, 0, x, p))
	h.bad("S2", "whose lease is over", complete("i", "a", 7, Completed, Fact{Kind: "instance.completed", Instance: "i"}))
	h = begun(t)
	h.good(acquire(1, Want{Lock: "x"}, Answer{Token: 7}, own(1, 7, "x", false, 1, 0)))
	h.bad("S2", "beside 1 holders", leased(1, "i", "a", 8, 1, 0, granted("x", 8, false, 1, 0), granted("p", 8, false, 2, 1)))
}

func TestLocks(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t)
		h.session(1)
		h.session(2)
		h.good(acquire(1, Want{Lock: "x"}, Answer{Token: 7}, own(1, 7, "x", false, 1, 0)))
		h.good(acquire(1, Want{Lock: "s", Shared: true}, Answer{Token: 8}, own(1, 8, "s", true, 1, 0)))
		h.good(acquire(1, Want{Lock: "p", Limit: 2}, Answer{Token: 9}, own(1, 9, "p", false, 1, 1)))
		return h
	}
	begun(t).good(acquire(2, Want{Lock: "x"}, Answer{Code: "LOCK_HELD"}))
	begun(t).bad("S2", "while the lock has 1 holders", acquire(2, Want{Lock: "x"}, Answer{Token: 10}, own(2, 10, "x", false, 1, 0)))
	begun(t).bad("S2", "while the lock has 1 holders", acquire(2, Want{Lock: "s"}, Answer{Token: 10}, own(2, 10, "s", false, 1, 0)))
	begun(t).good(acquire(2, Want{Lock: "s", Shared: true}, Answer{Token: 10}, own(2, 10, "s", true, 1, 0)))
	begun(t).bad("liveness", "is free", acquire(2, Want{Lock: "s", Shared: true}, Answer{Code: "LOCK_HELD"}))
	begun(t).good(acquire(2, Want{Lock: "p", Limit: 2}, Answer{Token: 10}, own(2, 10, "p", false, 1, 2)))
	begun(t).bad("S2", "slot 1", acquire(2, Want{Lock: "p", Limit: 2}, Answer{Token: 10}, own(2, 10, "p", false, 1, 1)))
	begun(t).bad("S2", "while the lock has 1 holders", acquire(2, Want{Lock: "p", Limit: 2, Take: 2}, Answer{Token: 10}, own(2, 10, "p", false, 2, 2)))
	begun(t).good(acquire(2, Want{Lock: "p", Limit: 3}, Answer{Code: "LOCK_LIMIT_DIFFERS"}))
	begun(t).bad("S6", "for no reason", ticks(Fact{Kind: "lock.released", Lock: "x", Session: 1, Token: 7}))

	h := begun(t)
	release := one(Command{Kind: ReleaseLock, Want: Want{Lock: "x"}, Token: 7}, Fact{Kind: "lock.released", Lock: "x", Session: 1, Token: 7})
	h.good(release)
	h.bad("S2", "FENCED", one(Command{Kind: ReleaseLock, Want: Want{Lock: "x"}, Token: 7}))
	begun(t).bad("S2", "holds on", one(Command{Kind: ReleaseLock, Want: Want{Lock: "x"}, Token: 7}))
}

func TestAWaitThatWouldCloseACycle(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t)
		h.session(1)
		h.session(2)
		h.good(acquire(1, Want{Lock: "x"}, Answer{Token: 7}, own(1, 7, "x", false, 1, 0)))
		h.good(acquire(2, Want{Lock: "y"}, Answer{Token: 8}, own(2, 8, "y", false, 1, 0)))
		h.good(one(Command{Kind: Acquire, Call: 1, Session: 1, Want: Want{Lock: "y"}, Wait: 5 * second, Answer: Answer{Parked: true}}))
		return h
	}
	closes := func(a Answer) Entry {
		return one(Command{Kind: Acquire, Call: 2, Session: 2, Want: Want{Lock: "x"}, Wait: 5 * second, Answer: a})
	}
	begun(t).good(closes(Answer{Code: "DEADLOCK"}))
	begun(t).bad("S2", "is answered", closes(Answer{Parked: true}))
	h := begun(t)
	h.elapsed = 5 * second
	h.bad("liveness", "beyond its deadline", ticks())
	h = begun(t)
	h.elapsed = 5*second - 1
	e := ticks()
	e.Settled = []Settled{{Call: 1, Answer: Answer{Code: "WAIT_TIMEOUT"}}}
	h.bad("liveness", "before its time", e)
}

// Who was granted a lock does not wait for it any more, also in the rest of the entry.
func TestAWaitThatWasGrantedClosesNoCycle(t *testing.T) {
	for _, a := range []Answer{{Parked: true}, {Code: "DEADLOCK"}} {
		h := tell(t)
		h.session(1)
		h.session(2)
		h.good(acquire(1, Want{Lock: "x"}, Answer{Token: 7}, own(1, 7, "x", false, 1, 0)))
		h.good(acquire(2, Want{Lock: "p", Limit: 2, Take: 2}, Answer{Token: 8}, own(2, 8, "p", false, 2, 1)))
		h.good(one(Command{Kind: Acquire, Call: 1, Session: 1, Want: Want{Lock: "p", Limit: 2, Take: 1}, Wait: 5 * second, Answer: Answer{Parked: true}}))
		e := one(Command{Kind: ReleaseLock, Want: Want{Lock: "p"}, Token: 8},
			Fact{Kind: "lock.released", Lock: "p", Session: 2, Token: 8}, own(1, 9, "p", false, 1, 1))
		e.Commands = append(e.Commands,
			Command{Kind: Acquire, Session: 2, Want: Want{Lock: "p", Limit: 2, Take: 1}, Answer: Answer{Token: 10}},
			Command{Kind: Acquire, Call: 2, Session: 2, Want: Want{Lock: "x"}, Wait: 5 * second, Answer: a})
		taken := own(2, 10, "p", false, 1, 2)
		taken.Ordinal = 2
		e.Facts = append(e.Facts, taken)
		e.Settled = []Settled{{Call: 1, Answer: Answer{Token: 9}}}
		if a.Parked {
			h.good(e)
		} else {
			h.bad("S2", "is answered", e)
		}
	}
}

func TestARequestIsAnsweredOnce(t *testing.T) {
	ask := func(request, lowest int64, a Answer, facts ...Fact) Entry {
		return one(Command{Kind: Acquire, By: 1, Request: request, Lowest: lowest, Session: 1, Want: Want{Lock: "x"}, Answer: a}, facts...)
	}
	begun := func(t *testing.T) *told {
		h := tell(t)
		h.session(1)
		h.good(ask(5, 1, Answer{Token: 7, Sum: 77}, own(1, 7, "x", false, 1, 0)))
		return h
	}
	begun(t).good(ask(5, 1, Answer{Token: 7, Sum: 77}))
	begun(t).bad("S5", "otherwise than the first", ask(5, 1, Answer{Code: "LOCK_HELD", Sum: 78}))
	h := begun(t)
	h.good(ask(6, 6, Answer{Code: "LOCK_HELD", Sum: 78}))
	h.good(ask(5, 1, Answer{Code: "REQUEST_TOO_OLD"}))
	h.bad("S5", "REQUEST_TOO_OLD", ask(5, 1, Answer{Code: "LOCK_HELD"}))
	begun(t).bad("S5", "SESSION_EXPIRED", one(Command{Kind: Acquire, By: 2, Request: 1, Session: 2, Want: Want{Lock: "y"}, Answer: Answer{Token: 9}}, own(2, 9, "y", false, 1, 0)))
}
