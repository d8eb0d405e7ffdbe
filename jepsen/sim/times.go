package sim

import (
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/model"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// times checks the log against the world's own clock, which nobody in the cluster can read: leases do not end early, nor
// late, and nothing that a leader had received is overtaken by the tick that takes a lease away.
type times struct {
	h *history
	// Of the present term: when its first entry was proposed, and the uptime then.
	term   uint64
	since  time.Duration
	at     int64
	asleep time.Duration // of its leader, until then
	pauses int
	last   time.Duration // when the newest entry was proposed that could move time
	passes passing
	// How long none was proposed, in all, and how many leaders there were. A leader whose proposer has not been told of its
	// term yet moves none.
	outage time.Duration
	terms  int
	// How far the newest entry's tick is behind its time, and how long the oldest call had waited that it did not take: of
	// the newest that could move time, and of the one before.
	behind        time.Duration
	waits, waited time.Duration

	sessions map[int64]*life
	// What a leader has received and not logged yet: renewals by session, completions by token.
	renewals, results map[int64]received
}

// passing is what must pass in a term while its leader proposes: from its first entry that could move time.
type passing struct {
	term   uint64
	at     int64         // the uptime behind that entry
	least  time.Duration // that has passed since
	newest *entry
}

// life is a session's, seen from outside.
type life struct {
	ttl     time.Duration
	renewed time.Duration // when the newest entry that keeps it alive was proposed
	outage  time.Duration // until then
	terms   int
	trusted time.Duration // until when its holder trusts it
}

type received struct {
	by   int
	term uint64
	at   time.Duration
	// Of the leader, until then.
	asleep time.Duration
	pauses int
}

// Bounds that guarantees give: how much faster a clock may run than another, and what an expiry may take beyond its time.
const (
	rateError = 0.001
	tickGap   = 250 * time.Millisecond
	maxSample = 250 * time.Millisecond // what a leader counts of a pause
	perChange = 500 * time.Millisecond
	slack     = 600 * time.Millisecond
)

func newTimes(h *history) *times {
	return &times{h: h, sessions: map[int64]*life{}, renewals: map[int64]received{}, results: map[int64]received{}}
}

// receives has a leader hold what it will log.
func (t *times) receives(n *node, r *request) {
	term, leads := n.core.Leading()
	if !leads {
		return
	}
	got := received{n.id, term, t.h.w.now, n.asleep, n.pauses}
	if r.renewal != nil {
		t.renewals[r.renewal().Session] = got
		return
	}
	for _, c := range r.commands() {
		if x := c.GetCompleteStep(); x != nil {
			t.results[x.Token] = got
		}
	}
}

// returns: raft did not take what a leader had received, and it is given back.
func (t *times) returns(r *request) {
	if r.renewal != nil {
		delete(t.renewals, r.renewal().Session)
	}
	if r.commands != nil {
		for _, c := range r.commands() {
			if x := c.GetCompleteStep(); x != nil {
				delete(t.results, x.Token)
			}
		}
	}
}

// loses: what a leader had received and not logged is given back to those who asked, when it leads no more.
func (t *times) loses(n *node) {
	for _, list := range []map[int64]received{t.renewals, t.results} {
		for key, got := range list {
			if got.by == n.id {
				delete(list, key)
			}
		}
	}
}

// holds: a session's holder trusts it until its keeper's deadline.
func (t *times) holds(s *session) {
	until := time.Duration(float64(s.zero+s.keeper.Deadline()) / s.c.rate)
	if l := t.sessions[s.id]; l != nil {
		l.trusted = max(l.trusted, until)
	}
}

// entry takes an entry in: that time did not run faster in it than in the world.
func (t *times) entry(e *entry, x *model.Entry, uptime int64) {
	if x.HeaderTerm == x.Term {
		if gap := e.proposed - t.last; gap > tickGap {
			t.outage += gap
		}
		t.last = e.proposed
	}
	t.backlog(e, x)
	if e.term != t.term {
		t.term, t.since, t.at = e.term, e.proposed, uptime
		t.terms++
		t.asleep, t.pauses = e.asleep, e.pauses
	}
	awake := e.proposed - t.since - (e.asleep - t.asleep)
	most := time.Duration(float64(awake)*(1+rateError)) + time.Duration(e.pauses-t.pauses)*maxSample + time.Millisecond
	if passed := time.Duration(uptime - t.at); passed > most {
		t.h.w.fail("S6", "uptime ran %s in term %d, in which its leader was awake for %s", passed, e.term, awake)
	}
	if x.HeaderTerm == x.Term {
		t.passing(e, uptime)
	}
	for _, r := range x.Renewals {
		t.alive(e, r.Session)
		delete(t.renewals, r.Session)
	}
	for _, c := range x.Commands {
		if c.Kind == model.Complete {
			delete(t.results, c.Token)
		}
	}
}

// passing: nor did it stand still. Of what lies between two entries of a leader that is awake all counts, up to what it may
// leave as a gap; a pause may take along what was not sampled before and behind it.
func (t *times) passing(e *entry, uptime int64) {
	p := &t.passes
	if p.term != e.term {
		*p = passing{term: e.term, at: uptime, newest: e}
		return
	}
	between := e.proposed - p.newest.proposed - (e.asleep - p.newest.asleep)
	p.least += time.Duration(float64(min(between, tickGap))*(1-rateError)) - time.Duration(e.pauses-p.newest.pauses)*2*sample
	p.newest = e
	if passed := time.Duration(uptime - p.at); passed < p.least-2*sample {
		t.h.w.fail("L2", "uptime ran %s in term %d, in which its leader had it move for %s at least", passed, e.term, p.least)
	}
}

// backlog: an entry expires what was due until then, but for what was due after the oldest call came that still waits.
func (t *times) backlog(e *entry, x *model.Entry) {
	t.behind = time.Duration(x.Elapsed - x.Due)
	if x.HeaderTerm == x.Term { // by another nothing expires
		t.waits, t.waited = e.backlog, t.waits
	}
	if most := time.Duration(float64(e.backlog)*(1+rateError)) + maxSample + 10*time.Millisecond; t.behind > most {
		t.h.w.fail("L3", "the tick of entry %d is %s behind its time, and what its leader has not logged waits for %s", e.index, t.behind, e.backlog)
	}
}

func (t *times) alive(e *entry, id int64) {
	if l := t.sessions[id]; l != nil {
		l.renewed, l.outage, l.terms = e.proposed, t.outage, t.terms
	}
}

// facts looks at what an entry did to sessions and leases.
func (t *times) facts(e *entry, events []*v1.Event) {
	for _, event := range events {
		d := event.Data
		switch event.Type {
		case "lockstep.session.opened.v1":
			id := number(d.SessionId)
			t.sessions[id] = &life{ttl: time.Duration(d.Delay)}
			t.alive(e, id)
		case "lockstep.session.closed.v1":
			delete(t.sessions, number(d.SessionId))
		case "lockstep.session.expired.v1":
			t.expired(e, number(d.SessionId))
		case "lockstep.step.lapsed.v1":
			if got, waits := t.results[d.Token]; waits && t.overtakes(e, got) {
				t.h.w.fail("S6", "token %d lapses by entry %d, and node %d had received its completion before", d.Token, e.index, e.by)
			}
		}
	}
}

// overtakes: the leader that proposed the entry had received what it has not logged yet, and lets its tick expire what fell
// due after that. A pause may take a part of a sample along that was not slept through.
func (t *times) overtakes(e *entry, r received) bool {
	if r.by != e.by || r.term != e.term || r.at > e.proposed {
		return false
	}
	awake := e.proposed - r.at - (e.asleep - r.asleep)
	least := time.Duration(float64(awake)*(1-rateError)) - time.Duration(e.pauses-r.pauses)*2*sample - time.Millisecond
	return t.behind < least
}

func (t *times) expired(e *entry, id int64) {
	w, l := t.h.w, t.sessions[id]
	delete(t.sessions, id)
	if got, waits := t.renewals[id]; waits && t.overtakes(e, got) {
		w.fail("S6", "session %d expires by entry %d, and node %d had received its renewal before", id, e.index, e.by)
	}
	if l == nil {
		return
	}
	if l.trusted > e.proposed {
		w.fail("S6", "session %d expires at %s, and its holder trusts it until %s", id, e.proposed, l.trusted)
	}
	most := time.Duration(float64(l.ttl)*(1+rateError)) + (t.outage - l.outage) + time.Duration(t.terms-l.terms)*perChange + slack + t.waited
	if lived := e.proposed - l.renewed; lived > most {
		w.fail("L2", "session %d lives on for %s after its last renewal; %s is the most", id, lived, most)
	}
}
