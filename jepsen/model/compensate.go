package model

import (
	"slices"
	"strings"
)

// wanted: the instance wants what the run does. Steps are wanted while it runs, compensations while it compensates.
func (r *run) wanted() bool {
	if r.undoes != nil {
		return r.undoer() != nil
	}
	return r.of.state == Running && !r.superseded() && !slices.ContainsFunc(r.around(), func(o *run) bool { return o.stage != stageRunning || over(o.state) })
}

// step finds a step of the definition, which may be a compensation.
func (f *Workflow) step(name string) (s *Step, compensation bool) { return stepOf(f.Steps, name) }

func stepOf(steps []Step, name string) (s *Step, compensation bool) {
	for at := range steps {
		s := &steps[at]
		if s.Name == name {
			return s, false
		}
		if s.Undo != nil && s.Undo.Name == name {
			return s.Undo, true
		}
		if s.Body != nil {
			if s, compensation := stepOf(s.Body.Steps, name); s != nil {
				return s, compensation
			}
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
func (i *instance) toUndo(owner *run) (list []*run) {
	for _, r := range i.runs {
		undone := slices.ContainsFunc(i.runs, func(o *run) bool { return o.undoes == r })
		if r.undoes == nil && !r.copied && !undone && r.state == Completed && r.step.Undo != nil && r.inside(owner) && i.since(i.from, r) {
			list = append(list, r)
		}
	}
	return list
}

// since: a run is of a step, or of one behind it, or inside one of these.
func (i *instance) since(from string, r *run) bool {
	for r.frame.owner != nil {
		r = r.frame.owner
	}
	return from == "" || r.step.Name == from || i.flow.behind(r.step.Name, from)
}

// beginUndo has the compensations of runs come to be.
func (i *instance) beginUndo(undo []*run) {
	for _, r := range undo {
		c := &run{of: i, step: r.step.Undo, name: strings.Replace(r.name, r.step.Name, r.step.Undo.Name, 1), frame: r.frame, state: Pending, undoes: r}
		i.runs = append(i.runs, c)
	}
}

// cameBehind: a run came behind another: where they are beside each other, or the steps are that they are in; of one list or loop
// the later frame did.
func (r *run) cameBehind(o *run) bool {
	x, y := append([]*run{r}, r.around()...), append([]*run{o}, o.around()...)
	slices.Reverse(x)
	slices.Reverse(y)
	for k := range min(len(x), len(y)) {
		switch {
		case x[k] == y[k]:
		case x[k].frame != y[k].frame:
			return x[k].frame.place > y[k].frame.place
		default:
			return r.of.flow.behind(x[k].step.Name, y[k].step.Name)
		}
	}
	return false
}

// blocked: something that came behind what a compensation undoes is not undone: by the graph, or by the order of completion.
func (r *run) blocked() bool {
	return slices.ContainsFunc(r.of.runs, func(o *run) bool {
		switch {
		case o.undoes == nil || o == r || over(o.state) || o.undoer() != r.undoer():
			return false
		case r.of.flow.Sequential:
			return o.undoes.completedAt > r.undoes.completedAt
		}
		return o.undoes.cameBehind(r.undoes)
	})
}

// compensationBegun: an instance that failed or was cancelled, and of which nothing is leased, undoes what it completed.
func (s *State) compensationBegun(f *Fact, i *instance) {
	undo := i.toUndo(nil)
	leased := slices.ContainsFunc(i.runs, func(r *run) bool { return r.state == Leased })
	if i.state != Failing && i.state != Cancelling || leased || i.undoesInside(nil) || len(undo) == 0 {
		fault("saga", "%s, which is %s, compensates %d steps", i.id, i.state, len(undo))
	}
	if i.ends = Failed; i.state == Cancelling {
		i.ends = Cancelled
	}
	i.beginUndo(undo)
	s.since(i.runs)
	i.state, i.code = Compensating, f.Code
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
	return i.state == behind && len(i.toUndo(nil)) == 0
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
	if s.saw(Undone); r.undoes.superseded() {
		s.saw(SetBackUndone)
	}
	if r.undoes.step.Race {
		s.saw(UndoneRace)
	}
	r.totalDeadline = after(s.Uptime, r.step.Total)
}

// compensationWhole checks that a command or a tick left an instance that compensates in one of the states that it may rest in.
func (s *State) compensationWhole(i *instance) {
	open := 0
	for _, r := range i.runs {
		switch {
		case over(r.state):
			continue
		case r.undoes == nil:
			fault("saga", "%s compensates, and its step %s is %s", i.id, r.step.Name, r.state)
		case r.blocked() != (r.state == Pending) && (r.blocked() || !s.leaves(r)):
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
		s.stoodStill(f, r)
		return
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
		} else if !slices.ContainsFunc(i.flow.Steps, func(o Step) bool { return o.Name == c.From }) && !over(i.state) {
			s.refused(c, "INVALID")
			return nil
		}
	}
	var still []*run
	var names []string
	for _, r := range i.runs {
		if r.state == Incident && r.undoes != nil && i.since(c.From, r.undoes) {
			still, names = append(still, r), append(names, r.step.Name) // the answer names steps
		}
	}
	slices.Sort(names)
	switch {
	case over(i.state):
		s.refused(c, "ALREADY_ENDED")
		return nil
	case len(still) > 0:
	case !undoable(i.flow.Steps), i.state != Compensating && c.Skip, i.state == Cancelling && i.from != c.From:
		s.refused(c, "INVALID")
		return nil
	}
	s.must(c)
	return func() {
		runs := len(still) == 0 && (i.state == Running || i.state == Failing || i.state == InQueue)
		if !slices.Equal(slices.Sorted(slices.Values(c.Answer.Steps)), names) || c.Answer.State != i.state || runs {
			fault("saga", "%s is answered %+v; %s is %s, and %v stood still", c.say(), c.Answer, i.id, i.state, names)
		}
		for _, r := range still {
			if r.state == Incident || c.Skip != (r.state == Skipped) {
				fault("saga", "%s is done, and %s is %s", c.say(), r.step.Name, r.state)
			}
		}
	}
}

func undoable(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Undo != nil || s.Body != nil && undoable(s.Body.Steps) })
}

// byHand: the command at hand is about what stands still of an instance, and about that run.
func (s *State) byHand(r *run, skip bool) bool {
	c := s.cause.command
	return c != nil && c.Kind == Compensate && c.Instance == r.of.id && c.Skip == skip && r.state == Incident && r.undoes != nil && r.of.since(c.From, r.undoes)
}

// runResumed: what stands still is tried again with all its attempts.
func (s *State) runResumed(f *Fact, r *run) {
	c := s.cause.command
	all := c != nil && c.Kind == RetryAll && c.Instance == f.Instance && (r.undoes != nil || r.wanted())
	if !s.byHand(r, false) && !((all || s.byOperator(Retry, f)) && r.state == Incident) {
		fault("saga", "%s of %s, which is %s, is tried again by %s", f.Step, f.Instance, r.state, s.cause.command.say())
	}
	s.dropLapsed(r)
	r.used, r.totalDeadline, r.retried = 0, 0, s.causes
	s.enter(r, Pending)
	s.saw(map[bool]Class{true: Resumed, false: StepRetried}[r.undoes != nil])
}
