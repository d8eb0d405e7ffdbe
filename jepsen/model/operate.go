package model

import "slices"

// What somebody does to an instance, or to a run of it, in the place of what else moves it.

// inLine: a run is ready, and whoever asks for what is in its queue may be given it.
func (r *run) inLine() bool { return r.state == Ready && !r.of.paused }

// pauses decides on what pauses an instance, or ends that.
func (s *State) pauses(c *Command) func() {
	i, pauses := s.instance(c.Instance), c.Kind == Halt
	switch {
	case i == nil:
		s.refused(c, "INSTANCE_NOT_FOUND")
		return nil
	case over(i.state):
		s.refused(c, "ALREADY_ENDED")
		return nil
	}
	again := i.paused == pauses
	s.must(c)
	return func() {
		if c.Answer.Duplicate != again || c.Answer.State != i.state || i.paused != pauses {
			fault("S4", "%s is answered %+v; %s is %s, paused: %v, and was before: %v", c.say(), c.Answer, i.id, i.state, i.paused, again)
		}
	}
}

// pauseFact has an instance be paused, or not any more. What is ready of it is in no line meanwhile, and what it may wait for there begins
// anew behind that.
func (s *State) pauseFact(f *Fact, i *instance) {
	pauses, c := f.Kind == "instance.paused", s.cause.command
	if c == nil || c.Kind != map[bool]Kind{true: Halt, false: Unhalt}[pauses] || c.Instance != i.id || i.paused == pauses || over(i.state) {
		fault("S4", "%s of %s, which is %s, by %s", f.Kind, i.id, i.state, c.say())
	}
	for _, r := range i.runs {
		if r.inLine() {
			s.leavesQueue(r)
		}
	}
	i.paused, i.wasPaused = pauses, true
	for _, r := range i.runs {
		if r.inLine() {
			s.joinsQueue(r)
			r.readyFrom, r.triedFrom = s.Uptime, 0
			r.queueDeadline = after(s.Uptime, r.step.QueueTimeout)
		}
	}
	s.saw(map[bool]Class{true: InstancePaused, false: InstanceResumed}[pauses])
	s.touch(i)
}

// resolvesWhole decides on what says that a failed instance needs nobody any more, or takes that back.
func (s *State) resolvesWhole(c *Command) func() {
	i, resolves := s.instance(c.Instance), c.Kind == ResolveWhole
	switch {
	case i == nil:
		s.refused(c, "INSTANCE_NOT_FOUND")
		return nil
	case i.state != Failed:
		s.refused(c, "NOT_FAILED")
		return nil
	}
	again := i.resolved == resolves
	s.must(c)
	return func() {
		if c.Answer.Duplicate != again || i.resolved != resolves {
			fault("S4", "%s is answered %+v; %s is resolved: %v, and was before: %v", c.say(), c.Answer, i.id, i.resolved, again)
		}
	}
}

// resolutionFact has a failed instance be resolved, or not any more.
func (s *State) resolutionFact(f *Fact, i *instance) {
	resolves, c := f.Kind == "instance.resolved", s.cause.command
	if c == nil || c.Kind != map[bool]Kind{true: ResolveWhole, false: Reopen}[resolves] || c.Instance != i.id || i.resolved == resolves || i.state != Failed {
		fault("S4", "%s of %s, which is %s, by %s", f.Kind, i.id, i.state, c.say())
	}
	i.resolved = resolves
	s.saw(map[bool]Class{true: FailureResolved, false: FailureReopened}[resolves])
}

// joinsQueue has a run be among those that are given to who asks.
func (s *State) joinsQueue(r *run) {
	if r.free() {
		s.ready[r.step.Queue] = append(s.ready[r.step.Queue], r)
	}
	for _, w := range r.step.Locks {
		s.lock(w.Lock).wanted++
	}
}

func (s *State) leavesQueue(r *run) {
	if r.free() {
		s.ready[r.step.Queue] = without(s.ready[r.step.Queue], r)
		s.waitsNoMore(r)
	}
	for _, w := range r.step.Locks {
		s.lock(w.Lock).wanted--
	}
}

