package model

import "slices"

// lock is a named dependency lock.
type lock struct {
	name    string
	limit   int32
	holders []place
	lapsed  []place // of runs whose lease lapsed, until somebody needs them
	wanted  int     // ready runs that need it
	holds   []*hold
}

// place is what a token has of a lock.
type place struct {
	token  int64
	run    *run // nil: a session's own
	shared bool
	take   int32
	slot   int32
}

func (s *State) lock(name string) *lock {
	l := s.locks[name]
	if l == nil {
		l = &lock{name: name}
		s.locks[name] = l
	}
	return l
}

func (l *lock) holder(token int64) *place {
	for i := range l.holders {
		if l.holders[i].token == token {
			return &l.holders[i]
		}
	}
	return nil
}

func taken(list []place) (n int32) {
	for _, p := range list {
		n += p.take
	}
	return n
}

// fits: the holders leave room for it.
func (l *lock) fits(w Want) bool {
	switch {
	case w.Limit > 0:
		return taken(l.holders)+w.Take <= w.Limit
	case !w.Shared:
		return len(l.holders) == 0
	}
	return !slices.ContainsFunc(l.holders, func(p place) bool { return !p.shared })
}

// contended: others than the one that asks wait for it, so that it may be reserved.
func (s *State) contended(l *lock, but *wait) bool {
	if l.wanted > 0 {
		return true
	}
	return slices.ContainsFunc(s.waits, func(w *wait) bool { return w != but && w.want != nil && w.want.Lock == l.name })
}

// differs: it is in use with another limit.
func (s *State) differs(l *lock, limit int32) bool {
	if len(l.holders)+len(l.lapsed)+len(l.holds) > 0 {
		return l.limit != limit
	}
	return slices.ContainsFunc(s.waits, func(w *wait) bool { return w.want != nil && w.want.Lock == l.name && w.want.Limit != limit })
}

// cycle: a session that waited for the lock would wait, through others, for itself.
func (s *State) cycle(x *session, l *lock) bool {
	var seen []*session
	for open := []*lock{l}; len(open) > 0; open = open[1:] {
		for _, p := range open[0].holders {
			holder := s.leases[p.token].session
			if holder == x {
				return true
			}
			if slices.Contains(seen, holder) {
				continue
			}
			seen = append(seen, holder)
			for _, w := range s.waits {
				if w.session == holder && w.want != nil {
					open = append(open, s.lock(w.want.Lock))
				}
			}
		}
	}
	return false
}

// lockGranted gives a place: one that is free, under a new token or that of the claim.
func (s *State) lockGranted(f *Fact) {
	l := s.lock(f.Lock)
	if f.Instance == "" {
		s.ownGranted(f, l)
		return
	}
	c := s.claim
	if c != nil && len(c.left) > 1 {
		s.saw(ClaimMany)
	}
	if c == nil || f.Token != c.token {
		fault("S2", "lock %s is granted to token %d, whose run is not being leased", f.Lock, f.Token)
	}
	at := slices.IndexFunc(c.left, func(w Want) bool { return w.Lock == f.Lock })
	if at < 0 || c.left[at].Shared != f.Shared || c.left[at].Take != f.Take {
		fault("S2", "lock %s is granted to token %d, which did not claim it so", f.Lock, f.Token)
	}
	s.place(l, c.left[at], place{token: f.Token, run: c.run, shared: f.Shared, take: f.Take, slot: f.Slot})
	if c.left = slices.Delete(c.left, at, at+1); len(c.left) == 0 {
		s.claim = nil
		if hold := s.toHold(c.run); len(hold) > 0 {
			s.keeps = &claim{c.token, c.run, hold}
		}
	}
}

func (s *State) ownGranted(f *Fact, l *lock) {
	x := s.session(f.Session)
	if x == nil {
		fault("S2", "lock %s is granted to session %d, which is not alive", f.Lock, f.Session)
	}
	var want *Want
	if c := s.cause.command; c != nil && c.Kind == Acquire && c.Session == x.id && c.Want.Lock == f.Lock {
		want = &c.Want
	}
	for _, w := range s.waits {
		if want == nil && w.session == x && w.want != nil && w.want.Lock == f.Lock && s.settles(w, f.Token) {
			want = w.want
			s.dropWait(w) // whoever comes in the rest of the entry does not find it waiting
			break
		}
	}
	if want == nil || want.Shared != f.Shared || max(1, want.Take) != f.Take {
		fault("S2", "lock %s is granted to session %d, which does not ask for it so", f.Lock, f.Session)
	}
	s.newToken(f.Token)
	s.place(l, *want, place{token: f.Token, shared: f.Shared, take: f.Take, slot: f.Slot})
	s.grantLease(&lease{token: f.Token, session: x, lock: l.name})
}

