package model

import "testing"

func held(lock string, token int64, how string, shared bool) Fact {
	return Fact{Kind: "lock.held", Lock: lock, Instance: "i", Step: "a", Token: token, Name: how, Shared: shared}
}

func freed(lock string, token int64) Fact {
	return Fact{Kind: "lock.freed", Lock: lock, Instance: "i", Token: token}
}

// What an instance is to hold it holds from the grant on, and until it has ended.
func TestALockIsHeld(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a", Locks: []Want{{Lock: "x", Take: 1, Hold: HoldInstance}}}))
		h.session(1)
		h.good(start("w", "i", "a"))
		return h
	}
	x := granted("x", 7, false, 1, 0)
	begun(t).bad("S2", "does not hold it", leased(1, "i", "a", 7, 1, 0, x))
	begun(t).bad("S2", "did not claim it so", leased(1, "i", "a", 7, 1, 0, x, held("x", 7, "scope", false)))
	begun(t).bad("S2", "did not claim it so", leased(1, "i", "a", 7, 1, 0, x, held("x", 7, "instance", true)))
	begun(t).bad("S2", "not leased with it", leased(1, "i", "a", 7, 1, 0, x, held("x", 8, "instance", false)))
	holding := func(t *testing.T) *told {
		h := begun(t)
		h.good(leased(1, "i", "a", 7, 1, 0, x, held("x", 7, "instance", false)))
		return h
	}
	release := Fact{Kind: "lock.released", Lock: "x", Instance: "i", Token: 7}
	over := Fact{Kind: "instance.completed", Instance: "i"}
	holding(t).good(complete("i", "a", 7, Completed, release, over, freed("x", 7)))
	holding(t).bad("liveness", "held by what has ended", complete("i", "a", 7, Completed, release, over))
	holding(t).bad("S2", "goes on", ticks(freed("x", 7)))
	holding(t).bad("S2", "does not hold it", ticks(freed("x", 6)))
	h := holding(t)
	h.bad("S2", "while the lock has", acquire(1, Want{Lock: "x"}, Answer{Token: 8}, own(1, 8, "x", false, 1, 0)))
	holding(t).good(acquire(1, Want{Lock: "x"}, Answer{Code: "LOCK_HELD"}))
}