// begunByItself: nothing of an instance that is paused is.
func (r *run) begunByItself(f *Fact) {
	if r.of.paused {
		fault("S1", "%s of step %s of %s, which is paused", f.Kind, f.Step, f.Instance)
	}
}

// byOperator: the command that is decided is of a kind, and about the run.
func (s *State) byOperator(kind Kind, f *Fact) bool {
	c := s.cause.command
	return c != nil && c.Kind == kind && c.Instance == f.Instance && c.Step == f.Step
}

// operate decides on what is about one run.
func (s *State) operate(c *Command) func() {
	r := s.find(c)
	if r == nil {
		return nil
	}
	was, wants := r.state, r.undoes != nil || r.wanted()
	code, again := "", false
	switch c.Kind {
	case Retry:
		code = s.retries(r, wants)
		again = was != Incident
	case SkipRun:
		again = was == Skipped
		code = s.skips(r, wants)
	case Resolve:
		again = was == Completed && c.Code == "" && c.Answer.Duplicate && (c.Output == r.output || r.step.waits()) || was == Failed && r.code == c.Code && c.Code != ""
		code = s.resolves(c, r, wants)
	case Update:
		code = s.updates(c, r, wants)
	}
	if code != "" && !(again && c.Kind != Retry) {
		s.refused(c, code)
		return nil
	}
	var waited []*letter
	completes := c.Kind == Resolve && c.Code == "" && !again
	if completes {
		fresh, conflicts := r.gives(c.Output)
		if conflicts {
			s.saw(KeyRefused)
			s.refused(c, "KEY_REFUSED")
			return nil
		}
		waited = s.awaiting(fresh)
	}
	s.must(c)
	return func() {
		if completes {
			s.takesGiven(c, r, waited)
		}
		if c.Answer.Duplicate != again && c.Kind != Update || c.Answer.State != r.of.state {
			fault("S4", "%s is answered %+v; it was %s, and %s of %s, which is %s, is %s", c.say(), c.Answer, was, r.name, r.of.id, r.of.state, r.state)
		}
		done := map[Kind]bool{
			Retry: r.state != Incident || !again, SkipRun: r.state == Skipped, Update: true,
			Resolve: c.Code == "" && r.state == Completed || c.Code != "" && r.state == Failed && r.code == c.Code,
		}[c.Kind]
		if !done || c.Kind == Resolve && c.Code == "" && c.Answer.Token != r.token {
			fault("S4", "%s is done, and %s of %s is %s under token %d", c.say(), r.name, r.of.id, r.state, r.token)
		}
	}
}

func (s *State) retries(r *run, wants bool) string {
	switch {
	case over(r.of.state):
		return "ALREADY_ENDED"
	case over(r.state):
		return "ALREADY_DONE"
	case r.state == Incident && !wants:
		return "STOPPING"
	case r.state == Pending && !s.waitsForNothing(r):
		return "NOT_READY"
	}
	return ""
}

// waitsForNothing: a run could be begun, and is held, or left to a later entry.
func (s *State) waitsForNothing(r *run) bool {
	return (r.of.wasPaused || s.Limit > 0) && s.cause.command.Answer.Code != "NOT_READY"
}

func (s *State) skips(r *run, wants bool) string {
	switch {
	case over(r.of.state):
		return "ALREADY_ENDED"
	case over(r.state):
		return "ALREADY_DONE"
	case r.state == Leased:
		return "NOT_READY"
	case !wants:
		return "STOPPING"
	case r.state == Pending && r.undoes != nil, r.state == Waiting && (r.step.Body != nil || r.step.Call != nil):
		return "NOT_READY"
	}
	return ""
}

