package model

import (
	"fmt"
	"slices"
)

// Call is what a step starts: an instance of another workflow, whose input is the number in that of its own and Add.
type Call struct {
	Workflow        string
	Detach, Abandon bool
	Add             int64
}

// Await is what a step waits for: that an instance ends, or a step of it. Its id has the number in the input and Add in the middle. With a
// Key that is the key's value, and as many as Of, or where that is zero all that have it, are waited for.
type Await struct {
	Before, Behind string
	Add            int64
	Step           string
	Key            string
	Of             int
}

// names is the id of the instance that a step waits for.
func (r *run) names() string {
	switch s := r.step; {
	case s.Call != nil:
		return r.of.id + ":" + r.name
	case s.Await != nil:
		return fmt.Sprintf("%s%d%s", s.Await.Before, r.of.input+s.Await.Add, s.Await.Behind)
	}
	return ""
}

func (r *run) otherStep() string {
	if r.step.Await != nil {
		return r.step.Await.Step
	}
	return ""
}

func (s *Step) depends() bool { return s.Call != nil || s.Await != nil }

// depends: a run waits for another instance. A call does from its beginning on.
func (r *run) depends() bool {
	return r.state == Waiting && r.step.depends() && (r.begun || r.step.Call == nil)
}

// calls: an instance lives that a run called, and is cancelled with it.
func (r *run) calls() bool { return r.step.Call != nil && r.depends() && !r.step.Call.Abandon }

// stops: a run waits until what it called has ended, for it has stopped.
func (r *run) stops() bool { return r.calls() && (r.stage == stageUndoing || !r.wanted()) }

// ends is how that has ended which a run waits for, as the run then does; empty when it has not.
func (s *State) ends(r *run) (state, code string) {
	if r.step.byKey() {
		return s.endsByKey(r), ""
	}
	i := s.instance(r.other)
	if i == nil {
		return "", ""
	}
	name := r.otherStep()
	if name == "" {
		switch i.state {
		case Completed:
			return Completed, ""
		case Failed:
			return Failed, i.code
		case Cancelled:
			return Failed, Cancelled
		}
		return "", ""
	}
	if !slices.ContainsFunc(i.flow.Steps, func(o Step) bool { return o.Name == name }) {
		return Failed, "STEP_NOT_FOUND"
	}
	switch o := i.now(name); o.state {
	case Completed, Skipped:
		return o.state, ""
	case Failed:
		return Failed, o.code
	case Cancelled:
		return Failed, Cancelled
	}
	return "", ""
}

// called starts the instance that a run called, once, and while that is wanted.
func (s *State) called(f *Fact) *instance {
	p := s.run(f.Other, f.OtherStep)
	if p == nil || p.step.Call == nil || p.state != Waiting || p.begun || !p.wanted() || p.of.paused || s.cause.command != nil ||
		f.Instance != p.other || f.Workflow != p.step.Call.Workflow || s.instances[f.Instance] != nil {
		fault("S1", "instance %s of %s is called by step %s of %s", f.Instance, f.Workflow, f.OtherStep, f.Other)
	}
	p.begun, s.changed = true, true
	s.touch(p.of)
	return &instance{input: p.of.input + p.step.Call.Add, parent: p}
}

// dependsOn has a run wait for another instance: as its definition says.
func (s *State) dependsOn(f *Fact, r *run) {
	if r.step.byKey() && (f.Code != "KEY" || f.Key != r.awaitsKey() || int(f.Count) != r.step.Await.Of || f.OtherStep != r.otherStep()) {
		fault("S1", "step %s of %s waits for %d by %v, and is to wait by %v", f.Step, f.Instance, f.Count, f.Key, r.awaitsKey())
	}
	if !r.step.byKey() && (f.Other != r.other || f.OtherStep != r.otherStep()) {
		fault("S1", "step %s of %s waits for %s of %q, and is to wait for %s of %q", f.Step, f.Instance, f.OtherStep, f.Other, r.otherStep(), r.other)
	}
	s.dependents, s.changed = append(s.dependents, r), true
}

// answered says whether what a run waits for is completed, so that it is.
func (s *State) answered(r *run) bool {
	if r.step.Call != nil && r.step.Call.Detach {
		return r.begun && r.wanted()
	}
	state, _ := s.ends(r)
	if !r.depends() || state != Completed {
		return false
	}
	switch {
	case r.step.byKey():
	case r.step.Call != nil:
		s.saw(CallDone)
	case r.step.Await.Step == "":
		s.saw(AwaitDone)
	default:
		s.saw(AwaitStep)
	}
	return true
}

