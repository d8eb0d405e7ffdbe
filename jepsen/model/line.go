package model

import "slices"

// What becomes of a start whose id is taken.
const (
	FindsIt      = "EXISTING"
	FailsByIt    = "FAIL"
	QueuesBehind = "QUEUE"
	TakesIt      = "REPLACE"
)

// InQueue is the state of an instance that waits for the end of the one that has its id.
const InQueue = "QUEUED"

// line is the starts of an id.
type line struct {
	id     string
	holder *instance // was started last: it has the id until it has ended
	queued []*instance
}

// mostQueued is how many wait for one id.
const mostQueued = 100

// headed finds the starts of an id that was used. One of several may itself be an id of which there are several.
func (s *State) headed(id string) *line {
	first := s.instances[id]
	if first.heads == nil {
		first.heads = &line{id: id, holder: first}
	}
	return first.heads
}

// next is what a start is called where the id is taken.
func (c *Command) next() string { return c.Instance + "~" + c.StartID }

// startsAs is what a start that is decided now has to be called.
func (s *State) startsAs(c *Command) string {
	if c.Conflict == "" || s.instances[c.Instance] == nil {
		return c.Instance
	}
	return c.next()
}

// before is the instance that the same start came to before.
func (s *State) before(c *Command) *instance {
	first := s.instances[c.Instance]
	if c.StartID == "" {
		return nil
	}
	if first.startID == c.StartID {
		return first
	}
	return s.instances[c.next()]
}

// startOn decides on a start that says what becomes of it when its id is taken.
func (s *State) startOn(c *Command, flow *Workflow) func() {
	if s.instances[c.Instance] == nil {
		return nil // it starts as any other
	}
	x := s.headed(c.Instance)
	if i := s.before(c); i != nil {
		if i.of != c.Instance || !i.is(c, flow) {
			s.refused(c, "INSTANCE_EXISTS")
		} else {
			s.saw(StartAgain)
			s.found(c, i, x)
		}
		return func() {}
	}
	taken := !over(x.holder.state)
	switch {
	case (c.StartID == "" || taken) && c.Conflict == FailsByIt:
		s.saw(IDRefused)
		s.refused(c, "INSTANCE_EXISTS")
		return func() {}
	case (c.StartID == "" || taken) && c.Conflict == FindsIt:
		s.saw(IDFound)
		s.found(c, x.holder, x)
		return func() {}
	case s.turnsAway(c):
		return func() {}
	case c.Conflict == QueuesBehind && taken && len(x.queued) >= mostQueued:
		s.refused(c, "OVERLOADED")
		return func() {}
	case c.Answer.Code == "WORKFLOW_NOT_FOUND": // it was not registered yet
		return func() {}
	}
	s.must(c)
	holder, waited := x.holder, slices.Clone(x.queued)
	return func() {
		i := s.instances[c.next()]
		if i == nil || i.of != c.Instance || i.startID != c.StartID {
			fault("S5", "%s is told done, and there is no instance %s", c.say(), c.next())
		}
		s.answersFor(c, i, x)
		if c.Answer.Existing || !taken && i.state == InQueue {
			fault("S5", "%s starts %s, and is answered %+v", c.say(), i.id, c.Answer)
		}
		if c.Conflict != TakesIt || !taken {
			return
		}
		s.saw(IDReplaced)
		for _, o := range waited {
			if !over(o.state) {
				fault("S4", "%s replaces %s, which is %s", c.say(), o.id, o.state)
			}
		}
		if holder.state == Running || holder.state == Failing {
			fault("S4", "%s is to take the id of %s, which is %s", c.say(), holder.id, holder.state)
		}
	}
}

// found: a start is answered with an instance that was there.
func (s *State) found(c *Command, i *instance, x *line) {
	if s.must(c); !c.Answer.Existing {
		fault("S5", "%s finds %s, and is not told so", c.say(), i.id)
	}
	s.answersFor(c, i, x)
}

func (s *State) answersFor(c *Command, i *instance, x *line) {
	place := slices.Index(x.queued, i) + 1
	if a := c.Answer; a.Instance != i.id || a.State != i.state || int(a.Place) != place {
		fault("S4", "%s is answered %s, %s at place %d; it is %s, %s at place %d", c.say(), a.Instance, a.State, a.Place, i.id, i.state, place)
	}
}

