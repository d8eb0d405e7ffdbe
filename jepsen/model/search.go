package model

import "slices"

// Filter is what instances are to be; what is empty, or zero, is anything.
type Filter struct {
	State, Workflow string
	Version         int32
	Key             Key
	// It lives, and there was no fact about it for so long, in nanoseconds of the wall.
	StuckFor int64
}

// grown keeps when there was a fact about an instance.
func (s *State) grown(f *Fact) {
	if i := s.instances[f.Instance]; i != nil {
		if i.changedAt = s.Wall; i.acceptedPosition == 0 {
			i.acceptedAt, i.acceptedPosition = s.Wall, f.Position
		}
	}
}

// is says whether an instance is what a filter says, but for its version. How long nothing has happened is counted from a time.
func (s *State) is(i *instance, f Filter, now int64) bool {
	switch {
	case f.State != "" && f.State != i.state, f.Workflow != "" && f.Workflow != i.flow.Name:
		return false
	case f.Key != Key{} && !slices.Contains(i.keys, f.Key):
		return false
	}
	return f.StuckFor <= 0 || !over(i.state) && i.changedAt <= now-f.StuckFor
}

// Matching lists the instances that are so, by id. Of a version it lists those alone of which the version is known; unsure says that
// there are others.
func (s *State) Matching(f Filter) (ids []string, unsure bool) {
	for id, i := range s.instances {
		switch {
		case !s.is(i, f, s.Wall):
		case f.Version > 0 && i.version == nil:
			unsure = true
		case f.Version > 0 && i.version.number != f.Version:
		default:
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, unsure
}

// Troubled lists what needs a person: runs that stand still, by instance and name, and instances that have failed unless only the first are
// asked for; of these, those that were resolved only if they are asked for too.
func (s *State) Troubled(standing, resolved bool) (names []string) {
	for id, i := range s.instances {
		if i.state == Failed && !standing && (resolved || !i.resolved) {
			names = append(names, id)
		}
		for _, r := range i.runs {
			if r.state == Incident {
				names = append(names, id+"/"+r.name)
			}
		}
	}
	slices.Sort(names)
	return names
}