// settles: the entry tells a wait of a token.
func (s *State) settles(w *wait, token int64) bool {
	return slices.ContainsFunc(s.e.Settled, func(o Settled) bool { return o.Call == w.call && o.Answer.Token == token })
}

// newToken: tokens strictly increase.
func (s *State) newToken(token int64) {
	if token <= s.Token {
		fault("S1", "token %d is granted after token %d", token, s.Token)
	}
	s.Token = token
	s.told[token] = false
}

func (s *State) place(l *lock, w Want, p place) {
	w.Take = max(1, w.Take)
	if !l.fits(w) {
		fault("S2", "lock %s is granted to token %d beside %d holders", l.name, p.token, len(l.holders))
	}
	if l.barred(w, p.run) {
		fault("S2", "lock %s is granted to token %d, and another instance holds it", l.name, p.token)
	}
	if w.Limit > 0 && p.slot < 1 || slices.ContainsFunc(l.holders, func(o place) bool { return p.slot > 0 && o.slot == p.slot }) {
		fault("S2", "slot %d of lock %s is granted to token %d", p.slot, l.name, p.token)
	}
	switch {
	case len(l.holders) > 0 && w.Limit > 0:
		s.saw(Permits)
	case len(l.holders) > 0:
		s.saw(SharedBeside)
	}
	l.limit = w.Limit
	s.need(l, w)
	l.holders = append(l.holders, p)
	s.touchLock(l)
}

// need takes lapsed places away, the oldest first, as far as a new holder needs them: what they were of cannot be
// completed late any more.
func (s *State) need(l *lock, w Want) {
	for {
		at := slices.IndexFunc(l.lapsed, func(p place) bool {
			if w.Limit > 0 {
				return taken(l.holders)+taken(l.lapsed)+w.Take > w.Limit
			}
			return !w.Shared || !p.shared
		})
		if at < 0 {
			return
		}
		s.dropLapsed(l.lapsed[at].run)
	}
}

// lockReleased frees a place whose lease is over, or is ended by it.
func (s *State) lockReleased(f *Fact) {
	l := s.lock(f.Lock)
	p := l.holder(f.Token)
	if p == nil {
		fault("S2", "lock %s is released by token %d, which does not hold it", f.Lock, f.Token)
	}
	freed := *p
	l.holders = slices.DeleteFunc(l.holders, func(o place) bool { return o.token == f.Token })
	s.touchLock(l)
	if r := freed.run; r != nil {
		if s.leases[f.Token] != nil {
			fault("S2", "lock %s is released under token %d, whose run is still leased", f.Lock, f.Token)
		}
		if r.lapsed && r.token == f.Token {
			l.lapsed = append(l.lapsed, freed)
		}
		return
	}
	x := s.leases[f.Token]
	c := s.cause.command
	asked := c != nil && (c.Kind == ReleaseLock || c.Kind == Revoke) && c.Token == f.Token
	if x == nil || !asked && !s.ending(x.session) && x.omitted < 2 {
		fault("S6", "lock %s is taken from token %d for no reason", f.Lock, f.Token)
	}
	s.endLease(f.Token)
}

// lockWhole: whoever holds a lock holds a lease.
func (s *State) lockWhole(l *lock) {
	for _, p := range l.holders {
		if s.leases[p.token] == nil {
			fault("S2", "lock %s is held under token %d, whose lease is over", l.name, p.token)
		}
	}
}

// idle: a call that waits for what is there, and for what nobody else waits.
func (s *State) idle(w *wait) {
	switch {
	case w.want != nil:
		l := s.lock(w.want.Lock)
		if l.room(*w.want, nil) && !s.contended(l, w) {
			fault("liveness", "call %d waits for lock %s, which is free", w.call, l.name)
		}
	case w.run != nil:
		if over(w.run.state) || w.run.inLine() && w.run.free() {
			fault("liveness", "call %d waits for step %s of %s, which is %s", w.call, w.run.step.Name, w.run.of.id, w.run.state)
		}
	default:
		for _, q := range w.queues {
			if len(s.ready[q]) > 0 {
				fault("liveness", "call %d waits for queue %s, which has a ready run", w.call, q)
			}
		}
	}
}

// Holders lists the tokens that hold a lock.
func (s *State) Holders(name string) (tokens []int64) {
	if l := s.locks[name]; l != nil {
		for _, p := range l.holders {
			tokens = append(tokens, p.token)
		}
	}
	return tokens
}