// failsWith: a run fails as what it waits for did, or because it closes a cycle of waits.
func (s *State) failsWith(f *Fact, r *run) bool {
	if r.state != Waiting || !r.step.depends() || s.cause.command != nil || !r.wanted() {
		return false
	}
	if f.Code == "AWAIT_CYCLE" && r.step.Await != nil && s.circular(r) {
		s.saw(AwaitCycle)
		return true
	}
	if r.step.byKey() {
		return s.failsByKey(f, r)
	}
	if call := r.step.Call; call != nil && !r.begun && f.Code == "VERSION_DRAINED" {
		_, code := s.toStart(call.Workflow, 0)
		s.saw(CallDrained)
		return code == f.Code
	}
	if r.step.Call != nil && !r.begun && f.Code == "INSTANCE_EXISTS" {
		return s.instances[r.other] != nil
	}
	state, code := s.ends(r)
	if !r.depends() || r.stage != stageRunning || state != Failed || code != f.Code {
		return false
	}
	if r.step.Call != nil {
		s.saw(CallFailed)
	} else {
		s.saw(AwaitFailed)
	}
	return true
}

// passesOn: a step is skipped with the step of another instance that it waits for.
func (s *State) passesOn(r *run) bool {
	state, _ := s.ends(r)
	return r.depends() && r.step.Await != nil && state == Skipped
}

// stopsCall has a call stop whose time is over: what it called is cancelled, and waited for.
func (s *State) stopsCall(f *Fact, r *run) {
	if !r.calls() || r.stage != stageRunning || !r.wanted() || f.Code != "TIMEOUT_TOTAL" || !s.cause.tick || !due(r.totalDeadline, s.horizon) {
		fault("S1", "step %s of %s, which called another instance, fails as %s, for no reason; it is %s", f.Step, f.Instance, f.Code, r.state)
	}
	r.stage, r.code, r.totalDeadline = stageUndoing, f.Code, 0
	s.saw(CallTimeout)
	s.touch(r.of)
}

// callStopped ends a call that stopped, behind what it called.
func (s *State) callStopped(f *Fact, r *run) {
	if state, _ := s.ends(r); state != Failed || f.Code != r.code || !r.wanted() {
		fault("saga", "step %s of %s has failed as %s before what it called has ended", f.Step, f.Instance, f.Code)
	}
	s.enter(r, Failed)
}

// byParent: an instance is cancelled with the step that called it.
func (s *State) byParent(i *instance) bool {
	if s.cause.command != nil || i.state != Running || i.parent == nil || !i.parent.stops() {
		return false
	}
	s.saw(ChildCancelled)
	return true
}

// circular: following who waits for whom leads from a run back to it.
func (s *State) circular(from *run) bool {
	seen := map[*run]bool{}
	for list := []*run{from}; len(list) > 0; {
		r := list[len(list)-1]
		list = list[:len(list)-1]
		for _, o := range s.behindWhat(r) {
			if seen[o] {
				continue
			}
			if o == from {
				return true
			}
			seen[o] = true
			list = append(list, o)
		}
	}
	return false
}

// behindWhat are the waits that must end before one does: of the instance that it waits for, and, while that is queued, of those before it.
func (s *State) behindWhat(r *run) (list []*run) {
	if r.step.byKey() {
		s.behindKey(r, (*run).depends, func(o *run) { list = append(list, o) })
		return list
	}
	for _, o := range s.runs(r.other) {
		if o.depends() && r.waitsBehind(o) {
			list = append(list, o)
		}
	}
	for _, i := range s.instance(r.other).ahead() {
		for _, o := range i.runs {
			if o.depends() {
				list = append(list, o)
			}
		}
	}
	return list
}

// waitsBehind: what a run waits for does not end before another wait does, of the instance that it waits for.
func (r *run) waitsBehind(o *run) bool {
	outer := o
	if around := o.around(); len(around) > 0 {
		outer = around[len(around)-1]
	}
	name := r.otherStep()
	known := slices.ContainsFunc(o.of.flow.Steps, func(x Step) bool { return x.Name == name })
	return name == "" || known && (outer.step.Name == name || o.of.flow.behind(name, outer.step.Name))
}

// mostLater is how many events an entry has at most before the model expects that it left things to the next.
const mostLater = 900

// dependentsWhole checks behind an entry that nothing between instances is left undone.
func (s *State) dependentsWhole(events int) {
	s.dependents = slices.DeleteFunc(s.dependents, func(r *run) bool { return over(r.state) })
	if events > mostLater || s.Limit > 0 {
		return
	}
	for _, r := range s.dependents {
		state, _ := s.ends(r)
		switch {
		case r.state != Waiting, r.of.paused && !r.depends():
		case !r.depends():
			fault("liveness", "step %s of %s calls %s, which is not started", r.name, r.of.id, r.other)
		case state != "":
			fault("liveness", "step %s of %s waits for %s of %s, which is %s", r.name, r.of.id, r.otherStep(), r.other, state)
		case r.stops() && s.instance(r.other).state == Running:
			fault("saga", "step %s of %s has stopped, and %s, which it called, runs on", r.name, r.of.id, r.other)
		case s.changed && r.step.Await != nil && s.circular(r):
			fault("liveness", "step %s of %s is in a cycle of waits", r.name, r.of.id)
		}
	}
	s.changed = false
}
