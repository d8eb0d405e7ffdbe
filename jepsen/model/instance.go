package model

import "slices"

// What happens to an instance as a whole: it comes to be, waits for its id, runs, stops and ends.

// start decides on what starts an instance.
func (s *State) start(c *Command) func() {
	flow := s.workflows[c.Workflow]
	if flow == nil || s.unknown(c) {
		s.refused(c, "WORKFLOW_NOT_FOUND")
		return nil
	}
	if c.Conflict != "" {
		if check := s.startOn(c, flow); check != nil {
			return check
		}
	} else if i := s.instance(c.Instance); i != nil {
		if !i.is(c, flow) {
			s.refused(c, "INSTANCE_EXISTS")
			return nil
		}
		if s.must(c); !c.Answer.Existing || c.Answer.State != i.state {
			fault("S4", "%s finds the instance %s; it is %s", c.say(), c.Answer.State, i.state)
		}
		return nil
	}
	if s.turnsAway(c) || c.Answer.Code == "WORKFLOW_NOT_FOUND" {
		return nil // it was not registered yet
	}
	s.must(c)
	waited := s.awaiting(c.Keys)
	return func() {
		if s.instance(c.Instance) == nil {
			fault("S5", "%s is told done, and there is no instance", c.say())
		}
		tookAll(waited, c.Instance)
	}
}

// cancel decides on what cancels one.
func (s *State) cancel(c *Command) func() {
	i := s.instance(c.Instance)
	switch {
	case i == nil:
		s.refused(c, "INSTANCE_NOT_FOUND")
		return nil
	case i.state == Completed, i.state == Failed:
		s.refused(c, "ALREADY_ENDED")
		return nil
	}
	s.must(c)
	return func() {
		if i.state != Cancelling && i.state != Cancelled && i.state != Compensating || i.state != c.Answer.State {
			fault("S4", "%s is told %s; the instance is %s", c.say(), c.Answer.State, i.state)
		}
	}
}

func (s *State) instanceStarted(f *Fact) {
	c := s.cause.command
	flow := s.workflows[f.Workflow]
	if i := s.instances[f.Instance]; i != nil && i.state == InQueue {
		s.dequeued(f, i)
		return
	}
	if f.Forked != "" {
		s.forked(f)
		return
	}
	if f.Other != "" && flow != nil {
		i := s.called(f)
		i.id, i.flow = f.Instance, flow
		s.isOf(f, i, 0)
		s.comes(i)
		return
	}
	x := s.startedBy(f)
	if x == nil && c != nil && c.Kind == Signal && (!c.Starts || len(s.keyed(c.Key)) > 0) {
		fault("S4", "instance %s is started by %s, whose key is that of %d", f.Instance, c.say(), len(s.keyed(c.Key)))
	}
	started := c != nil && (c.Kind == Start || c.Kind == Signal) && s.startsAs(c) == f.Instance && c.Workflow == f.Workflow || x != nil && x.plan.Workflow == f.Workflow
	if !started || flow == nil || s.instances[f.Instance] != nil || s.newborn != nil {
		fault("S5", "instance %s of %s is started by %s", f.Instance, f.Workflow, c.say())
	}
	i := &instance{id: f.Instance, flow: flow}
	if x != nil {
		i.plan, i.input, s.newborn = x.name, x.plan.Input, i
		s.isOf(f, i, 0)
	} else {
		s.isOf(f, i, c.Version)
		i.input, i.keys, s.fresh = c.Input, c.Keys, i
		s.startsNext(f, i, c)
	}
	s.comes(i)
}

func (s *State) comes(i *instance) {
	s.enrol(i)
	s.goesOn(i)
}

// enrol has an instance come to be.
func (s *State) enrol(i *instance) {
	i.seen = map[string]*seen{}
	s.since(i.activate(nil, i.flow.Steps).runs)
	s.instances[i.id] = i
	s.touch(i)
}

// goesOn has an instance run from now on.
func (s *State) goesOn(i *instance) {
	i.state, i.startedAt, i.ran = Running, s.Wall, true
	if i.deadline = after(s.Uptime, i.flow.Total); i.deadline > 0 {
		s.limited = append(s.limited, i)
	}
	s.touch(i)
}

func (s *State) instanceChanged(f *Fact, i *instance) {
	if f.Kind == "instance.paused" || f.Kind == "instance.resumed" {
		s.pauseFact(f, i)
		return
	}
	if f.Kind == "instance.resolved" || f.Kind == "instance.reopened" {
		s.resolutionFact(f, i)
		return
	}
	if f.Kind == "instance.compensating" {
		s.compensationBegun(f, i)
		return
	}
	to := map[string]string{
		"instance.completed": Completed, "instance.failing": Failing, "instance.failed": Failed,
		"instance.cancelling": Cancelling, "instance.cancelled": Cancelled,
	}[f.Kind]
	c := s.cause.command
	legal := map[string]bool{
		Completed: i.state == Running,
		Failing:   i.state == Running && (s.timeout(f, i) || slices.ContainsFunc(i.runs, func(r *run) bool { return r.frame.owner == nil && r.state == Failed && !r.handled() })),
		Failed:    i.mayEnd(Failed, Failing),
		Cancelling: to == Cancelling && s.byParent(i) || (i.state == Running || i.state == Failing || i.state == InQueue) &&
			(c != nil && (c.Kind == Cancel || c.Kind == Compensate && c.From == f.Name) && c.Instance == i.id || s.replaces(i) || s.replacesID(f, i)),
		Cancelled: i.mayEnd(Cancelled, Cancelling),
	}[to]
	if !legal {
		fault("S1", "%s of %s, which is %s, by %s", f.Kind, i.id, i.state, c.say())
	}
	if to == Failing && f.Code == "TIMEOUT" {
		s.saw(TimeoutWhole)
	}
	if i.state, i.code = to, f.Code; to == Cancelling {
		i.from = f.Name
	}
	if over(to) {
		s.rests(f, i)
		s.freed(i)
		s.leavesLine(i)
		if i.version != nil {
			i.version.live--
		}
	}
	s.touch(i)
}