// instanceQueued: a start waits for who has its id.
func (s *State) instanceQueued(f *Fact) {
	c, flow := s.cause.command, s.workflows[f.Workflow]
	if c == nil || c.Kind != Start || c.Conflict != QueuesBehind && c.Conflict != TakesIt || flow == nil || s.instances[c.Instance] == nil ||
		f.Instance != c.next() || f.Name != c.Instance || f.Workflow != c.Workflow || s.instances[f.Instance] != nil {
		fault("S5", "instance %s of %s is queued by %s", f.Instance, f.Workflow, c.say())
	}
	x := s.headed(c.Instance)
	if over(x.holder.state) || c.Conflict == TakesIt && len(x.queued) > 0 {
		fault("S4", "instance %s is queued behind %s, which is %s, and %d others", f.Instance, x.holder.id, x.holder.state, len(x.queued))
	}
	i := &instance{id: f.Instance, flow: flow, of: x.id, startID: c.StartID, input: c.Input, keys: c.Keys, state: InQueue}
	s.isOf(f, i, c.Version)
	s.enrol(i)
	x.queued = append(x.queued, i)
	i.line = x
	s.saw(IDQueued)
	s.changed = true
}

// dequeued: what waited first starts, for nobody has the id.
func (s *State) dequeued(f *Fact, i *instance) {
	x := i.line
	if x.queued[0] != i || !over(x.holder.state) || f.Name != x.id || f.Workflow != i.flow.Name || i.version != nil && f.Version != i.version.number {
		fault("S5", "instance %s starts, and %s has its id, which is %s; the first of those that wait is %s", i.id, x.holder.id, x.holder.state, x.queued[0].id)
	}
	x.queued = x.queued[1:]
	x.holder, s.fresh = i, i
	s.cause.born = append(s.cause.born, i)
	s.saw(IDDequeued)
	s.goesOn(i)
}

// startsNext: one more is started under an id that nobody has.
func (s *State) startsNext(f *Fact, i *instance, c *Command) {
	if i.of, i.startID = c.Instance, c.StartID; i.id == c.Instance {
		return
	}
	x := s.headed(c.Instance)
	if !over(x.holder.state) || len(x.queued) > 0 || f.Name != x.id || c.StartID == "" {
		fault("S5", "instance %s starts under an id that %s has, which is %s", i.id, x.holder.id, x.holder.state)
	}
	x.holder, i.line = i, x
	s.saw(IDFree)
}

// replacesID: a start has an instance stopped that has its id, or that waits for it.
func (s *State) replacesID(f *Fact, i *instance) bool {
	c := s.cause.command
	if c == nil || c.Kind != Start || c.Conflict != TakesIt || f.Code != "REPLACED" || s.instances[c.Instance] == nil {
		return false
	}
	x := s.headed(c.Instance)
	return i == x.holder && s.instances[c.next()] != nil || slices.Contains(x.queued, i)
}

// leavesLine: an instance has ended, and waits no more, or leaves its id to the next.
func (s *State) leavesLine(i *instance) {
	for _, x := range []*line{i.line, i.heads} {
		if x == nil {
			continue
		}
		if at := slices.Index(x.queued, i); at >= 0 {
			x.queued = slices.Delete(x.queued, at, at+1)
			s.saw(QueuedCancelled)
		}
		s.touched.lines = append(s.touched.lines, x)
	}
}

// linesWhole: nobody waits for an id that nobody has.
func (s *State) linesWhole() {
	for _, x := range s.touched.lines {
		if over(x.holder.state) && len(x.queued) > 0 {
			fault("liveness", "%d wait for the id %s, and %s, which had it, is %s", len(x.queued), x.id, x.holder.id, x.holder.state)
		}
	}
	s.touched.lines = s.touched.lines[:0]
}

// queuedWhole: of what is queued nothing is begun.
func (i *instance) queuedWhole() {
	for _, r := range i.runs {
		if r.state != Pending {
			fault("S1", "%s is queued, and its step %s is %s", i.id, r.name, r.state)
		}
	}
}

// ahead are who has the id of a queued instance, and those that wait before it.
func (i *instance) ahead() (list []*instance) {
	if i == nil || i.state != InQueue {
		return nil
	}
	list = append(list, i.line.holder)
	return append(list, i.line.queued[:slices.Index(i.line.queued, i)]...)
}

// Line tells who has the id that an instance was started under, and who waits for it.
func (s *State) Line(id string) (holder string, queued []string) {
	if i := s.instances[id]; i.line != nil {
		id = i.line.id
	}
	if s.instances[id] == nil { // it is gone, and who was started behind it has ended
		return "", nil
	}
	x := s.headed(id)
	for _, i := range x.queued {
		queued = append(queued, i.id)
	}
	return x.holder.id, queued
}
