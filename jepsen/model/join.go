package model

import "slices"

// When is a condition: a number of the instance's input, or of a step's output, is greater than Above.
type When struct {
	Step  string // empty: the input
	Above int64
}

// verdict is what a step's needs say of it.
type verdict int

const (
	waits verdict = iota
	goes
	skips
)

// joined: all needs have ended and not all were skipped, or enough have completed; what cannot be reached is skipped.
func (r *run) joined() verdict {
	var done, open int32
	for _, need := range r.step.Needs {
		switch state := r.of.run(need).state; {
		case state == Completed:
			done++
		case !over(state):
			open++
		}
	}
	switch want := r.step.AtLeast; {
	case want == 0 && open > 0:
		return waits
	case want == 0 && done == 0 && len(r.step.Needs) > 0:
		return skips
	case want == 0, done >= want:
		return goes
	case done+open < want:
		return skips
	}
	return waits
}

// holds says whether a condition is met.
func (i *instance) meets(w *When) bool {
	switch {
	case w == nil:
		return true
	case w.Step == "":
		return i.input > w.Above
	}
	return i.run(w.Step).output > w.Above
}

// goes: the run is to be begun now.
func (r *run) goes() bool {
	return r.undoes == nil && r.state == Pending && r.of.state == Running && !r.lost() && r.joined() == goes && r.of.meets(r.step.When)
}

// joins counts how a step was begun.
func (s *State) joins(r *run) {
	open, skipped := false, false
	for _, need := range r.step.Needs {
		state := r.of.run(need).state
		open, skipped = open || !over(state), skipped || state == Skipped
	}
	switch {
	case r.step.AtLeast == 1 && open:
		s.saw(JoinAny)
	case r.step.AtLeast > 1 && open:
		s.saw(JoinAtLeast)
	case r.step.AtLeast == 0 && skipped:
		s.saw(SkipCounted)
	}
}

// runSkipped: a run is skipped when its condition is not met, or its needs cannot be.
func (s *State) runSkipped(f *Fact, r *run) {
	if r.undoes != nil {
		if !s.byHand(r, true) {
			fault("saga", "%s of %s, which is %s, is skipped by %s", f.Step, f.Instance, r.state, s.cause.command.say())
		}
		s.saw(SkippedByHand)
		s.enter(r, Skipped)
		return
	}
	lost := r.lost() && (r.state == Pending || r.state == Waiting)
	v := r.joined()
	byCondition := v == goes && !r.of.meets(r.step.When)
	if !lost && (r.state != Pending || v != skips && !byCondition) || r.of.state != Running {
		fault("S1", "step %s of %s is skipped while it is %s", f.Step, f.Instance, r.state)
	}
	switch {
	case lost && r.state == Pending:
		s.saw(RaceNotBegun)
	case lost:
		s.saw(RaceLost)
	case byCondition:
		s.saw(SkipWhen)
	default:
		s.saw(SkipPassedOn)
	}
	s.enter(r, Skipped)
}

// first: of the runs of a queue that need no lock, the one that is leased comes first: by the time at which it became
// ready, less ten seconds for each step of priority.
func (s *State) first(r *run) {
	if len(r.step.Locks) > 0 {
		return
	}
	overtaken := false
	for _, o := range s.ready[r.step.Queue] {
		if o.order < r.order || o.order == r.order && o.readyAt < r.readyAt {
			fault("liveness", "step %s of %s is leased before step %s of %s, which is ahead of it in queue %s", r.step.Name, r.of.id, o.step.Name, o.of.id, r.step.Queue)
		}
		overtaken = overtaken || o.readyAt < r.readyAt
	}
	if overtaken {
		s.saw(PriorityFirst)
	}
}

const priorityWorth = 10 * second

// named: the session asks for this very run.
func (s *State) named(x *session, r *run) bool {
	if c := s.cause.command; c != nil && c.Kind == Lease && c.Session == x.id && c.Instance == r.of.id && c.Step == r.step.Name {
		return true
	}
	return slices.ContainsFunc(s.waits, func(w *wait) bool { return w.session == x && w.run == r })
}
