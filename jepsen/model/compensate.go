package model

import "slices"

// wanted: the instance wants what the run does. Steps are wanted while it runs, compensations while it compensates.
func (r *run) wanted() bool {
	if r.undoes != nil {
		return r.of.state == Compensating
	}
	return r.of.state == Running
}

// step finds a step of the definition, which may be a compensation.
func (f *Workflow) step(name string) (s *Step, compensation bool) {
	for at := range f.Steps {
		s := &f.Steps[at]
		if s.Name == name {
			return s, false
		}
		if s.Undo != nil && s.Undo.Name == name {
			return s.Undo, true
		}
	}
	return nil, false
}

// behind: a step needs another, or something that does.
func (f *Workflow) behind(name, of string) bool {
	s, _ := f.step(name)
	return slices.ContainsFunc(s.Needs, func(need string) bool { return need == of || f.behind(need, of) })
}

// toUndo are the runs that an instance which stops must undo: what completed, from a step on.
func (i *instance) toUndo() (list []*run) {
	for _, r := range i.runs {
		if r.undoes == nil && r.state == Completed && r.step.Undo != nil && i.since(i.from, r) {
			list = append(list, r)
		}
	}
	return list
}

// since: a run is of a step, or of one behind it.
func (i *instance) since(from string, r *run) bool {
	return from == "" || r.step.Name == from || i.flow.behind(r.step.Name, from)
}

// blocked: something that came behind what a compensation undoes is not undone: by the graph, or by the order of completion.
func (r *run) blocked() bool {
	return slices.ContainsFunc(r.of.runs, func(o *run) bool {
		switch {
		case o.undoes == nil || o == r || over(o.state):
			return false
		case r.of.flow.Sequential:
			return o.undoes.completedAt > r.undoes.completedAt
		}
		return r.of.flow.behind(o.undoes.step.Name, r.undoes.step.Name)
	})
}

// compensationBegun: an instance that failed or was cancelled, and of which nothing is leased, undoes what it completed.
func (s *State) compensationBegun(f *Fact, i *instance) {
	undo := i.toUndo()
	leased := slices.ContainsFunc(i.runs, func(r *run) bool { return r.state == Leased })
	if i.state != Failing && i.state != Cancelling || leased || len(undo) == 0 {
		fault("saga", "%s, which is %s, compensates %d steps", i.id, i.state, len(undo))
	}
	if i.ends = Failed; i.state == Cancelling {
		i.ends = Cancelled
	}
	for _, r := range undo {
		i.runs = append(i.runs, &run{of: i, step: r.step.Undo, state: Pending, undoes: r})
	}
	i.state = Compensating
	switch {
	case i.from != "":
		s.saw(UndoneFrom)
	case f.Code == "TIMEOUT":
		s.saw(UndoneTimeout)
	case f.Code == "REJECTED":
		s.saw(UndoneNo)
	}
	s.touch(i)
}

// mayEnd says whether an instance may end so: everything that is to be undone is.
func (i *instance) mayEnd(as, behind string) bool {
	if i.state == Compensating {
		return i.ends == as && !slices.ContainsFunc(i.runs, func(r *run) bool { return !over(r.state) })
	}
	return i.state == behind && len(i.toUndo()) == 0
}

// undoReady: a compensation is begun when all that came behind its step is undone.
func (s *State) undoReady(r *run) {
	if r.blocked() {
		fault("saga", "step %s of %s is undone before what came behind it", r.undoes.step.Name, r.of.id)
	}
	for _, o := range r.of.runs {
		if o != r && o.undoes != nil && o.state != Pending && !over(o.state) {
			s.saw(UndoneBeside)
			break
		}
	}
	s.saw(Undone)
	if r.undoes.step.Race {
		s.saw(UndoneRace)
	}
	r.totalDeadline = after(s.Uptime, r.step.Total)
}

// compensationWhole checks that a command or a tick left an instance that compensates in one of the states that it may rest in.
func (i *instance) compensationWhole() {
	open := 0
	for _, r := range i.runs {
		switch {
		case over(r.state):
			continue
		case r.undoes == nil:
			fault("saga", "%s compensates, and its step %s is %s", i.id, r.step.Name, r.state)
		case r.blocked() != (r.state == Pending):
			fault("saga", "%s of %s is %s, and something is before it: %v", r.step.Name, i.id, r.state, r.blocked())
		}
		open++
	}
	if open == 0 {
		fault("liveness", "%s compensates and has nothing left to undo", i.id)
	}
}

// runIncident: a compensation stands still where a step would fail.
func (s *State) runIncident(f *Fact, r *run) {
	if r.undoes == nil {
		fault("S1", "step %s of %s stands still", f.Step, f.Instance)
	}
	s.fails(f, r)
	s.runStopped(r, Incident)
	r.totalDeadline = 0
	s.saw(StandsStill)
}

// compensate decides on a command that stops an instance, or has what stands still tried again.
func (s *State) compensate(c *Command) func() {
	i := s.instance(c.Instance)
	switch {
	case i == nil:
		s.refused(c, "INSTANCE_NOT_FOUND")
		return nil
	case c.From != "":
		if step, compensation := i.flow.step(c.From); step == nil || compensation {
			s.refused(c, "STEP_NOT_FOUND")
			return nil
		}
	}
	undoable := slices.ContainsFunc(i.flow.Steps, func(s Step) bool { return s.Undo != nil })
	switch {
	case over(i.state):
		s.refused(c, "ALREADY_ENDED")
		return nil
	case !undoable, i.state != Compensating && c.Skip, i.state == Cancelling && i.from != c.From:
		s.refused(c, "INVALID")
		return nil
	}
	s.must(c)
	var still []*run
	var names []string
	for _, r := range i.runs {
		if r.state == Incident && i.since(c.From, r.undoes) {
			still, names = append(still, r), append(names, r.step.Name)
		}
	}
	return func() {
		if !slices.Equal(c.Answer.Steps, names) || c.Answer.State != i.state || i.state == Running || i.state == Failing {
			fault("saga", "%s is answered %+v; %s is %s, and %v stood still", c.say(), c.Answer, i.id, i.state, names)
		}
		for _, r := range still {
			if r.state == Incident || c.Skip != (r.state == Skipped) {
				fault("saga", "%s is done, and %s is %s", c.say(), r.step.Name, r.state)
			}
		}
	}
}

// byHand: the command at hand is about what stands still of an instance, and about that run.
func (s *State) byHand(r *run, skip bool) bool {
	c := s.cause.command
	return c != nil && c.Kind == Compensate && c.Instance == r.of.id && c.Skip == skip && r.state == Incident && r.of.since(c.From, r.undoes)
}

// runResumed: what stands still is tried again with all its attempts.
func (s *State) runResumed(f *Fact, r *run) {
	if !s.byHand(r, false) {
		fault("saga", "%s of %s, which is %s, is tried again by %s", f.Step, f.Instance, r.state, s.cause.command.say())
	}
	r.used = 0
	s.enter(r, Pending)
	s.saw(Resumed)
}
