package model

import (
	"strings"
	"testing"
)

// told is a history made by hand: each entry is what a cluster could have said, or could not.
type told struct {
	t *testing.T
	s *State
	// Of the next entry.
	index   uint64
	elapsed int64
	wall    int64
	at      int64 // position of the newest fact
}

func tell(t *testing.T, flows ...Workflow) *told {
	h := &told{t: t, s: New()}
	h.s.Know(flows)
	return h
}

// entry adds an entry of term 1 with a tick, and returns what the model finds wrong with it.
func (h *told) entry(e Entry) *Fault {
	h.index++
	e.Index, e.Term = h.index, 1
	if e.HeaderTerm == 0 {
		e.HeaderTerm = 1
	}
	e.Elapsed, e.Wall, e.Due = h.elapsed, h.wall, h.elapsed
	for i := range e.Facts {
		if e.Facts[i].Position == 0 {
			h.at++
			e.Facts[i].Position = h.at
		}
	}
	return h.s.Apply(&e)
}

// good is an entry that must be accepted.
func (h *told) good(e Entry) {
	h.t.Helper()
	if f := h.entry(e); f != nil {
		h.t.Fatalf("entry %d is refused: %v", h.index, f)
	}
}

// bad is an entry that must be refused, for a guarantee and with words of the reason.
func (h *told) bad(guarantee, words string, e Entry) {
	h.t.Helper()
	f := h.entry(e)
	switch {
	case f == nil:
		h.t.Errorf("entry %d is accepted; want %s: %s", h.index, guarantee, words)
	case f.Guarantee != guarantee || !strings.Contains(f.What, words):
		h.t.Errorf("entry %d is refused as %v; want %s: %s", h.index, f, guarantee, words)
	}
}

// one is an entry of one command, with the facts that it causes.
func one(c Command, facts ...Fact) Entry {
	for i := range facts {
		facts[i].Ordinal = 1
	}
	return Entry{Commands: []Command{c}, Facts: facts}
}

func ticks(facts ...Fact) Entry { return Entry{Facts: facts} }

// session opens one of ten seconds.
func (h *told) session(id int64) {
	h.t.Helper()
	h.good(one(Command{Kind: Open, TTL: 10 * second, Answer: Answer{Session: id}}, Fact{Kind: "session.opened", Session: id}))
}

// start starts an instance of a workflow whose first steps become ready.
func start(flow, id string, steps ...string) Entry {
	facts := []Fact{{Kind: "instance.started", Workflow: flow, Instance: id}}
	for _, step := range steps {
		facts = append(facts, Fact{Kind: "step.ready", Instance: id, Step: step})
	}
	return one(Command{Kind: Start, Workflow: flow, Instance: id, Answer: Answer{State: Running}}, facts...)
}

// leased is a poll of queue q by a session that gets a run.
func leased(session int64, id, step string, token int64, attempt, used int32, locks ...Fact) Entry {
	facts := append([]Fact{{Kind: "step.leased", Instance: id, Step: step, Session: session, Token: token, Attempt: attempt, Used: used}}, locks...)
	return one(Command{Kind: Poll, Session: session, Queues: []string{"q"}, Count: 1, Answer: Answer{
		Grants: []Grant{{Instance: id, Step: step, Token: token, Session: session, Attempt: attempt}},
	}}, facts...)
}

func complete(id, step string, token int64, state string, facts ...Fact) Entry {
	facts = append([]Fact{{Kind: "step.completed", Instance: id, Step: step, Token: token, Attempt: 1}}, facts...)
	return one(Command{Kind: Complete, Instance: id, Step: step, Token: token, Answer: Answer{State: state}}, facts...)
}

func flow(steps ...Step) Workflow {
	for i := range steps {
		if !steps[i].waits() {
			steps[i].Queue, steps[i].Attempts = "q", 3
		}
	}
	return Workflow{Name: "w", Steps: steps}
}

func TestARunIsCompletedOnceUnderItsToken(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a"}))
		h.session(1)
		h.good(start("w", "i", "a"))
		h.good(leased(1, "i", "a", 7, 1, 0))
		return h
	}
	ends := Fact{Kind: "instance.completed", Instance: "i"}
	h := begun(t)
	h.good(complete("i", "a", 7, Completed, ends))
	h.good(one(Command{Kind: Complete, Instance: "i", Step: "a", Token: 7, Answer: Answer{State: Completed}})) // told again
	h.bad("S1", "", complete("i", "a", 7, Completed))

	h = begun(t)
	h.bad("S2", "FENCED", complete("i", "a", 6, Completed, ends))
	h = begun(t)
	h.bad("liveness", "no open steps", complete("i", "a", 7, Running))
	h = begun(t)
	h.bad("S1", "is told done", one(Command{Kind: Complete, Instance: "i", Step: "a", Token: 7, Answer: Answer{State: Running}}))
	h = begun(t)
	h.bad("S1", "granted after", func() Entry {
		h.good(one(Command{Kind: Release, Instance: "i", Step: "a", Token: 7}, Fact{Kind: "step.released", Name: "release", Instance: "i", Step: "a", Token: 7, Attempt: 1}))
		return leased(1, "i", "a", 7, 2, 0)
	}())
}

