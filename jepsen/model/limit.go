package model

// Limit is how many runs an entry begins, or skips, behind its commands and its tick, and then again as many of those that were left
// to it; zero is all. What is more is left to the entries behind it. Expressions count as well, and the model does not know how much:
// so it holds that no entry does more, that what is left stays as it was, and that it is not left for long.
type Limit int

// mostLeft is for how many entries a run is left, at most, behind those that were left before it: each entry begins one that was, the first that
// was left first. Behind an outage thousands may come at once.
const mostLeft = 2000

// leftUntil is the entry by which a run is begun that is left in this one.
func (s *State) leftUntil() uint64 { return s.Index + mostLeft + uint64(len(s.left)) }

// begins counts a run that is begun, or skipped, by itself.
func (s *State) begins(r *run) {
	s.started++
	if s.left[r] > 0 {
		s.saw(LeftToNext)
		delete(s.left, r)
	}
}

// leaves says whether a run may be left as it is until an entry comes to it.
func (s *State) leaves(r *run) bool {
	if s.Limit == 0 && !r.of.wasPaused {
		return false
	}
	if s.left[r] == 0 {
		s.left[r] = s.leftUntil()
	}
	return true
}

// limitKept checks behind an entry that it has done no more than it may, and that nothing was left for long.
func (s *State) limitKept() {
	if s.Limit > 0 && s.started > 2*int(s.Limit) {
		fault("liveness", "entry %d begins %d runs; the limit is twice %d", s.Index, s.started, s.Limit)
	}
	for r, until := range s.left {
		switch {
		case r.state != Pending || !r.wanted():
			delete(s.left, r)
		case r.of.paused:
			s.left[r] = s.leftUntil() // it is held
		case s.Index > until:
			fault("liveness", "step %s of %s is left, and is not begun by entry %d", r.name, r.of.id, until)
		}
	}
}

// unseen says whether a step with a body may have a frame of which nothing was told: its runs were left. There was room for it when it began, so
// there still is, or the body has been stopped since.
func (s *State) unseen(owner *run) bool {
	b := owner.step.Body
	may := (s.Limit > 0 || owner.of.wasPaused) && len(owner.frames) < owner.count() && !(b.While && len(owner.frames) >= owner.wantedTurns())
	goesOn := owner.state == Waiting && owner.stage == stageRunning && owner.wanted() && !owner.spoiled()
	return may && (owner.again() || !goesOn)
}

// wasLeft says whether a fact begins a run that an entry before had left, or may be of one of which nothing was told.
func (s *State) wasLeft(f *Fact) bool {
	switch f.Kind {
	case "step.waiting", "step.ready", "step.skipped", "step.incident":
		r := s.run(f.Instance, f.Step)
		i := s.instance(f.Instance)
		return i != nil && (s.Limit > 0 || i.wasPaused) && (r == nil || s.left[r] > 0)
	}
	return false
}

// spent: an entry may have done its share before a command: by others, or by what fell due.
func (s *State) spent(c *Command) bool {
	return s.Limit > 0 && (c != &s.e.Commands[0] || s.fellDue)
}
