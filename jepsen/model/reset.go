package model

import "slices"

// upTo is the newest run of a step that is in no other, of the resets up to one.
func (i *instance) upTo(step string, place int) (newest *run) {
	for _, r := range i.runs {
		if r.undoes == nil && r.frame.owner == nil && r.step.Name == step && r.frame.place <= place {
			newest = r
		}
	}
	return newest
}

// now is the newest run of a step that is in no other.
func (i *instance) now(step string) *run { return i.upTo(step, i.resets) }

// superseded: a run, or what it is inside of, was set back.
func (r *run) superseded() bool {
	if r.of.resets == 0 {
		return false
	}
	for r.frame.owner != nil {
		r = r.frame.owner
	}
	return r.undoes == nil && r.of.now(r.step.Name) != r
}

// back are the steps that are set back with one: it, what is behind it, and all of a race in which one of these is.
func (f *Workflow) back(from string) (steps []string) {
	is := map[string]bool{from: true}
	for more := true; more; {
		more = false
		for _, s := range f.Steps {
			too := slices.ContainsFunc(s.Needs, func(need string) bool { return is[need] })
			for _, o := range f.Steps {
				too = too || o.Race && slices.Contains(o.Needs, s.Name) && slices.ContainsFunc(o.Needs, func(need string) bool { return is[need] })
			}
			if too && !is[s.Name] {
				is[s.Name], more = true, true
			}
		}
	}
	for _, s := range f.Steps {
		if is[s.Name] {
			steps = append(steps, s.Name)
		}
	}
	return steps
}

// gated: what is done anew waits until what was called before, by a step that it has too, has ended, and what such a step did is undone.
func (r *run) gated() bool {
	if r.of.resets == 0 || r.frame.owner != nil || r.undoes != nil {
		return false
	}
	return slices.ContainsFunc(r.of.runs, func(o *run) bool {
		outer := o.outermost()
		return o.leaves() && outer.frame.place < r.frame.place && slices.ContainsFunc(r.frame.runs, func(b *run) bool { return b.step == outer.step })
	})
}

// leaves: a run was set back and has called what did not end yet, or it undoes what was.
func (r *run) leaves() bool {
	return !over(r.state) && (r.undoes != nil || r.calls()) && r.outermost().superseded()
}

// outermost is the run of a step in no other that a run is, undoes, or is inside of.
func (r *run) outermost() *run {
	if r.undoes != nil {
		r = r.undoes
	}
	for r.frame.owner != nil {
		r = r.frame.owner
	}
	return r
}

// back is who undoes what was set back.
type back struct{}

// openOf are the runs of steps, and inside them, that have not ended, but for what was set back before.
func (i *instance) openOf(steps []string) (open []*run) {
	for _, r := range i.runs {
		outer := r.outermost()
		if r.undoes == nil && !over(r.state) && slices.Contains(steps, outer.step.Name) && !outer.superseded() {
			open = append(open, r)
		}
	}
	return open
}

