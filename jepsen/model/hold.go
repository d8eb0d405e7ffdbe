package model

import "slices"

// How long a lock is held: until the lease is over, until the frame of the run is, or until the instance is.
const (
	HoldStep = iota
	HoldScope
	HoldInstance
)

// hold is that a frame of an instance has a lock for longer than a run: none of others has it meanwhile, but shares of what is shared.
type hold struct {
	frame  *frame
	of     *instance
	token  int64
	shared bool
}

// root is the frame of an instance itself.
func (i *instance) root() *frame { return i.runs[0].frame }

// has says whether a frame is that of a run, or around it.
func (f *frame) has(r *run) bool {
	return f.owner == nil || f == r.frame || slices.ContainsFunc(r.around(), func(o *run) bool { return o.frame == f })
}

// has says whether a run is inside what holds a lock: the frame; or a step whose body it is in, when that stops, and what it is in with it.
func (h *hold) has(r *run) bool {
	if r == nil || r.of != h.of {
		return false
	}
	f := h.frame
	for f.owner != nil && f.owner.state == Cancelled {
		f = f.owner.frame
	}
	if o := f.owner; o != nil && o.stage != stageRunning && !over(o.state) {
		return r.inside(o)
	}
	return f.has(r)
}

// bars says whether who holds a lock keeps a run out, or a session, which is none.
func (h *hold) bars(w Want, r *run) bool {
	return !(h.shared && w.Shared) && !h.has(r)
}

func (l *lock) barred(w Want, r *run) bool {
	return slices.ContainsFunc(l.holds, func(h *hold) bool { return h.bars(w, r) })
}

// room: those who have the lock leave room for a run, or a session.
func (l *lock) room(w Want, r *run) bool { return l.fits(w) && !l.barred(w, r) }

// toHold are the wants of a run that was leased that what it is inside of does not hold yet.
func (s *State) toHold(r *run) (list []Want) {
	for _, w := range r.step.Locks {
		if w.Hold == HoldStep {
			continue
		}
		held := slices.ContainsFunc(s.lock(w.Lock).holds, func(h *hold) bool {
			return (w.Shared || !h.shared) && h.has(r) && (w.Hold == HoldScope || h.frame == r.of.root())
		})
		if !held {
			list = append(list, w)
		} else {
			s.saw(HeldAlready)
		}
	}
	return list
}

// lockHeld: what a run is inside of holds a lock of its claim from now on.
func (s *State) lockHeld(f *Fact) {
	c, l := s.keeps, s.lock(f.Lock)
	if c == nil || f.Token != c.token || f.Instance != c.run.of.id {
		fault("S2", "lock %s is held under token %d of %s, whose run was not leased with it", f.Lock, f.Token, f.Instance)
	}
	at := slices.IndexFunc(c.left, func(w Want) bool { return w.Lock == f.Lock })
	if at < 0 || c.left[at].Shared != f.Shared || f.Name != [...]string{"step", "scope", "instance"}[c.left[at].Hold] {
		fault("S2", "lock %s is held for the %s under token %d, which did not claim it so", f.Lock, f.Name, f.Token)
	}
	frame := c.run.frame
	if c.left[at].Hold == HoldInstance || frame.owner == nil {
		frame = c.run.of.root()
	}
	if c.left = slices.Delete(c.left, at, at+1); len(c.left) == 0 {
		s.keeps = nil
	}
	if frame.owner != nil {
		s.saw(HeldByBody)
	}
	for _, h := range l.holds {
		if h.frame == frame {
			s.saw(HeldMore)
			h.token, h.shared = f.Token, f.Shared
			return
		}
	}
	l.holds = append(l.holds, &hold{frame, c.run.of, f.Token, f.Shared})
}

// lockFreed: what held a lock has ended.
func (s *State) lockFreed(f *Fact) {
	l := s.lock(f.Lock)
	at := slices.IndexFunc(l.holds, func(h *hold) bool { return h.token == f.Token && h.of.id == f.Instance })
	if at < 0 {
		fault("S2", "lock %s is freed of token %d of %s, which does not hold it", f.Lock, f.Token, f.Instance)
	}
	if !l.holds[at].over() {
		fault("S2", "lock %s is freed, and what holds it in %s, which is %s, goes on", f.Lock, f.Instance, l.holds[at].of.state)
	}
	l.holds = slices.Delete(l.holds, at, at+1)
	s.touchLock(l)
}

// over: what holds a lock has ended, and is undone where it is to be. What was cancelled with what it is in is undone with that.
func (h *hold) over() bool {
	for f := h.frame; !over(h.of.state); f = f.owner.frame {
		switch o := f.owner; {
		case o == nil:
			return false
		case f.done || over(o.state) && o.state != Cancelled:
			return true
		case o.state != Cancelled:
			return false
		}
	}
	return true
}

// finishes marks a frame that is done with the end of a run.
func (r *run) finishes() {
	f, o := r.frame, r.frame.owner
	if o == nil || o.step.Body == nil || o.stage != stageRunning || !o.wanted() || o.spoiled() {
		return
	}
	f.done = f.done || !slices.ContainsFunc(f.runs, func(r *run) bool { return !over(r.state) || r.state == Failed && !r.handled() })
}

// heldWhole: nothing is held by what has ended.
func (s *State) heldWhole(i *instance) {
	for _, l := range s.locks {
		for _, h := range l.holds {
			if h.of == i && h.over() {
				fault("liveness", "lock %s is held by what has ended in %s, which is %s", l.name, i.id, i.state)
			}
		}
	}
}

