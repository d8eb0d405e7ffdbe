package check

import (
	"slices"
	"strings"
)

// Forks checks instances that were forked: what is before the step is copied, all of it and nothing else, before anything of the fork is
// begun; it had ended so in the other by then, and was not to be undone there; and what is copied is neither leased nor undone in the fork.
//
// needs are as Feed has them, sagas as Sagas.
func Forks(events []Event, needs map[string][]string, sagas map[string]Saga) []Fact {
	f := forks{needs: needs, sagas: sagas, forks: map[string]*forked{}, ends: map[step]string{}, copied: map[step]bool{}, stops: map[string]bool{}}
	for _, e := range events {
		f.see(e)
	}
	for _, id := range f.ids {
		if !f.forks[id].told {
			f.f.add("S5", "%s is forked from %s, whose history does not tell it", id, f.forks[id].from)
		}
	}
	return f.f.list
}

type forks struct {
	f      faults
	needs  map[string][]string
	sagas  map[string]Saga
	forks  map[string]*forked
	ids    []string
	ends   map[step]string // of steps: how
	copied map[step]bool
	stops  map[string]bool // instances that fail, or are cancelled
}

// forked is an instance that is forked from another.
type forked struct {
	from   string
	before []string // that are to be copied
	told   bool
}

func (f *forks) see(e Event) {
	run := step{e.Instance, e.Step}
	switch e.Type {
	case "instance.started":
		if e.Forked != "" {
			x := &forked{from: e.Forked, before: f.before(first(e.Instance), e.Name)}
			if f.forks[e.Instance], f.ids = x, append(f.ids, e.Instance); int64(len(x.before)) != e.Count {
				f.f.add("S1", "position %d: %s copies %d steps of %s; before %s are %d", e.Position, e.Instance, e.Count, e.Forked, e.Name, len(x.before))
			}
		}
		return
	case "instance.failing", "instance.cancelling", "instance.compensating":
		f.stops[e.Instance] = true
	case "instance.forked":
		f.tell(e)
	case "step.copied":
		f.copy(e, run)
	case "step.completed":
		f.ends[run] = "COMPLETED"
	case "step.skipped":
		f.ends[run] = "SKIPPED"
	}
	if of, compensation := strings.CutSuffix(e.Step, ".compensate"); compensation && f.copied[step{e.Instance, of}] {
		f.f.add("saga", "position %d: %s of %s is undone, and was copied", e.Position, of, e.Instance)
	}
	if x := f.forks[e.Instance]; x != nil && e.Step != "" && e.Type != "step.copied" && (!x.told || f.copied[run]) {
		f.f.add("S1", "position %d: %s of %s has %s, and it is copied, or not all is that is to be", e.Position, e.Step, e.Instance, e.Type)
	}
}

// copy sees a step that is copied.
func (f *forks) copy(e Event, run step) {
	x, of := f.forks[e.Instance], step{e.Other, e.Step}
	switch {
	case x == nil || x.told || x.from != e.Other || !slices.Contains(x.before, e.Step) || f.copied[run]:
		f.f.add("S1", "position %d: %s of %s is copied from %s, and is not to be", e.Position, e.Step, e.Instance, e.Other)
	case f.ends[of] != e.Name:
		f.f.add("S1", "position %d: %s of %s is copied as %s; in %s it is %s", e.Position, e.Step, e.Instance, e.Name, e.Other, f.ends[of])
	case f.stops[e.Other] && !f.copied[of] && e.Name == "COMPLETED" && slices.Contains(f.sagas[first(e.Instance)].Undo, e.Step):
		f.f.add("saga", "position %d: %s of %s is copied from %s, which undoes it", e.Position, e.Step, e.Instance, e.Other)
	}
	f.copied[run], f.ends[run] = true, e.Name
}

// tell sees that the other tells of its fork.
func (f *forks) tell(e Event) {
	x := f.forks[e.Other]
	if x == nil || x.told || x.from != e.Instance {
		f.f.add("S5", "position %d: %s tells of a fork %s that is none", e.Position, e.Instance, e.Other)
		return
	}
	x.told = true
	for _, name := range x.before {
		if !f.copied[step{e.Other, name}] {
			f.f.add("S1", "position %d: %s is forked from %s, and lacks %s", e.Position, e.Other, e.Instance, name)
		}
	}
}

// before are the steps that one needs, and those that these need.
func (f *forks) before(flow, name string) (list []string) {
	for _, need := range f.needs[flow+"/"+name] {
		for _, one := range append(f.before(flow, need), need) {
			if !slices.Contains(list, one) {
				list = append(list, one)
			}
		}
	}
	return list
}
