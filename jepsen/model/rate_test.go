package model

import (
	"fmt"
	"testing"
)

func slot(id, key string, limit int32, token int64, attempt, used int32) Fact {
	return Fact{Kind: "limit.taken", Instance: id, Step: "a", LimitKey: key, Limit: limit, Per: 10 * second, Token: token, Attempt: attempt, Used: used}
}

func TestRates(t *testing.T) {
	rates := []Rate{{Key: "p", Limit: 2, Per: 10 * second}, {Key: "o", Limit: 5, Per: 10 * second}}
	begun := func(t *testing.T, rates ...Rate) *told {
		h := tell(t, flow(Step{Name: "a", Rates: rates}))
		h.session(1)
		for n := range 4 {
			h.good(start("w", fmt.Sprint("i", n), "a"))
		}
		return h
	}
	lease := func(n, token int64, keys ...string) Entry {
		id := fmt.Sprint("i", n)
		var slots []Fact
		for _, key := range keys {
			slots = append(slots, slot(id, key, map[string]int32{"p": 2, "o": 5}[key], token, 1, 0))
		}
		return leased(1, id, "a", token, 1, 0, slots...)
	}
	begun(t, rates...).good(lease(0, 1, "p", "o"))
	begun(t, rates...).good(lease(0, 1, "o", "p"))
	begun(t, rates...).bad("limits", "without a slot of limit o", lease(0, 1, "p"))
	begun(t, rates...).bad("limits", "does not claim it", lease(0, 1, "p", "x"))
	begun(t, rates...).bad("limits", "not being leased", ticks(slot("i0", "p", 2, 1, 1, 0)))
	begun(t, rates...).bad("limits", "without a slot", lease(0, 1))

	h := begun(t, rates[0])
	h.good(lease(0, 1, "p"))
	h.elapsed = 9 * second
	h.good(one(Command{Kind: Release, Instance: "i0", Step: "a", Token: 1}, Fact{Kind: "step.released", Instance: "i0", Step: "a", Name: "release", Token: 1, Attempt: 1}))
	h.good(lease(1, 2, "p"))
	h.bad("limits", "3 slots of limit p are taken", lease(2, 3, "p")) // what was given back was taken

	polls := one(Command{Kind: Poll, Session: 1, Call: 7, Queues: []string{"q"}, Count: 1, Wait: 60 * second, Answer: Answer{Parked: true}})
	h = begun(t, rates[0])
	h.good(lease(0, 1, "p"))
	h.elapsed = second
	h.good(lease(1, 2, "p"))
	h.good(polls)
	h.elapsed = 8 * second
	h.good(Entry{Renewals: []Renewal{{Session: 1, Tokens: []int64{1, 2}}}})
	h.elapsed = 10*second - 1
	h.good(ticks())
	h.elapsed = 10 * second
	h.bad("liveness", "waits for limit p, which has room", ticks())
	begun(t, rates[0]).bad("liveness", "waits for limit p, which has room", polls)
}

// So many are offered in one go; the rest wait until what was due then is due by a tick, and no longer.
func TestSlotsAreOfferedInTurns(t *testing.T) {
	late := func(taken int, horizon int64) (s *State, r *run) {
		s = New()
		s.Uptime, s.horizon = 10*second, horizon
		r = &run{of: &instance{id: "i", state: Running}, frame: &frame{}, name: "a", state: Ready, step: &Step{Name: "a", Queue: "q", Rates: []Rate{{Key: "p", Limit: 100, Per: 100 * second}}}}
		s.idling = []*run{r}
		s.waits = []*wait{{queues: []string{"q"}}}
		for range taken {
			s.taken["p"] = append(s.taken["p"], s.Uptime)
		}
		return s, r
	}
	stuck := func(taken int, horizon int64) (is bool) {
		defer func() { is = recover() != nil }()
		s, r := late(taken, horizon)
		s.limitedLong(r)
		return false
	}
	if stuck(offered, 9*second) || !stuck(offered-1, 9*second) || !stuck(offered, 10*second) {
		t.Error("who waits behind those that were offered in one go is excused until the tick has come so far, and nobody else is")
	}
}
