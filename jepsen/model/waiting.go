package model

import "slices"

// waits says that no worker takes a step: a signal, a time or a decision ends it.
func (s *Step) waits() bool {
	return s.Signal != "" || s.After > 0 || s.Until != 0 || s.Approval || s.Body != nil || s.Barrier != nil || s.depends()
}

// rivals are the other steps of the race that a step is in, if it is in one.
func (r *run) rivals() (rivals []*run) {
	for _, o := range r.frame.runs {
		if s := o.step; s.Race && slices.Contains(s.Needs, r.step.Name) {
			for _, need := range s.Needs {
				if need != r.step.Name {
					rivals = append(rivals, r.beside(need))
				}
			}
		}
	}
	return rivals
}

// lost says that another of its race has completed.
func (r *run) lost() bool {
	return slices.ContainsFunc(r.rivals(), func(o *run) bool { return o.state == Completed })
}

// runWaiting: a step whose needs are met waits for its signal, its time, or somebody's word.
func (s *State) runWaiting(f *Fact, r *run) {
	name := r.step.Signal
	if r.step.Call != nil {
		name = r.step.Call.Workflow
	}
	if r.step.Barrier != nil {
		name = r.meetsAt()
	}
	if !r.step.waits() || !r.step.Approval && r.step.Body == nil && f.Name != name || !r.goes() {
		fault("S1", "step %s of %s waits for %q while it is %s", f.Step, f.Instance, f.Name, r.state)
	}
	r.begunByItself(f)
	s.begins(r)
	s.joins(r)
	s.forget(r.of)
	s.enter(r, Waiting)
	r.begunBy = s.causes
	switch {
	case r.step.depends():
		s.dependsOn(f, r)
	case r.step.Barrier != nil:
		s.meets(f, r)
	case r.step.Body != nil && r.step.Body.Items > 0:
		s.cause.lists = append(s.cause.lists, r)
	}
	switch {
	case r.step.After > 0:
		r.fires = s.Uptime + r.step.After
	case r.step.Until != 0:
		r.atOnce = r.step.Until <= s.Wall
	default:
		r.totalDeadline = after(s.Uptime, r.step.Total)
	}
}

// awaited completes a step that has what it waited for, if none of its race has before.
func (s *State) awaited(f *Fact, r *run) {
	if r.step.Body != nil && r.finished() && r.stage == stageRunning && r.wanted() {
		r.delivered = true
		s.saw(BodyDone)
	}
	if r.step.depends() && s.answered(r) {
		r.delivered = true
		if r.step.byKey() {
			s.satisfies(f, r)
		}
	}
	if r.state != Waiting || !r.delivered {
		fault("S1", "step %s of %s is completed without what it waits for, while it is %s", f.Step, f.Instance, r.state)
	}
	if r.lost() {
		fault("S1", "step %s of %s is completed, and another of its race was before", f.Step, f.Instance)
	}
	if len(r.rivals()) > 0 {
		s.saw(RaceWon)
	}
	s.enter(r, Completed)
	r.completedAt = f.Position
}

// fires says whether a timer is to fire by the tick at hand.
func (s *State) fires(r *run) bool {
	return r.state == Waiting && (due(r.fires, s.horizon) || r.step.Until != 0 && !r.atOnce && r.step.Until <= s.days)
}

