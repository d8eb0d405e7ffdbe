package model

import "slices"

// origin is what an instance was forked from.
type origin struct {
	from   *instance
	step   string
	copies []*run // of the other, that are to be copied
	told   bool   // all of it
}

// before are the steps that one needs, and those that these need.
func (f *Workflow) before(name string) (steps []string) {
	for _, s := range f.Steps {
		if s.Name != name && f.behind(name, s.Name) {
			steps = append(steps, s.Name)
		}
	}
	return steps
}

// undoesOf: something that a run did is undone, or is to be when nothing of its instance is leased any more.
func (i *instance) undoesOf(r *run) bool {
	at := func(o *run) bool { return o == r || o.inside(r) }
	if slices.ContainsFunc(i.runs, func(o *run) bool { return o.undoes != nil && at(o.undoes) }) {
		return true
	}
	return (i.state == Failing || i.state == Cancelling) && slices.ContainsFunc(i.toUndo(nil), at)
}

// toCopy are the runs that a fork from a step has, or the codes as which it may be refused.
func (i *instance) toCopy(step string) (copies []*run, codes []string) {
	for _, name := range i.flow.before(step) {
		r := i.now(name)
		switch {
		case slices.ContainsFunc(r.step.Locks, func(w Want) bool { return w.Hold > 0 }), r.state == Cancelled, r.state == Failed && !r.handled(), i.undoesOf(r):
			codes = append(codes, "UPSTREAM_UNFIT")
		}
		if !over(r.state) {
			codes = append(codes, "UPSTREAM_PENDING")
		}
		copies = append(copies, r)
	}
	return copies, codes
}

// askFork decides on what forks an instance: the same again finds the first.
func (s *State) askFork(c *Command) func() {
	if i := s.instances[c.Fork]; i != nil {
		f := i.fork
		if f == nil || f.from.id != c.Instance || f.step != c.From || c.Version != 0 && (i.version == nil || i.version.number != c.Version) {
			s.refused(c, "INSTANCE_EXISTS")
			return nil
		}
		s.saw(ForkAgain)
		if s.must(c); !c.Answer.Existing || c.Answer.State != i.state || int(c.Answer.Copied) != len(f.copies) {
			fault("S5", "%s is answered %+v; the fork is %s, with %d copied", c.say(), c.Answer, i.state, len(f.copies))
		}
		return nil
	}
	from := s.instances[c.Instance]
	switch {
	case from == nil:
		s.refused(c, "INSTANCE_NOT_FOUND")
		return nil
	case c.Answer.Code == "OVERLOADED" && s.spent(c):
		return nil // the entry has done its share
	}
	if _, code := s.toStart(from.flow.Name, s.forkVersion(c, from)); code != "" {
		s.refused(c, code)
		return nil
	}
	if step, compensation := from.flow.step(c.From); step == nil || compensation {
		s.refused(c, "STEP_NOT_FOUND")
		return nil
	} else if !slices.ContainsFunc(from.flow.Steps, func(o Step) bool { return o.Name == c.From }) {
		s.refused(c, "INVALID")
		return nil
	}
	copies, codes := from.toCopy(c.From)
	if len(codes) > 0 {
		if !slices.Contains(codes, c.Answer.Code) {
			s.refused(c, codes[0])
		}
		s.saw(ForkRefused)
		return nil
	}
	s.must(c)
	waited := s.awaiting(c.Keys)
	return func() {
		i := s.instances[c.Fork]
		if i == nil || i.fork == nil || !i.fork.told || c.Answer.Existing || c.Answer.State != i.state || int(c.Answer.Copied) != len(copies) {
			fault("S5", "%s is answered %+v, and copies %d", c.say(), c.Answer, len(copies))
		}
		tookAll(waited, c.Fork)
	}
}

// forkVersion is the version that a fork is of.
func (s *State) forkVersion(c *Command, from *instance) int32 {
	if c.Version == 0 && from.version != nil {
		return from.version.number
	}
	return c.Version
}

// forked: an instance comes to be as the fork that is asked for.
func (s *State) forked(f *Fact) {
	c, from := s.cause.command, s.instances[f.Forked]
	if c == nil || c.Kind != Fork || c.Instance != f.Forked || c.Fork != f.Instance || c.From != f.Name || from == nil || s.instances[f.Instance] != nil || from.flow.Name != f.Workflow {
		fault("S5", "instance %s is forked from %s of %s by %s", f.Instance, f.Name, f.Forked, c.say())
	}
	copies, _ := from.toCopy(c.From)
	if int(f.Count) != len(copies) {
		fault("S4", "fork %s of %s copies %d runs; before %s are %d", f.Instance, f.Forked, f.Count, f.Name, len(copies))
	}
	i := &instance{id: f.Instance, flow: from.flow, input: from.input, keys: c.Keys, fork: &origin{from: from, step: c.From, copies: copies}}
	s.isOf(f, i, s.forkVersion(c, from))
	s.fresh = i
	s.comes(i)
}

// copied: a run of a fork has ended as it did in what that was forked from.
func (s *State) copied(f *Fact, r *run) {
	x := r.of.fork
	if x == nil || x.told || r.copied || r.state != Pending || f.Other != x.from.id {
		fault("S1", "step %s of %s is copied from %s while it is %s", f.Step, f.Instance, f.Other, r.state)
	}
	at := slices.IndexFunc(x.copies, func(o *run) bool { return o.step.Name == r.step.Name })
	if at < 0 {
		fault("S1", "step %s of %s is copied, and is not before %s", f.Step, f.Instance, x.step)
	}
	was := x.copies[at]
	if f.Name != was.state || f.Code != was.code && was.state == Failed {
		fault("S1", "step %s of %s is copied as %s %s; in %s it is %s %s", f.Step, f.Instance, f.Name, f.Code, f.Other, was.state, was.code)
	}
	r.copied, r.output, r.code, r.rejected = true, was.output, was.code, was.rejected
	s.enter(r, was.state)
	s.saw(map[string]Class{Completed: Copied, Skipped: CopiedSkip, Failed: CopiedFailure}[was.state])
}

// forkTold: it is told of what was forked, when the fork has all that it copies.
func (s *State) forkTold(f *Fact) {
	i := s.instances[f.Other]
	if i == nil || i.fork == nil || i.fork.from.id != f.Instance || i.fork.step != f.Name || int(f.Count) != len(i.fork.copies) || i.fork.told {
		fault("S5", "%s is told to be forked as %s from %s with %d", f.Instance, f.Other, f.Name, f.Count)
	}
	for _, was := range i.fork.copies {
		if !i.run(was.step.Name).copied {
			fault("S4", "fork %s of %s has step %s not copied", i.id, f.Instance, was.name)
		}
	}
	i.fork.told = true
	if over(i.fork.from.state) {
		s.saw(ForkEnded)
	} else {
		s.saw(ForkLive)
	}
}