// askReset decides on what sets an instance back. It names the run that is set back, once: the same again finds that.
func (s *State) askReset(c *Command) func() {
	i := s.instances[c.Instance]
	if i == nil {
		s.refused(c, "INSTANCE_NOT_FOUND")
		return nil
	}
	if step, compensation := i.flow.step(c.From); step == nil || compensation {
		s.refused(c, "STEP_NOT_FOUND")
		return nil
	} else if !slices.ContainsFunc(i.flow.Steps, func(o Step) bool { return o.Name == c.From }) {
		s.refused(c, "INVALID")
		return nil
	}
	r, back := i.now(c.From), i.flow.back(c.From)
	if i.run(named(c.From, c.Index)) == nil {
		s.refused(c, "RUN_NOT_FOUND")
		return nil
	}
	if c.Index < r.frame.place {
		s.saw(SetBackAgain)
		if s.must(c); !c.Answer.Existing || c.Answer.Index != r.frame.place || c.Answer.Back != len(back) || c.Answer.State != i.state {
			fault("S5", "%s is answered %+v; the newest activation is %d", c.say(), c.Answer, r.frame.place)
		}
		return nil
	}
	code := ""
	switch {
	case over(i.state):
		code = "ALREADY_ENDED"
	case i.state != Running:
		code = "NOT_RUNNING"
	case r.state == Pending:
		code = "STEP_NOT_BEGUN"
	case c.Answer.Code == "OVERLOADED" && s.spent(c):
		return nil // the entry has done its share
	case slices.ContainsFunc(i.openOf(back), func(r *run) bool {
		return r.stage != stageRunning || r.calls() && (r.frame.owner != nil || c.Compensate)
	}),
		c.Compensate && slices.ContainsFunc(i.runs, (*run).leaves):
		code = "RESET_BUSY"
	}
	if code != "" {
		s.saw(SetBackRefused)
		s.refused(c, code)
		return nil
	}
	s.must(c)
	resets, undo := i.resets, 0
	if c.Compensate {
		undo = len(i.toUndoBack(back))
	}
	return func() {
		if i.resets != resets+1 || c.Answer.Undone != undo || c.Answer.Existing || c.Answer.Index != i.resets || c.Answer.Back != len(back) || c.Answer.State != i.state {
			fault("S5", "%s is answered %+v, and %s was set back %d times", c.say(), c.Answer, i.id, i.resets)
		}
	}
}

// setBack: new runs of the steps come to be, which supersede the others.
func (s *State) setBack(f *Fact) {
	c, i := s.cause.command, s.instances[f.Instance]
	if c == nil || c.Kind != Reset || c.Instance != f.Instance || c.From != f.Name || i == nil || i.state != Running || f.Index != i.resets+1 {
		fault("S5", "instance %s is set back to %s for the %dth time by %s", f.Instance, f.Name, f.Index, c.say())
	}
	back := i.flow.back(f.Name)
	if int(f.Count) != len(back) {
		fault("S4", "%d steps of %s are set back to %s; there are %v", f.Count, f.Instance, f.Name, back)
	}
	for _, r := range i.openOf(back) {
		switch {
		case r.state == Leased:
			s.saw(SetBackLeased)
		case r.state == Incident:
			s.saw(SetBackStill)
		case r.calls():
			s.saw(SetBackCall)
		case len(r.frames) > 0:
			s.saw(SetBackBody)
		}
	}
	if s.saw(SetBack); i.resets > 0 {
		s.saw(SetBackTwice)
	}
	if i.paused {
		s.saw(SetBackPaused)
	}
	if i.now(f.Name).state == Completed {
		s.saw(SetBackDone)
	}
	var undo []*run
	if c.Compensate {
		undo = i.toUndoBack(back)
	}
	if (f.Code == "COMPENSATE") != c.Compensate {
		fault("S5", "instance %s is set back as %q by %s", f.Instance, f.Code, c.say())
	}
	i.resets++
	frame := &frame{place: i.resets}
	for at := range i.flow.Steps {
		step := &i.flow.Steps[at]
		if !slices.Contains(back, step.Name) {
			continue
		}
		r := &run{of: i, step: step, name: named(step.Name, i.resets), frame: frame, state: Pending}
		r.other = r.names()
		frame.runs, i.runs = append(frame.runs, r), append(i.runs, r)
	}
	if i.beginUndo(undo); len(undo) > 0 {
		s.saw(SetBackUndoes)
	}
	s.since(i.runs)
	s.changed = true
	s.touch(i)
}

// toUndoBack are the runs that a reset undoes: what completed of steps that are set back, and inside them.
func (i *instance) toUndoBack(steps []string) []*run {
	return slices.DeleteFunc(i.toUndo(nil), func(r *run) bool { return !slices.Contains(steps, r.outermost().step.Name) })
}
