package model

// timeout: an instance fails by itself when its total timeout has passed.
func (s *State) timeout(f *Fact, i *instance) bool {
	return f.Code == "TIMEOUT" && s.cause.tick && due(i.deadline, s.horizon)
}

// timedOut: no worker took the run in time, or the step as a whole took too long.
func (s *State) timedOut(f *Fact, r *run) {
	reason := false
	switch {
	case f.Code == "TIMEOUT_QUEUE":
		s.saw(TimeoutQueue)
		reason = r.inLine() && due(r.queueDeadline, s.horizon)
	case r.state == Incident:
		s.saw(TimeoutStill)
		reason = due(r.totalDeadline, s.horizon)
	case r.step.depends():
		s.saw(TimeoutAwait)
		reason = r.state == Waiting && due(r.totalDeadline, s.horizon) && !r.calls()
	case r.step.Barrier != nil:
		s.saw(TimeoutBarrier)
		reason = r.state == Waiting && due(r.totalDeadline, s.horizon)
	case r.step.waits():
		s.saw(map[bool]Class{true: TimeoutSignal, false: TimeoutAsked}[r.step.Signal != ""])
		reason = r.state == Waiting && due(r.totalDeadline, s.horizon)
	default:
		s.saw(TimeoutTotal)
		reason = !over(r.state) && r.state != Pending && due(r.totalDeadline, s.horizon)
	}
	if !reason || !s.cause.tick {
		fault("S6", "step %s of %s, which is %s, fails before its time, as %s", f.Step, f.Instance, r.state, f.Code)
	}
}
