package model

import "slices"

// session is a client's liveness.
type session struct {
	stream        uint64 // the call that names its stream
	id            int64
	ttl, expireAt int64
	leases        []*lease // oldest first
	lowest        int64
	answers       map[int64]*remembered
}

// lease is what a token holds: a run with its locks, or a lock by itself.
type lease struct {
	token   int64
	session *session
	run     *run
	lock    string
	omitted int
}

// remembered is the first answer of a request; parked until there is one.
type remembered struct {
	parked bool
	sum    uint64
}

// wait is a call that parked, or the credit of a stream.
type wait struct {
	call     uint64
	session  *session
	request  int64
	queues   []string
	run      *run // LeaseStep's
	want     *Want
	left     int32
	credit   bool
	deadline int64
}

const (
	second  = int64(1_000_000_000)
	maxWait = 60 * second
)

func (s *State) session(id int64) *session { return s.sessions[id] }

// renew keeps a session alive. A renewal that lists all that its holder knows of gives back what two in a row leave out;
// nothing else follows from it. Renewals are the first in an entry.
func (s *State) renew(r *Renewal) {
	x := s.session(r.Session)
	if (x == nil) != (r.Code == "SESSION_EXPIRED") || x != nil && r.Code != "" {
		fault("S6", "the renewal of session %d (alive: %v) is answered %q", r.Session, x != nil, r.Code)
	}
	if x == nil {
		return
	}
	x.expireAt = s.Uptime + x.ttl
	s.begin(cause{renewal: true})
	orphans := false
	for _, l := range x.leases {
		if !r.Complete || slices.Contains(r.Tokens, l.token) {
			l.omitted = 0
		} else {
			l.omitted++
			orphans = orphans || l.omitted >= 2
		}
	}
	var lost []int64
	for _, token := range r.Tokens {
		if l := s.leases[token]; l == nil || l.session != x {
			lost = append(lost, token)
		}
	}
	if !slices.Equal(lost, r.Lost) {
		fault("S2", "the renewal of session %d is told that it lost %v; it lost %v", r.Session, r.Lost, lost)
	}
	if !orphans {
		return
	}
	// What follows is of this renewal, up to what gives back another's lease or is the tick's.
	for s.pending() && s.e.Facts[0].Ordinal == 0 && !s.others(&s.e.Facts[0], x) {
		s.fact(s.next())
	}
	for _, l := range x.leases {
		if l.omitted >= 2 {
			fault("L2", "session %d left token %d out of two renewals, and it holds on", x.id, l.token)
		}
	}
}

func (s *State) others(f *Fact, x *session) bool {
	l := s.leases[f.Token]
	if i := s.instance(f.Instance); i != nil && slices.Contains(s.cause.born, i) {
		return s.between(f) // a schedule started it when the given back lease was the last to hold up the one before it: nothing of it was left before
	}
	if s.between(f) || s.wasLeft(f) {
		return true
	}
	switch f.Kind {
	case "session.expired", "step.lapsed", "step.retried", "timer.fired", "signal.expired":
		return true
	case "step.incident": // but of a step that was to be begun
		r := s.run(f.Instance, f.Step)
		return r == nil || r.undoes != nil
	case "step.failed": // but for a step whose body the given back lease was the last to hold up
		r := s.run(f.Instance, f.Step)
		return r == nil || r.stage == stageRunning
	case "step.failing", "instance.failing": // but by such a step, or as it begins
		if f.Code == "CONDITION_INVALID" || f.Code == "OUTPUT_INVALID" {
			return false
		}
		i, owner := s.instance(f.Instance), s.run(f.Instance, f.Step)
		return i == nil || !slices.ContainsFunc(i.runs, func(r *run) bool {
			return r.frame.owner == owner && r.stage != stageRunning && r.state == Failed && !r.handled()
		})
	case "step.ready": // of one that is tried again; else it follows what came before it
		r := s.run(f.Instance, f.Step)
		return r == nil || r.state != Pending
	case "step.released":
		return l == nil || l.session != x
	case "step.cancelled": // with what it is in, which stops; one whose time was over says so
		if r := s.run(f.Instance, f.Step); r != nil && r.state != Leased {
			return false // it follows what made that stop
		}
		return l == nil || l.session != x || l.omitted < 2 || f.Code != ""
	case "lock.released":
		return l != nil && l.session != x
	case "lock.granted": // to a session that waits: of a lock that this did not free
		return f.Instance == "" && !slices.Contains(s.touched.locks, s.lock(f.Lock))
	}
	return false
}