func TestALeaseEndsInItsTime(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a", RunTimeout: 4 * second}))
		h.session(1)
		h.good(start("w", "i", "a"))
		h.good(leased(1, "i", "a", 7, 1, 0))
		return h
	}
	lapses := func(code string) Fact {
		return Fact{Kind: "step.lapsed", Instance: "i", Step: "a", Token: 7, Attempt: 1, Used: 1, Code: code}
	}
	h := begun(t)
	h.elapsed = 4 * second
	h.good(ticks(lapses("TIMEOUT_RUN")))
	h.good(one(Command{Kind: Complete, Instance: "i", Step: "a", Token: 7, Answer: Answer{State: Completed, Late: true}},
		Fact{Kind: "step.completed", Instance: "i", Step: "a", Token: 7, Attempt: 1, Used: 1, Late: true}, Fact{Kind: "instance.completed", Instance: "i"}))

	h = begun(t)
	h.elapsed = 4*second - 1
	h.bad("S6", "before its time", ticks(lapses("TIMEOUT_RUN")))
	h = begun(t)
	h.elapsed = 4 * second
	h.bad("L3", "beyond its timeout", ticks())
	h = begun(t)
	h.elapsed = 10*second - 1
	h.bad("S6", "before its time", ticks(Fact{Kind: "session.expired", Session: 1}, lapses("SESSION_EXPIRED")))
	h = begun(t)
	h.elapsed = 4 * second
	h.good(ticks(lapses("TIMEOUT_RUN")))
	h.elapsed = 10 * second
	h.bad("L2", "lives on", ticks())
	h = begun(t)
	h.elapsed = 10 * second
	h.bad("L2", "holds on", ticks(Fact{Kind: "session.expired", Session: 1}))
}

func TestTimeIsThatOfTheTerm(t *testing.T) {
	h := tell(t)
	h.session(1)
	h.elapsed = 60 * second
	h.bad("S6", "outside a tick", Entry{HeaderTerm: 2, Facts: []Fact{{Kind: "session.expired", Session: 1}}})
	h = tell(t)
	h.session(1)
	h.elapsed = 60 * second
	h.good(Entry{HeaderTerm: 2})
	if h.s.Uptime != 0 {
		t.Errorf("an entry of another term moved time by %d", h.s.Uptime)
	}
}

func TestWhatARenewalLists(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a"}))
		h.session(1)
		h.good(start("w", "i", "a"))
		h.good(leased(1, "i", "a", 7, 1, 0))
		return h
	}
	without := Entry{Renewals: []Renewal{{Session: 1, Complete: true}}}
	orphan := Fact{Kind: "step.released", Name: "orphan", Instance: "i", Step: "a", Token: 7, Attempt: 1}
	again := func(e Entry) Entry { // renewals are told what they are answered: of their own
		e.Renewals = append([]Renewal(nil), e.Renewals...)
		return e
	}
	h := begun(t)
	h.good(again(without))
	h.bad("L2", "two renewals", again(without))
	h = begun(t)
	h.bad("S6", "for no reason", Entry{Renewals: without.Renewals, Facts: []Fact{orphan}})
	h = begun(t)
	h.good(again(without))
	h.good(Entry{Renewals: without.Renewals, Facts: []Fact{orphan}})
	h = begun(t)
	h.bad("S2", "is told that it lost", Entry{Renewals: []Renewal{{Session: 1, Tokens: []int64{7}, Complete: true, Lost: []int64{7}}}})
}

func TestPositionsAreGapless(t *testing.T) {
	h := tell(t)
	h.session(1)
	h.bad("L7", "publishes position", one(Command{Kind: Open, Answer: Answer{Session: 2}}, Fact{Kind: "session.opened", Session: 2, Position: 3}))
}

// A lease that is given back with its session is over also while its instance stops: who gives it back then is told yes, as always. One
// that lapsed was not given back.
func TestALeaseEndsWithItsSessionWhileItsInstanceStops(t *testing.T) {
	begun := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a"}))
		h.session(1)
		h.good(start("w", "i", "a"))
		h.good(leased(1, "i", "a", 7, 1, 0))
		h.good(one(Command{Kind: Cancel, Instance: "i", Answer: Answer{State: Cancelling}}, Fact{Kind: "instance.cancelling", Instance: "i"}))
		return h
	}
	ends := []Fact{{Kind: "step.cancelled", Instance: "i", Step: "a", Token: 7, Attempt: 1}, {Kind: "instance.cancelled", Instance: "i"}}
	back := one(Command{Kind: Release, Instance: "i", Step: "a", Token: 7})
	h := begun(t)
	h.good(one(Command{Kind: Close, Session: 1}, append([]Fact{{Kind: "session.closed", Session: 1}}, ends...)...))
	h.good(back)
	h = begun(t)
	h.elapsed = 60 * second
	h.good(ticks(append([]Fact{{Kind: "session.expired", Session: 1}}, ends...)...))
	h.bad("S2", "FENCED", back)
}

