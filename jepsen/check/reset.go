package check

import "strings"

// Resets checks instances that were set back: with a step all that is behind it begins anew, and nothing else; nothing but its cancellation
// happens to a run that was set back; what needs a step goes on behind its newest activation; and an instance is completed with those.
//
// needs are as Feed has them, of the workflows that are set back.
func Resets(events []Event, needs map[string][]string) []Fact {
	r := resets{needs: needs, steps: stepsOf(needs), now: map[step]int32{}, done: map[step]bool{}}
	for _, e := range events {
		if r.steps[first(e.Instance)] != nil {
			r.see(e)
		}
	}
	return r.f.list
}

type resets struct {
	f     faults
	needs map[string][]string
	steps map[string][]string
	now   map[step]int32 // the newest activation of each step
	done  map[step]bool  // runs that were completed
}

func (r *resets) see(e Event) {
	flow := first(e.Instance)
	name, _, _ := strings.Cut(e.Step, "#")
	newest := func(of string) string { return RunName(of, r.now[step{e.Instance, of}]) }
	switch {
	case e.Type == "instance.reset":
		back := 0
		for _, of := range r.steps[flow] {
			if of == e.Name || r.behind(flow, of, e.Name) {
				r.now[step{e.Instance, of}] = e.Index
				back++
			}
		}
		if int64(back) != e.Count {
			r.f.add("S1", "position %d: %d steps of %s are set back to %s; it and what is behind it are %d", e.Position, e.Count, e.Instance, e.Name, back)
		}
	case e.Type == "instance.completed":
		for _, of := range r.steps[flow] {
			if !r.done[step{e.Instance, newest(of)}] {
				r.f.add("S1", "position %d: %s is completed, and its step %s is not", e.Position, e.Instance, newest(of))
			}
		}
	case e.Step == "", e.Type == "step.late", e.Type == "step.cancelled" && e.Code == "RESET":
	case e.Step != newest(name):
		r.f.add("S1", "position %d: %s of %s has %s, and the newest activation is %s", e.Position, e.Step, e.Instance, e.Type, newest(name))
	case e.Type == "step.ready", e.Type == "step.completed":
		for _, need := range r.needs[flow+"/"+name] {
			if !r.done[step{e.Instance, newest(need)}] {
				r.f.add("S1", "position %d: %s of %s has %s before %s, which it needs", e.Position, e.Step, e.Instance, e.Type, newest(need))
			}
		}
		r.done[step{e.Instance, e.Step}] = e.Type == "step.completed"
	}
}

// behind: a step needs another, or something that does.
func (r *resets) behind(flow, name, of string) bool {
	for _, need := range r.needs[flow+"/"+name] {
		if need == of || r.behind(flow, need, of) {
			return true
		}
	}
	return false
}