// between: it is what one instance does to another, which comes behind all else.
func (s *State) between(f *Fact) bool {
	r := s.run(f.Instance, f.Step)
	switch f.Kind {
	case "instance.started": // but for one of a schedule
		return f.Other != ""
	case "instance.cancelling", "barrier.passed":
		return true
	case "step.completed", "step.failed", "step.retried", "step.incident":
		return r != nil && r.state != Pending && (r.step.depends() || r.step.Barrier != nil || f.Code == "DEADLOCK" && r.state == Ready)
	case "step.skipped":
		return r != nil && r.state == Waiting && !r.lost()
	case "step.cancelled":
		return r != nil && r.calls()
	}
	return false
}

func (s *State) sessionOpened(f *Fact) {
	c := s.cause.command
	if c == nil || c.Kind != Open || f.Session != c.Answer.Session {
		fault("S7", "session %d opens without anybody asking", f.Session)
	}
	if f.Session <= s.lastSession {
		fault("S5", "session %d is opened after session %d: an id is used again", f.Session, s.lastSession)
	}
	s.lastSession = f.Session
	x := &session{id: f.Session, ttl: c.ttl(), lowest: 1, answers: map[int64]*remembered{}}
	x.expireAt = s.Uptime + x.ttl
	s.sessions[x.id] = x
	s.living = append(s.living, x)
}

func (c *Command) ttl() int64 {
	if c.TTL == 0 {
		return 10 * second
	}
	return c.TTL
}

// sessionEnded ends a session by its client's word, or because its time is up: never earlier.
func (s *State) sessionEnded(f *Fact) {
	x := s.session(f.Session)
	c := s.cause.command
	switch {
	case x == nil:
		fault("S7", "session %d ends and is not alive", f.Session)
	case f.Kind == "session.closed" && (c == nil || c.Kind != Close || c.Session != x.id):
		fault("S6", "session %d is closed without anybody asking", x.id)
	case f.Kind == "session.expired" && !s.cause.tick:
		fault("S6", "session %d expires outside a tick", x.id)
	case f.Kind == "session.expired" && x.expireAt > s.horizon:
		fault("S6", "session %d expires by a tick of uptime %d, which is %d before its time", x.id, s.horizon, x.expireAt-s.horizon)
	}
	if f.Kind == "session.expired" {
		s.Expired++
	}
	delete(s.sessions, x.id)
	s.living = slices.DeleteFunc(s.living, func(o *session) bool { return o == x })
	s.cause.ended = append(s.cause.ended, x)
}

func (s *State) sessionOver(x *session) {
	if len(x.leases) > 0 {
		fault("L2", "session %d has ended and token %d holds on", x.id, x.leases[0].token)
	}
}

// ending: the session has ended by the present cause.
func (s *State) ending(x *session) bool { return slices.Contains(s.cause.ended, x) }

func (s *State) grantLease(l *lease) {
	s.leases[l.token] = l
	l.session.leases = append(l.session.leases, l)
}

func (s *State) endLease(token int64) {
	l := s.leases[token]
	if l == nil {
		fault("S2", "token %d ends and holds nothing", token)
	}
	delete(s.leases, token)
	l.session.leases = slices.DeleteFunc(l.session.leases, func(o *lease) bool { return o == l })
}
