package check

import (
	"slices"
	"strings"
)

// Saga is what a workflow says of how its instances are undone.
type Saga struct {
	Undo       []string // the steps that have a compensation
	Sequential bool     // the newest completion is undone first; else a step behind all that needed it
	Attempts   int      // of a compensation
}

// Sagas checks how instances end that fail or are cancelled: every step that was completed and has a compensation is
// undone, once, and no other; not before the instance compensates, and not before what came behind the step, so that in
// sequence there is one at a time; and the instance ends behind the last. Nothing is begun any more once it stops. A compensation stands
// still when its attempts are used up, and not before, and only then is it tried again by hand.
//
// sagas are by the first word of an instance's name, needs as Feed has them.
func Sagas(events []Event, needs map[string][]string, sagas map[string]Saga) []Fact {
	var f faults
	instances := map[string]*undoing{}
	for _, e := range events {
		flow := first(e.Instance)
		saga, is := sagas[flow]
		if !is {
			continue
		}
		i := instances[e.Instance]
		if i == nil {
			i = &undoing{Saga: saga, f: &f, flow: flow, needs: needs, undone: map[string]bool{}, used: map[string]int{}}
			instances[e.Instance] = i
		}
		i.see(e)
	}
	return f.list
}

// undoing is an instance of a saga, as far as the feed has come.
type undoing struct {
	Saga
	f     *faults
	flow  string
	needs map[string][]string

	stopping, compensates bool
	completed             []string // in the order of their completion
	undone                map[string]bool
	used                  map[string]int // attempts of compensations, since they were begun or tried again
}

func (i *undoing) see(e Event) {
	of, compensation := strings.CutSuffix(e.Step, ".compensate")
	switch {
	case e.Type == "instance.failing" || e.Type == "instance.cancelling":
		i.stopping = true
	case e.Type == "instance.compensating":
		if i.compensates {
			i.f.add("saga", "position %d: %s compensates again", e.Position, e.Instance)
		}
		i.stopping, i.compensates = true, true
	case e.Type == "instance.completed" || e.Type == "instance.failed" || e.Type == "instance.cancelled":
		i.end(e)
	case compensation && strings.HasPrefix(e.Type, "step."):
		i.undo(e, of)
	default:
		i.do(e)
	}
}

// do sees what happens to a step.
func (i *undoing) do(e Event) {
	switch {
	case e.Type == "step.leased" && i.stopping:
		i.f.add("saga", "position %d: %s of %s is leased, and the instance stops", e.Position, e.Step, e.Instance)
	case e.Type == "step.completed":
		if i.compensates {
			i.f.add("saga", "position %d: %s of %s is completed, and the instance compensates already", e.Position, e.Step, e.Instance)
		}
		i.completed = append(i.completed, e.Step)
	}
}

// undo sees what happens to the compensation of a step. Whatever it is, what came behind the step is undone by then.
func (i *undoing) undo(e Event, of string) {
	if !i.compensates {
		i.f.add("saga", "position %d: %s of %s is undone, and the instance does not compensate", e.Position, of, e.Instance)
	}
	at := slices.Index(i.completed, of)
	if at < 0 {
		i.f.add("saga", "position %d: %s of %s is undone, and was not completed", e.Position, of, e.Instance)
		return
	}
	for later, other := range i.completed {
		behind := i.behind(other, of)
		if i.Sequential {
			behind = later > at
		}
		if behind && i.left(other) {
			i.f.add("saga", "position %d: %s of %s is undone before %s, which came behind it", e.Position, of, e.Instance, other)
		}
	}
	switch e.Type {
	case "step.lapsed", "step.retried":
		i.used[of]++
	case "step.incident":
		if i.used[of]++; i.used[of] != i.Attempts {
			i.f.add("saga", "position %d: what undoes %s of %s stands still behind %d of %d attempts", e.Position, of, e.Instance, i.used[of], i.Attempts)
		}
	case "step.resumed":
		if i.used[of] != i.Attempts {
			i.f.add("saga", "position %d: what undoes %s of %s is tried again by hand, and did not stand still", e.Position, of, e.Instance)
		}
		i.used[of] = 0
	}
	if e.Type == "step.completed" || e.Type == "step.skipped" {
		if i.undone[of] {
			i.f.add("saga", "position %d: %s of %s is undone again", e.Position, of, e.Instance)
		}
		i.undone[of] = true
	}
}

func (i *undoing) end(e Event) {
	if e.Type == "instance.completed" {
		if i.stopping {
			i.f.add("saga", "position %d: %s is completed, and was stopped", e.Position, e.Instance)
		}
		return
	}
	for _, step := range i.completed {
		if i.left(step) {
			i.f.add("saga", "position %d: %s has ended, and its step %s is not undone", e.Position, e.Instance, step)
		}
	}
}

// left says that a completed step is still to be undone.
func (i *undoing) left(step string) bool { return slices.Contains(i.Undo, step) && !i.undone[step] }

// behind: a step needs another, or something that does.
func (i *undoing) behind(step, of string) bool {
	return slices.ContainsFunc(i.needs[i.flow+"/"+step], func(need string) bool { return need == of || i.behind(need, of) })
}