// keptOut: a run that could be leased waits for a lock that is held for longer than a lease.
func (s *State) keptOut(r *run) bool {
	return r.inLine() && slices.ContainsFunc(r.step.Locks, func(w Want) bool { return s.lock(w.Lock).barred(w, r) })
}

// inWay are the waits for which a wait waits: those of what it waits for.
func (s *State) inWay(r *run, fn func(*run)) {
	if r.depends() && r.step.byKey() {
		s.behindKey(r, func(o *run) bool { return o.depends() || s.keptOut(o) }, fn)
		return
	}
	if r.depends() {
		for _, o := range s.runs(r.other) {
			if (o.depends() || s.keptOut(o)) && r.waitsBehind(o) {
				fn(o)
			}
		}
		return
	}
	for _, w := range r.step.Locks {
		for _, h := range s.lock(w.Lock).holds {
			if !h.bars(w, r) {
				continue
			}
			for _, o := range h.of.runs {
				if (o.depends() || s.keptOut(o)) && h.has(o) {
					fn(o)
				}
			}
		}
	}
}

// inCycle: following who waits for whom leads from a run back to it, over waits for other instances, and such for locks as count.
func (s *State) inCycle(from *run, counts func(*run) bool) (is bool) {
	seen := map[*run]bool{}
	for list := []*run{from}; len(list) > 0 && !is; {
		r := list[len(list)-1]
		list = list[:len(list)-1]
		s.inWay(r, func(o *run) {
			is = is || o == from
			if !seen[o] && (o.depends() || counts(o)) {
				seen[o] = true
				list = append(list, o)
			}
		})
	}
	return is
}

// yields says which of two waits for locks yields before the other: one of a step, then one of an instance that was started later, then one
// that is later in that.
func (s *State) yields(a, b *run) bool {
	switch {
	case (a.undoes == nil) != (b.undoes == nil):
		return a.undoes == nil
	case a.of != b.of && a.of.startedAt != b.of.startedAt:
		return a.of.startedAt > b.of.startedAt
	case a.of != b.of:
		return a.of.id > b.of.id
	}
	return true // which of its runs is not told apart here
}

// deadlocked: a run yields that waits for itself, where all others that wait for locks do so after it.
func (s *State) deadlocked(f *Fact, r *run) {
	if !s.keptOut(r) || !r.wanted() || s.cause.command != nil || !s.inCycle(r, func(o *run) bool { return s.yields(r, o) }) {
		fault("locks", "step %s of %s, which is %s, yields as %s, and is not the youngest that waits for itself", f.Step, f.Instance, r.state, f.Code)
	}
	s.saw(Yielded)
	s.yielded++
	if r.of.state == Compensating {
		s.saw(YieldedUndo)
	}
}

// keptWaiting: an attempt fails of a run that waits for its locks: it yields, or has waited for long enough.
func (s *State) keptWaiting(f *Fact, r *run) bool {
	switch {
	case !r.inLine():
		return false
	case f.Code == "DEADLOCK":
		s.deadlocked(f, r)
	case f.Code == "LOCK_TIMEOUT":
		if r.step.LockTimeout == 0 || !s.cause.tick || !due(r.readyFrom+r.step.LockTimeout, s.horizon) {
			fault("S6", "step %s of %s, ready since uptime %d, fails before its time, as %s", f.Step, f.Instance, r.readyFrom, f.Code)
		}
		s.saw(LocksTimeout)
	default:
		return false
	}
	return true
}

// kept: a run has not waited for its locks for longer than it may. Where somebody asks for what is in its queue it was tried.
func (s *State) kept(r *run) {
	if r.step.LockTimeout == 0 || !r.inLine() || len(r.step.Rates) > 0 { // it may wait for a slot
		return
	}
	if r.triedFrom == 0 && s.asked(r) {
		r.triedFrom = max(1, s.Uptime)
	}
	if r.triedFrom > 0 && due(r.triedFrom+r.step.LockTimeout, s.horizon) {
		fault("liveness", "step %s of %s waits for its locks beyond its timeout", r.name, r.of.id)
	}
}

// last: a failure takes the last attempt, or is not retried.
func (r *run) last(code string) bool {
	return r.used+1 >= r.step.Attempts || slices.Contains(r.step.NonRetryable, code)
}

// asked: somebody waits for what is in a run's queue, so that it was tried.
func (s *State) asked(r *run) bool {
	return slices.ContainsFunc(s.waits, func(w *wait) bool {
		return w.run == r || w.run == nil && w.want == nil && slices.Contains(w.queues, r.step.Queue)
	})
}

// tried: somebody asks for a run, so that it waits for its locks; one that needs slots may wait for those, and for no lock yet.
func (s *State) tried(r *run) bool { return s.asked(r) && len(r.step.Rates) == 0 }

// mostYields is how often somebody yields in an entry before the model expects that it left other cycles to the next: each was looked
// for among all that hang together with it, and an entry looks at so many. The next breaks some again, or leaves none.
const mostYields = 8

// cyclesBroken checks behind an entry that no cycle is left in which somebody asks for all that waits for locks.
func (s *State) cyclesBroken(events int) {
	if events > mostLater || s.yielded >= mostYields || s.Limit > 0 {
		return
	}
	for _, r := range s.idling {
		if r.state == Ready && len(r.step.Locks) > 0 && s.keptOut(r) && s.tried(r) && s.inCycle(r, s.tried) {
			fault("liveness", "step %s of %s waits for itself, and nobody yields", r.name, r.of.id)
		}
	}
}