// timerFired: never before its time, and in the order of times: first what is due by uptime, then dates.
func (s *State) timerFired(f *Fact, r *run) {
	switch {
	case r.state != Waiting || r.delivered || r.step.After == 0 && r.step.Until == 0:
		fault("S1", "the timer of step %s of %s fires, and the step is %s", f.Step, f.Instance, r.state)
	case r.atOnce:
		s.saw(TimerPast)
	case !s.cause.tick || !s.fires(r):
		fault("S6", "the timer of step %s of %s fires before its time", f.Step, f.Instance)
	case r.step.After > 0:
		s.saw(TimerFired)
	default:
		s.saw(TimerDate)
	}
	lag := int64(0)
	switch {
	case r.step.After > 0:
		lag = s.Uptime - r.fires
	case !r.atOnce:
		lag = s.Wall - r.step.Until
	}
	if f.Lag != lag {
		fault("S6", "the timer of step %s of %s fires %d late, and tells %d", f.Step, f.Instance, lag, f.Lag)
	}
	for _, o := range r.rivals() {
		if !r.atOnce && s.fires(o) && s.earlier(o, r) {
			fault("S6", "the timer of step %s of %s fires, and that of %s is due before", f.Step, f.Instance, o.step.Name)
		}
	}
	r.delivered = true
	s.touch(r.of)
}

// earlier says which of two timers that are due goes first.
func (s *State) earlier(a, b *run) bool {
	dated := func(r *run) bool { return r.step.Until != 0 }
	at := func(r *run) int64 { return r.fires + r.step.Until }
	switch {
	case dated(a) != dated(b):
		return dated(b)
	case at(a) != at(b):
		return at(a) < at(b)
	}
	return slices.Index(a.of.runs, a) < slices.Index(b.of.runs, b)
}

// decision decides on somebody's word about a step.
func (s *State) decision(c *Command) func() {
	r := s.find(c)
	if r == nil {
		return nil
	}
	want := map[Kind]string{Approve: Completed, Reject: Failed}[c.Kind]
	again := r.state == want && (c.Kind == Approve || r.rejected)
	switch {
	case !r.step.Approval:
		s.refused(c, "INVALID")
		return nil
	case again:
		if s.must(c); !c.Answer.Duplicate || c.Answer.State != r.of.state {
			fault("S5", "%s is told again, and answered %+v", c.say(), c.Answer)
		}
		s.saw(DecidedAgain)
		return nil
	case over(r.state):
		s.refused(c, "ALREADY_DONE")
		return nil
	case r.state != Waiting:
		s.refused(c, "NOT_READY")
		return nil
	}
	s.must(c)
	return func() {
		if c.Answer.Duplicate || r.state != want || c.Answer.State != r.of.state {
			fault("S4", "%s is answered %+v; the step is %s and the instance %s", c.say(), c.Answer, r.state, r.of.state)
		}
	}
}

// decided: a step that waits for an approval has it, or is rejected.
func (s *State) decided(f *Fact, r *run) {
	c := s.cause.command
	kind := map[string]Kind{"step.approved": Approve, "step.rejected": Reject}[f.Kind]
	if c == nil || c.Kind != kind || c.Instance != f.Instance || c.Step != f.Step || r.state != Waiting || !r.step.Approval {
		fault("S1", "%s of step %s of %s, which is %s, by %s", f.Kind, f.Step, f.Instance, r.state, c.say())
	}
	r.delivered, r.rejected = kind == Approve, kind == Reject
	s.saw(map[Kind]Class{Approve: Approved, Reject: Rejected}[kind])
	s.touch(r.of)
}

// waitWhole checks that a cause left nothing half done of a step that waits.
func (s *State) waitWhole(r *run) {
	switch {
	case r.state == Waiting && r.oldest() >= 0:
		fault("liveness", "step %s of %s waits for a signal that is there", r.step.Name, r.of.id)
	case r.state == Waiting && (r.delivered || r.rejected || r.atOnce):
		fault("liveness", "step %s of %s waits for what is there", r.step.Name, r.of.id)
	case r.wanted() && !over(r.state) && r.lost():
		fault("liveness", "step %s of %s is %s, and another of its race has completed", r.step.Name, r.of.id, r.state)
	}
}

// oldest is the place of the oldest message that a step waits for; negative when there is none.
func (r *run) oldest() int {
	if r.step.Signal == "" {
		return -1
	}
	return r.of.oldest(r.step.Signal)
}