func (s *State) resolves(c *Command, r *run, wants bool) string {
	switch {
	case over(r.state):
		return "ALREADY_DONE"
	case over(r.of.state):
		return "ALREADY_ENDED"
	case c.Code != "" && r.undoes != nil:
		return "INVALID"
	case c.Code != "" && !wants:
		return "STOPPING"
	case r.state == Pending, r.state == Waiting:
		return "NOT_READY"
	}
	return ""
}

func (s *State) updates(c *Command, r *run, wants bool) string {
	tried := []string{Ready, Leased, Backoff}
	switch u := &c.Update; {
	case *u == (Changes{}):
		return "INVALID"
	case over(r.state):
		return "ALREADY_DONE"
	case !wants || r.stage != stageRunning:
		return "STOPPING"
	case u.Now && r.state != Backoff,
		u.Left != 0 && !slices.Contains(tried, r.state),
		u.Total != 0 && (!slices.Contains(append(tried, Waiting, Incident), r.state) || r.step.After > 0 || r.step.Until != 0 || r.state == Incident && r.undoes != nil),
		u.Run != 0 && r.state != Leased,
		u.Queue != 0 && r.state != Ready:
		if c.Answer.Code == "INVALID" && (u.Left < 0 || u.Left > r.step.Attempts) {
			return "INVALID" // which is told first is not told apart here
		}
		return "NOT_READY"
	case u.Left < 0 || u.Left > r.step.Attempts:
		return "INVALID"
	}
	return ""
}

// runUpdated changes what is left of a run's attempts, or of one of its times.
func (s *State) runUpdated(f *Fact, r *run) {
	c := s.cause.command
	if !s.byOperator(Update, f) {
		fault("S4", "step %s of %s is changed by %s", f.Step, f.Instance, c.say())
	}
	u, told := c.Update, f.Delay
	switch f.Name {
	case "attempts":
		r.used, told = r.step.Attempts-u.Left, 0
	case "total":
		r.totalDeadline, told = s.Uptime+u.Total, told-u.Total
	case "run":
		r.runDeadline, told = s.Uptime+u.Run, told-u.Run
	case "queue":
		r.queueDeadline, told = s.Uptime+u.Queue, told-u.Queue
	default:
		told = -1
	}
	if told != 0 {
		fault("S4", "%s of step %s of %s is changed by %d, by %s", f.Name, f.Step, f.Instance, f.Delay, c.say())
	}
	s.saw(StepUpdated)
}

// runResolved: a run is given its end by hand. One that is to complete is under a token of its own from then on, and nobody holds it.
func (s *State) runResolved(f *Fact, r *run) {
	c := s.cause.command
	if !s.byOperator(Resolve, f) || over(r.state) || r.state == Pending || r.state == Waiting || r.byHand {
		fault("S1", "step %s of %s, which is %s, is given its end by %s", f.Step, f.Instance, r.state, c.say())
	}
	r.byHand = true
	if c.Code != "" {
		s.saw(FailedByHand)
		return
	}
	if r.state == Leased {
		s.saw(HolderFenced)
		s.endRunLease(r)
	}
	s.dropLapsed(r)
	s.newToken(f.Token)
	s.told[f.Token] = true // it is nobody's lease
	r.token = f.Token
	s.saw(DoneByHand)
}

// completedByHand completes a run whose end was given it.
func (s *State) completedByHand(f *Fact, r *run) {
	if f.Late || f.Session != 0 {
		fault("S1", "step %s of %s is completed by hand, and the event tells of a worker", f.Step, f.Instance)
	}
	s.enter(r, Completed)
	r.output, r.completedAt = s.cause.command.Output, f.Position
	s.Completed++
}

// skippedByOperator skips a run that nobody holds.
func (s *State) skippedByOperator(f *Fact, r *run) {
	if code := s.skips(r, r.undoes != nil || r.wanted()); code != "" || f.Code != "SKIPPED_BY_HAND" {
		fault("S1", "step %s of %s, which is %s, is skipped by %s", f.Step, f.Instance, r.state, s.cause.command.say())
	}
	s.dropLapsed(r)
	s.enter(r, Skipped)
	s.saw(StepSkipped)
}
