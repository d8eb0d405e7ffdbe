package model

import "slices"

// version of a workflow. All of one have the same steps here: what differs is what is started of them.
type version struct {
	number  int32
	live    int64
	drained bool
}

// toStart is the version that a start takes: the newest that is not drained, unless it says which. Without one that is known to be
// registered it is none, and no refusal.
func (s *State) toStart(workflow string, wanted int32) (v *version, code string) {
	known := s.versions[workflow]
	if wanted != 0 {
		switch v := s.version(workflow, wanted); {
		case len(known) == 0:
			return nil, ""
		case v == nil:
			return nil, "WORKFLOW_NOT_FOUND"
		case v.drained:
			return nil, "VERSION_DRAINED"
		default:
			return v, ""
		}
	}
	for _, v := range slices.Backward(known) {
		if !v.drained {
			return v, ""
		}
	}
	if len(known) == 0 {
		return nil, ""
	}
	return nil, "VERSION_DRAINED"
}

func (s *State) version(workflow string, number int32) *version {
	for _, v := range s.versions[workflow] {
		if v.number == number {
			return v
		}
	}
	return nil
}

// unknown says that a start names a version that is not registered.
func (s *State) unknown(c *Command) bool {
	return c.Version != 0 && len(s.versions[c.Workflow]) > 0 && s.version(c.Workflow, c.Version) == nil
}

// turnsAway refuses a start of which there is no version to start.
func (s *State) turnsAway(c *Command) bool {
	_, code := s.toStart(c.Workflow, c.Version)
	if code == "VERSION_DRAINED" {
		s.saw(StartDrained)
	}
	if code != "" {
		s.refused(c, code)
	}
	return code != ""
}

// isOf: an instance that comes to be is of the version that is to be started.
func (s *State) isOf(f *Fact, i *instance, wanted int32) {
	v, code := s.toStart(f.Workflow, wanted)
	number := int32(0)
	if v != nil {
		number = v.number
	}
	if code != "" || number != f.Version {
		fault("S4", "instance %s is of version %d of %s; a start takes %d %s", f.Instance, f.Version, f.Workflow, number, code)
	}
	if i.version = v; v != nil {
		v.live++
		if wanted == 0 && v != s.versions[f.Workflow][len(s.versions[f.Workflow])-1] {
			s.saw(StartOlder)
		}
	}
}

// is says whether an instance is what a start asks for.
func (i *instance) is(c *Command, flow *Workflow) bool {
	return i.flow == flow && i.input == c.Input && (c.Version == 0 || i.version != nil && c.Version == i.version.number)
}

func (s *State) registered(f *Fact) {
	if s.cause.command == nil || s.cause.command.Kind != Register || s.version(f.Workflow, f.Version) != nil {
		fault("S7", "version %d of workflow %s is registered without anybody asking", f.Version, f.Workflow)
	}
	s.versions[f.Workflow] = append(s.versions[f.Workflow], &version{number: f.Version})
	slices.SortFunc(s.versions[f.Workflow], func(a, b *version) int { return int(a.number - b.number) })
}

// askDrain decides on what has a version start nothing any more, or start again.
func (s *State) askDrain(c *Command) func() {
	v := s.version(c.Workflow, c.Version)
	switch {
	case len(s.versions[c.Workflow]) == 0:
		s.refused(c, "WORKFLOW_NOT_FOUND")
		return nil
	case c.Version == 0:
		s.refused(c, "INVALID")
		return nil
	case v == nil:
		s.refused(c, "WORKFLOW_NOT_FOUND")
		return nil
	}
	s.must(c)
	return func() {
		if v.drained != (c.Kind == Drain) || c.Answer.Drained != v.drained || c.Answer.Live != v.live {
			fault("S4", "%s is answered drained: %v, %d live; it is %v, %d", c.say(), c.Answer.Drained, c.Answer.Live, v.drained, v.live)
		}
	}
}

func (s *State) drainFact(f *Fact) {
	c, v := s.cause.command, s.version(f.Workflow, f.Version)
	drains := f.Kind == "workflow.drained"
	asked := c != nil && c.Kind == map[bool]Kind{true: Drain, false: Undrain}[drains] && c.Workflow == f.Workflow && c.Version == f.Version
	if !asked || v == nil || v.drained == drains || int64(f.Count) != v.live {
		fault("S4", "%s of %s version %d, of which %d live, by %s", f.Kind, f.Workflow, f.Version, f.Count, c.say())
	}
	v.drained = drains
	s.saw(map[bool]Class{true: Drained, false: Undrained}[drains])
}

// Version shows a version of a workflow, if it was registered.
func (s *State) Version(workflow string, number int32) (live int64, drained, known bool) {
	v := s.version(workflow, number)
	if v == nil {
		return 0, false, false
	}
	return v.live, v.drained, true
}
