package model

import "slices"

// recall knows a request that was made before: its answer is the first one, and nothing happens. done says that the
// answer was found to be right already.
func (s *State) recall(c *Command) (done bool) {
	if c.By == 0 || c.Request == 0 {
		return false
	}
	x := s.session(c.By)
	if x == nil {
		s.refused(c, "SESSION_EXPIRED")
		return true
	}
	if c.Lowest > x.lowest {
		x.lowest = c.Lowest
		for id := range x.answers {
			if id < x.lowest {
				delete(x.answers, id)
			}
		}
	}
	if c.Request < x.lowest {
		s.refused(c, "REQUEST_TOO_OLD")
		return true
	}
	first := x.answers[c.Request]
	if first == nil {
		return false
	}
	if first.parked {
		s.saw(AgainParked)
		if !c.Answer.Parked && s.settledHere(x, c) {
			return true
		}
		if !c.Answer.Parked {
			fault("S5", "request %d of session %d waits, and its retry is answered %+v", c.Request, c.By, c.Answer)
		}
		for _, w := range s.waits {
			if w.session == x && w.request == c.Request && !w.credit {
				w.call = c.Call
			}
		}
		return true
	}
	if c.Answer.Sum != first.sum {
		fault("S5", "the retry of request %d of session %d is answered otherwise than the first: %+v", c.Request, c.By, c.Answer)
	}
	s.saw(Again)
	s.retold(c.Answer)
	return true
}

// settledHere: the request that waited was answered by this entry, with what its retry is answered.
func (s *State) settledHere(x *session, c *Command) bool {
	return slices.ContainsFunc(slices.Concat(s.waits, s.dropped), func(w *wait) bool {
		return w.session == x && w.request == c.Request && slices.ContainsFunc(s.e.Settled, func(o Settled) bool {
			return o.Call == w.call && o.Answer.Sum == c.Answer.Sum
		})
	})
}

// retold: the grants in an answer that is told again are no new ones.
func (s *State) retold(a Answer) {
	for _, g := range a.Grants {
		if told, granted := s.told[g.Token]; granted && !told {
			fault("S5", "token %d is granted by a retry", g.Token)
		}
	}
}

func (s *State) refused(c *Command, code string) {
	if c.Answer.Code != code || c.Answer.Parked {
		guarantee := "S5"
		if code == "FENCED" {
			guarantee = "S2"
		}
		fault(guarantee, "entry %d: %s must be refused as %s, and is answered %+v", s.Index, c.say(), code, c.Answer)
	}
}

// remember keeps the first answer of a request.
func (s *State) remember(by, request int64, a Answer) {
	x := s.session(by)
	if x == nil || request == 0 || request < x.lowest {
		return
	}
	if first := x.answers[request]; first != nil && a.Parked && !first.parked {
		return
	}
	x.answers[request] = &remembered{parked: a.Parked, sum: a.Sum}
}

// endWait forgets a call that nobody waits for any more, and its request with it; unless it was just answered.
func (s *State) endWait(c *Command) {
	answered := slices.ContainsFunc(s.e.Settled, func(o Settled) bool { return o.Call == c.Ended && !o.More })
	if w := s.wait(c.Ended); w != nil && (w.credit || !answered) { // credit that was used up may be there again
		delete(w.session.answers, w.request)
		s.dropWait(w)
	}
}

// dropWait ends a wait. What it was granted in this entry may still be told.
func (s *State) dropWait(w *wait) {
	s.waits = slices.DeleteFunc(s.waits, func(o *wait) bool { return o == w })
	s.dropped = append(s.dropped, w)
}

func (s *State) wait(call uint64) *wait {
	for _, w := range s.waits {
		if w.call == call {
			return w
		}
	}
	return nil
}

// settlements are the answers to calls that had parked. Every lease that was granted has been told to its holder.
func (s *State) settlements() {
	for i := range s.e.Settled {
		x := &s.e.Settled[i]
		if at := slices.Index(s.replaced, x.Call); at >= 0 && x.Answer.Code == "UNAVAILABLE" {
			s.replaced = slices.Delete(s.replaced, at, at+1)
			s.saw(StreamReplaced)
			continue
		}
		w := s.wait(x.Call)
		for _, o := range s.dropped {
			if w == nil && o.call == x.Call {
				w = o
			}
		}
		if w == nil {
			fault("S5", "entry %d answers call %d, which does not wait", s.Index, x.Call)
		}
		s.settle(w, x)
	}
	s.dropped = s.dropped[:0]
	if len(s.replaced) > 0 {
		fault("liveness", "stream %d was replaced and is not told", s.replaced[0])
	}
	for _, w := range slices.Clone(s.waits) {
		if s.sessions[w.session.id] != w.session {
			fault("liveness", "session %d has ended and its call %d waits on", w.session.id, w.call)
		}
	}
	var untold int64
	for token, told := range s.told {
		if !told && (untold == 0 || token < untold) {
			untold = token
		}
	}
	if untold != 0 {
		fault("S2", "token %d is granted and nobody is told", untold)
	}
}

func (s *State) settle(w *wait, x *Settled) {
	a := x.Answer
	alive := s.sessions[w.session.id] == w.session
	switch {
	case a.Code == "SESSION_EXPIRED" && alive, a.Code == "WAIT_TIMEOUT" && !due(w.deadline, s.horizon):
		fault("liveness", "call %d of session %d is answered %s before its time", w.call, w.session.id, a.Code)
	case a.Code == "WAIT_TIMEOUT" && w.want != nil:
		s.saw(LockTimeout)
	case a.Code == "" && w.want != nil:
		s.saw(LockWaited)
		l := s.leases[a.Token]
		if granted := s.granted(a.Token); !granted || l != nil && (l.session != w.session || l.lock != w.want.Lock) {
			fault("S2", "call %d for lock %s is told of token %d, which is not its grant", w.call, w.want.Lock, a.Token)
		}
		s.told[a.Token] = true
	case a.Code == "":
		s.tell(w.session, a.Grants, func(r *run) bool {
			return w.run == r || w.run == nil && slices.Contains(w.queues, r.step.Queue)
		})
		if len(a.Grants) == 0 && !due(w.deadline, s.horizon) {
			fault("liveness", "call %d is answered with nothing before its time", w.call)
		}
	}
	s.remember(w.session.id, w.request, a)
	if w.credit && a.Code == "" {
		return
	}
	if int32(len(a.Grants)) > w.left {
		fault("S2", "call %d is granted more runs than it asked for", w.call)
	}
	if slices.Contains(s.waits, w) {
		s.dropWait(w)
	}
}

func (s *State) granted(token int64) bool {
	_, is := s.told[token]
	return is
}

// tell checks what a holder is told of: leases granted in this entry, to its session, of runs that it asked for.
func (s *State) tell(x *session, grants []Grant, asked func(*run) bool) {
	for _, g := range grants {
		r := s.run(g.Instance, g.Step)
		switch {
		case !s.granted(g.Token):
			fault("S2", "session %d is told of token %d, which is not granted here", x.id, g.Token)
		case s.told[g.Token]:
			fault("S2", "token %d is told twice", g.Token)
		case r == nil || g.Session != x.id || !asked(r):
			fault("S2", "session %d is told of a lease that it did not ask for: %+v", x.id, g)
		}
		s.told[g.Token] = true
	}
}
