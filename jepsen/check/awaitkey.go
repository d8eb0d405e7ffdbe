package check

import "slices"

// AwaitKeys checks that who waits by a key for a number goes on with so many that have it, each of them once and none of them itself, whose
// step had completed before; and that nobody waits for whom there is enough. The workloads' waits are for a step, and by keys that steps give,
// for of those the feed tells.
func AwaitKeys(events []Event) []Fact {
	a := &awaitKeys{waits: map[step]*keyWait{}, has: map[string][]string{}, done: map[step]bool{}}
	for _, e := range events {
		a.see(e)
	}
	for _, w := range a.order {
		if there := a.there(w); !w.over && len(there) >= int(w.count) {
			a.f.add("liveness", "%s of %s waits for %d with the key %s, which %d have", w.run.step, w.run.instance, w.count, w.key, len(there))
		}
	}
	return a.f.list
}

type awaitKeys struct {
	f     faults
	waits map[step]*keyWait
	order []*keyWait
	has   map[string][]string // by key, instances
	done  map[step]bool
}

// keyWait is a run that waits by a key.
type keyWait struct {
	run     step
	key, of string
	count   int64
	over    bool
}

func (a *awaitKeys) see(e Event) {
	run := step{e.Instance, e.Step}
	w := a.waits[run]
	switch e.Type {
	case "step.waiting":
		if e.Code == "KEY" {
			w = &keyWait{run: run, key: e.Key, of: e.OtherStep, count: e.Count}
			a.waits[run], a.order = w, append(a.order, w)
		}
	case "instance.keyed":
		a.has[e.Key] = append(a.has[e.Key], e.Instance)
	case "step.completed":
		if w != nil {
			a.goesOn(e, w)
		}
		a.done[run] = true
	case "step.failed", "step.cancelled", "step.skipped":
		if w != nil {
			w.over = true
		}
	}
}

// there are those that a wait is for and that have completed.
func (a *awaitKeys) there(w *keyWait) (ids []string) {
	for _, id := range a.has[w.key] {
		if id != w.run.instance && a.done[step{id, w.of}] {
			ids = append(ids, id)
		}
	}
	return ids
}

func (a *awaitKeys) goesOn(e Event, w *keyWait) {
	w.over = true
	there := a.there(w)
	named := slices.Compact(slices.Sorted(slices.Values(e.Instances)))
	wrong := int64(len(named)) != w.count || len(e.Instances) != len(named)
	for _, id := range named {
		wrong = wrong || !slices.Contains(there, id)
	}
	if wrong {
		a.f.add("S1", "position %d: %s of %s goes on with %v, and waits for %d with the key %s; %d have completed", e.Position, e.Step, e.Instance, e.Instances, w.count, w.key, len(there))
	}
}
