package model

import "slices"

// When is a condition: a number of the instance's input, or of a step's output, is greater than Above.
type When struct {
	Step  string // empty: the input
	Above int64
	// It cannot be evaluated where it is not met.
	Unsound bool
}

// verdict is what a step's needs say of it.
type verdict int

const (
	waits verdict = iota
	goes
	skips
)

// need is what a run that is needed has come to.
type need int

const (
	needOpen    need = iota
	needMet          // it ended as is needed
	needSkipped      // nobody waits for it any more
	needBarred       // it ended otherwise
)

// sees is what a need of a run has come to. Steps want completions, unless they say that they want failures.
func (r *run) sees(step string) need {
	o := r.beside(step)
	f, failures := r.step.Failures[step]
	switch {
	case !over(o.state):
		return needOpen
	case o.state == Completed && (!failures || f.Either), o.state == Failed && failures && f.counts(o.code):
		return needMet
	case o.state == Skipped && (!failures || f.Either):
		return needSkipped
	}
	return needBarred
}

func (f *Failure) counts(code string) bool {
	return len(f.Codes) == 0 || slices.Contains(f.Codes, code)
}

// handled: a step wants the failure of a run, so that the instance goes on.
func (r *run) handled() bool {
	return slices.ContainsFunc(r.frame.runs, func(o *run) bool {
		f, failures := o.step.Failures[r.step.Name]
		return failures && f.counts(r.code)
	})
}

// joined: all needs have ended, none otherwise than is needed, and not all were skipped; or enough are met. What cannot be reached
// is skipped. What waits for the end of what was set back waits, whatever it needs.
func (r *run) joined() verdict {
	if r.gated() {
		return waits
	}
	var n [needBarred + 1]int32
	for _, step := range r.step.Needs {
		n[r.sees(step)]++
	}
	done, open := n[needMet], n[needOpen]
	switch want := r.step.AtLeast; {
	case want == 0 && n[needBarred] > 0:
		return skips
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
func (r *run) meets(w *When) bool {
	switch {
	case w == nil:
		return true
	case w.Step == "":
		return r.of.input > w.Above
	}
	return !r.lacks(w) && r.beside(w.Step).output > w.Above
}

// goes: the run is to be begun now.
func (r *run) goes() bool {
	return r.undoes == nil && r.state == Pending && r.wanted() && !r.lost() && r.joined() == goes && r.meets(r.step.When)
}

// joins counts how a step was begun.
func (s *State) joins(r *run) {
	var n [needBarred + 1]int
	for _, step := range r.step.Needs {
		v := r.sees(step)
		if n[v]++; v == needMet && r.beside(step).state == Failed {
			s.saw(FailureNeeded)
		}
	}
	switch {
	case r.step.AtLeast == 1 && n[needOpen] > 0:
		s.saw(JoinAny)
	case r.step.AtLeast > 1 && n[needOpen] > 0:
		s.saw(JoinAtLeast)
	case r.step.AtLeast == 0 && n[needSkipped] > 0:
		s.saw(SkipCounted)
	}
}

// runSkipped: a run is skipped when its condition is not met, or its needs cannot be.
func (s *State) runSkipped(f *Fact, r *run) {
	if s.byOperator(SkipRun, f) {
		s.skippedByOperator(f, r)
		return
	}
	if r.undoes != nil {
		if !s.byHand(r, true) {
			fault("saga", "%s of %s, which is %s, is skipped by %s", f.Step, f.Instance, r.state, s.cause.command.say())
		}
		s.saw(SkippedByHand)
		s.enter(r, Skipped)
		return
	}
	lost := r.lost() && (r.state == Pending || r.state == Waiting)
	if !lost && r.state == Waiting && r.wanted() && s.passesOn(r) {
		s.saw(AwaitSkipped)
		s.enter(r, Skipped)
		return
	}
	v := r.joined()
	_, stands := r.standsStill()
	byCondition := v == goes && !stands && (!r.meets(r.step.When) || r.step.Body != nil && r.step.Body.Items > 0 && r.count() == 0)
	if !lost && (r.state != Pending || v != skips && !byCondition) || !r.wanted() {
		fault("S1", "step %s of %s is skipped while it is %s", f.Step, f.Instance, r.state)
	}
	if !lost {
		r.begunByItself(f)
		s.begins(r)
	}
	switch {
	case lost && r.state == Pending:
		s.saw(RaceNotBegun)
	case lost:
		s.saw(RaceLost)
	case byCondition:
		s.saw(SkipWhen)
	case r.step.AtLeast == 0 && slices.ContainsFunc(r.step.Needs, func(step string) bool { return r.sees(step) == needBarred }):
		s.saw(SkipBarred)
	default:
		s.saw(SkipPassedOn)
	}
	s.enter(r, Skipped)
}

// first: of the runs of a queue and a key that need no lock and no slot, the one that is leased comes first: by the time at which it became
// ready, less ten seconds for each step of priority.
func (s *State) first(r *run) {
	if !r.free() {
		return
	}
	overtaken := false
	for _, o := range s.ready[r.step.Queue] {
		if o.key() != r.key() {
			continue
		}
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
	if c := s.cause.command; c != nil && c.Kind == Lease && c.Session == x.id && c.Instance == r.of.id && c.Step == r.name {
		return true
	}
	return slices.ContainsFunc(s.waits, func(w *wait) bool { return w.session == x && w.run == r })
}