// A run remembers how its newest four leases ended, those that ended while its instance stopped among them.
func TestOnlyTheNewestEndsAreRemembered(t *testing.T) {
	release := func(token int64, facts ...Fact) Entry {
		return one(Command{Kind: Release, Instance: "i", Step: "a", Token: token}, facts...)
	}
	fenced := func(token int64) Entry {
		return one(Command{Kind: Release, Instance: "i", Step: "a", Token: token, Answer: Answer{Code: "FENCED"}})
	}
	begun := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a"}))
		h.session(1)
		h.good(start("w", "i", "a"))
		for n := range int64(4) {
			h.good(leased(1, "i", "a", 7+n, int32(n)+1, 0))
			h.good(release(7+n, Fact{Kind: "step.released", Name: "release", Instance: "i", Step: "a", Token: 7 + n, Attempt: int32(n) + 1}))
		}
		h.good(leased(1, "i", "a", 11, 5, 0))
		h.good(release(7))
		h.good(one(Command{Kind: Cancel, Instance: "i", Answer: Answer{State: Cancelling}}, Fact{Kind: "instance.cancelling", Instance: "i"}))
		return h
	}
	ends := func(before ...Fact) []Fact {
		return append(before, Fact{Kind: "step.cancelled", Instance: "i", Step: "a", Token: 11, Attempt: 5}, Fact{Kind: "instance.cancelled", Instance: "i"})
	}
	without := func(facts ...Fact) Entry {
		return Entry{Renewals: []Renewal{{Session: 1, Complete: true}}, Facts: facts}
	}
	h := begun(t)
	h.good(one(Command{Kind: Revoke, Token: 11}, ends()...))
	h.good(release(8))
	h.good(fenced(7))
	h = begun(t)
	h.good(without())
	h.good(without(ends()...))
	h.good(fenced(7))
	h = begun(t)
	h.elapsed = 60 * second
	h.good(ticks(ends(Fact{Kind: "session.expired", Session: 1})...))
	h.good(release(7))
}

// What a tick grants behind the renewals of an entry is not what one of them freed: a later renewal would be counted to leave it
// out.
func TestAGrantThatDoesNotFollowFromARenewal(t *testing.T) {
	s := New()
	x := &session{id: 1}
	s.touchLock(s.lock("freed"))
	for _, c := range []struct {
		lock, instance string
		others         bool
	}{{"freed", "", false}, {"another", "", true}, {"another", "i", false}} {
		if got := s.others(&Fact{Kind: "lock.granted", Lock: c.lock, Instance: c.instance}, x); got != c.others {
			t.Errorf("a grant of lock %s to instance %q: %v", c.lock, c.instance, got)
		}
	}
}

// What a renewal gives back while its instance stops follows from the renewal; what is over in the entry's tick does not.
func TestWhatFollowsFromARenewal(t *testing.T) {
	s := New()
	x, other := &session{id: 1}, &session{id: 2}
	s.leases[7], s.leases[8], s.leases[9] = &lease{token: 7, session: x, omitted: 2}, &lease{token: 8, session: x, omitted: 1}, &lease{token: 9, session: other, omitted: 2}
	for _, c := range []struct {
		token  int64
		code   string
		others bool
	}{{7, "", false}, {7, "TIMEOUT_RUN", true}, {8, "", true}, {9, "", true}, {0, "", true}} {
		if got := s.others(&Fact{Kind: "step.cancelled", Token: c.token, Code: c.code}, x); got != c.others {
			t.Errorf("token %d with code %q: %v", c.token, c.code, got)
		}
	}
}

// A wait that stands still as it is begun follows from what a renewal gave back; one that another instance ends comes behind all else.
func TestAWaitThatStandsStillFollowsFromARenewal(t *testing.T) {
	s := New()
	i := &instance{id: "i", state: Running}
	s.instances["i"] = i
	for _, c := range []struct {
		state  string
		others bool
	}{{Pending, false}, {Waiting, true}} {
		i.runs = []*run{{of: i, name: "a", state: c.state, step: &Step{Name: "a", Await: &Await{}}}}
		if got := s.others(&Fact{Kind: "step.incident", Instance: "i", Step: "a"}, &session{id: 1}); got != c.others {
			t.Errorf("an incident of a wait that is %s: %v", c.state, got)
		}
	}
}
