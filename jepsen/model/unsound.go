package model

// What a definition asks for cannot always be evaluated: a field is missing, a type is wrong. A step whose condition, or list, that is
// stands still until its time is up; a step with a body fails by it, once that has begun.

// standsStill says whether a step stands still where it would be begun, and by which code.
func (r *run) standsStill() (code string, is bool) {
	switch b := r.step.Body; {
	case r.undoes != nil || r.state != Pending || !r.wanted() || r.lost() || r.joined() != goes:
	case !r.meets(r.step.When):
		return "CONDITION_INVALID", r.step.When.Unsound || r.lacks(r.step.When)
	case b != nil && b.Items > 0 && b.Unsound && r.of.input%2 != 0:
		return "ITEMS_INVALID", true
	}
	return "", false
}

// lacks: a condition is on the output of a step that has none, for an operator has skipped it.
func (r *run) lacks(w *When) bool { return w.Step != "" && r.beside(w.Step).state == Skipped }

// stoodStill: a step stands still, for what it says cannot be evaluated.
func (s *State) stoodStill(f *Fact, r *run) {
	code, is := r.standsStill()
	if !is || f.Code != code {
		fault("S1", "step %s of %s stands still as %s; it is %s", f.Step, f.Instance, f.Code, r.state)
	}
	r.begunByItself(f)
	s.begins(r)
	s.saw(map[bool]Class{true: UnsoundWhen, false: UnsoundItems}[code == "CONDITION_INVALID"])
	s.enter(r, Incident)
	r.totalDeadline = after(s.Uptime, r.step.Total)
}

// unsoundTurn: the condition of a loop cannot be evaluated for the turn that would be next.
func (r *run) unsoundTurn() bool {
	b := r.step.Body
	return b.While && b.Unsound && r.open() == 0 && len(r.frames) >= r.wantedTurns() && !r.spoiled()
}

// spoiled: a body has done what is inside it, once, and what it puts out cannot be evaluated.
func (r *run) spoiled() bool {
	return r.step.Body.Spoils && r.of.input%2 != 0 && r.open() < len(r.frames)
}

// wantedTurns is for how many turns the condition of a loop holds.
func (r *run) wantedTurns() int {
	if r.step.Body.Unsound {
		return int(r.of.input % 3)
	}
	return int(r.of.input)
}
