package model

import (
	"fmt"
	"slices"
)

// Given is a correlation key that a step gives its instance: the value has the number in the step's output behind it.
type Given struct{ Name, Before string }

// mostKeys is how many keys an instance has.
const mostKeys = 16

// byKey: a step waits by a key, and not for one instance.
func (s *Step) byKey() bool { return s.Await != nil && s.Await.Key != "" }

// awaitsKey is the key by which a run waits.
func (r *run) awaitsKey() Key { return Key{r.step.Await.Key, r.other} }

// members are the instances for which a wait by a key is: all that have it and were begun, ended or not, but its own, and of those that
// have the step.
func (s *State) members(r *run) (list []*instance) {
	name := r.otherStep()
	for _, i := range s.instances {
		if i == r.of || !i.ran || !slices.Contains(i.keys, r.awaitsKey()) {
			continue
		}
		if name == "" || slices.ContainsFunc(i.flow.Steps, func(o Step) bool { return o.Name == name }) {
			list = append(list, i)
		}
	}
	return list
}

// stands is how an instance has ended, or a step of it; empty when it has not.
func (i *instance) stands(step string) (state, code string) {
	state, code = i.state, i.code
	if step != "" {
		r := i.now(step)
		state, code = r.state, r.code
	}
	if !over(state) {
		return "", ""
	}
	if state == Cancelled {
		return Failed, Cancelled
	}
	return state, code
}

// muster is what a wait by a key knows of its members.
type muster struct {
	open, skipped int
	done          []string
	codes         []string // of those that failed
}

func (s *State) muster(r *run) (m muster) {
	for _, i := range s.members(r) {
		switch state, code := i.stands(r.otherStep()); state {
		case Completed:
			m.done = append(m.done, i.id)
		case Skipped:
			m.skipped++
		case Failed:
			m.codes = append(m.codes, code)
		default:
			m.open++
		}
	}
	return m
}

// endsByKey is how a wait by a key is to end; empty when it is not.
func (s *State) endsByKey(r *run) (state string) {
	m := s.muster(r)
	switch of := r.step.Await.Of; {
	case of > 0 && len(m.done) >= of:
		return Completed
	case of > 0:
		return ""
	case len(m.codes) > 0:
		return Failed
	case m.open > 0 || len(m.done)+m.skipped == 0:
		return ""
	case len(m.done) == 0:
		return Skipped
	}
	return Completed
}

// satisfies: a wait by a key says how many completed, and names some that did.
func (s *State) satisfies(f *Fact, r *run) {
	m, of := s.muster(r), r.step.Await.Of
	want := of
	if of == 0 {
		want = len(m.done)
	}
	if int(f.Count) != want || len(f.Instances) != min(want, 16) {
		fault("S1", "step %s of %s goes on with %d instances, %v; there are %v", f.Step, f.Instance, f.Count, f.Instances, m.done)
	}
	for at, id := range f.Instances {
		if !slices.Contains(m.done, id) || at > 0 && f.Instances[at-1] >= id {
			fault("S1", "step %s of %s goes on with %v; there are %v", f.Step, f.Instance, f.Instances, m.done)
		}
	}
	switch {
	case of == 0:
		s.saw(KeyAll)
	case of == 1:
		s.saw(KeyAny)
	default:
		s.saw(KeySome)
	}
}

// failsByKey: a wait for all fails as one of them did.
func (s *State) failsByKey(f *Fact, r *run) bool {
	if !r.depends() || s.endsByKey(r) != Failed || !slices.Contains(s.muster(r).codes, f.Code) {
		return false
	}
	s.saw(KeyAllFailed)
	return true
}

// gives are the keys that the completion of a run gives its instance, which it does not have; conflicts when it cannot have them.
func (r *run) gives(output int64) (fresh []Key, conflicts bool) {
	for _, g := range r.step.Keys {
		k := Key{g.Name, fmt.Sprint(g.Before, output)}
		at := slices.IndexFunc(r.of.keys, func(o Key) bool { return o.Name == k.Name })
		switch {
		case at < 0:
			fresh = append(fresh, k)
		case r.of.keys[at] != k:
			conflicts = true
		}
	}
	return fresh, conflicts || len(r.of.keys)+len(fresh) > mostKeys
}

// keyGiven: an instance has one more key with the completion of a step, and what is kept under it is its.
func (s *State) keyGiven(f *Fact, r *run) {
	c := s.cause.command
	fresh, _ := r.gives(r.output)
	if c == nil || c.Kind != Complete && c.Kind != Resolve || c.Instance != f.Instance || c.Step != f.Step || r.state != Completed || !slices.Contains(fresh, f.Key) {
		fault("S1", "step %s of %s gives %v, while it is %s, by %s", f.Step, f.Instance, f.Key, r.state, c.say())
	}
	r.of.keys = append(r.of.keys, f.Key)
	s.given, s.changed = r.of, true
	s.saw(KeyGiven)
	s.touch(r.of)
}

// takesGiven checks behind a completion that the instance has the keys that it gives, and what was kept under them.
func (s *State) takesGiven(c *Command, r *run, waited []*letter) {
	if fresh, _ := r.gives(c.Output); len(fresh) > 0 {
		fault("S1", "%s is told done, and the instance does not have %v", c.say(), fresh)
	}
	for _, l := range waited {
		if l.kept > 0 && r.of.seen[l.id] == nil && !over(r.of.state) {
			fault("S4", "%s gives a key under which signal %s is left", c.say(), l.id)
		}
	}
}

// behindKey are the waits that must end before a wait for all that have a key does. A number of them may come any time.
func (s *State) behindKey(r *run, waits func(*run) bool, fn func(*run)) {
	if r.step.Await.Of > 0 {
		return
	}
	for _, i := range s.members(r) {
		for _, o := range i.runs {
			if !over(i.state) && waits(o) && r.waitsBehind(o) {
				fn(o)
			}
		}
	}
}
