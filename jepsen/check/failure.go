package check

import "slices"

// Need is a step that must end before another, and how: completed, failed, or either.
type Need struct {
	Step              string
	Completed, Failed bool
	Codes             []string // of the failures that count; none is every code
}

// takes says that a need counts a failure.
func (n *Need) takes(code string) bool {
	return n.Failed && (len(n.Codes) == 0 || slices.Contains(n.Codes, code))
}

// Failures checks instances that go on behind failures of their steps: no step is begun unless all that it needs ended so, but for
// what was skipped; none is skipped without a reason, or by hand; no instance fails by a failure that a step needs, nor ends well with
// one that none does, or with a step that has not ended.
//
// flows are the needs of each step, by the first word of an instance's name.
func Failures(events []Event, flows map[string]map[string][]Need) []Fact {
	var f faults
	instances := map[string]*failures{}
	for _, e := range events {
		needs, is := flows[first(e.Instance)]
		if !is {
			continue
		}
		i := instances[e.Instance]
		if i == nil {
			i = &failures{f: &f, needs: needs, ends: map[string]string{}, codes: map[string]string{}}
			instances[e.Instance] = i
		}
		i.see(e)
	}
	return f.list
}

// failures is an instance, as far as the feed has come.
type failures struct {
	f     *faults
	needs map[string][]Need
	ends  map[string]string // the last events of steps that ended
	codes map[string]string // of those that failed
	stops bool
}

func (i *failures) see(e Event) {
	if _, known := i.needs[e.Step]; e.Step != "" && !known {
		return // what undoes a step, or is inside one
	}
	switch e.Type {
	case "step.ready", "step.leased", "step.completed":
		i.begun(e)
	case "step.skipped":
		if !i.skips(e.Step) && !e.byHand() {
			i.f.add("S1", "position %d: %s of %s is skipped, and nothing that it needs ended otherwise", e.Position, e.Step, e.Instance)
		}
	case "instance.failing":
		if i.untaken() == "" {
			i.f.add("S1", "position %d: %s fails, and no step of it has that nobody needs", e.Position, e.Instance)
		}
		i.stops = true
	case "instance.cancelling":
		i.stops = true
	case "instance.completed":
		i.end(e)
	}
	switch e.Type {
	case "step.completed", "step.skipped", "step.failed":
		i.ends[e.Step], i.codes[e.Step] = e.Type, e.Code
	}
}

// begun: all that the step needs is met or was skipped, and something is met.
func (i *failures) begun(e Event) {
	met := 0
	for _, n := range i.needs[e.Step] {
		switch {
		case i.met(&n):
			met++
		case !i.passed(&n):
			i.f.add("S1", "position %d: %s of %s is begun, and %s, which it needs, has %s(%s)", e.Position, e.Step, e.Instance, n.Step, i.ends[n.Step], i.codes[n.Step])
		}
	}
	if met == 0 && len(i.needs[e.Step]) > 0 {
		i.f.add("S1", "position %d: %s of %s is begun, and all that it needs was skipped", e.Position, e.Step, e.Instance)
	}
}

func (i *failures) met(n *Need) bool {
	switch i.ends[n.Step] {
	case "step.completed":
		return n.Completed
	case "step.failed":
		return n.takes(i.codes[n.Step])
	}
	return false
}

// passed: what was skipped keeps nobody waiting, but who is there for a failure.
func (i *failures) passed(n *Need) bool { return i.ends[n.Step] == "step.skipped" && n.Completed }

// skips says that a step has a reason to be skipped.
func (i *failures) skips(step string) bool {
	met := 0
	for _, n := range i.needs[step] {
		switch {
		case i.met(&n):
			met++
		case i.ends[n.Step] == "":
			return false
		case !i.passed(&n):
			return true
		}
	}
	return met == 0 && len(i.needs[step]) > 0
}

// untaken is a step whose failure no step needs.
func (i *failures) untaken() string {
	for step, end := range i.ends {
		if end == "step.failed" && !i.taken(step) {
			return step
		}
	}
	return ""
}

func (i *failures) taken(step string) bool {
	for _, needs := range i.needs {
		for _, n := range needs {
			if n.Step == step && n.takes(i.codes[step]) {
				return true
			}
		}
	}
	return false
}

func (i *failures) end(e Event) {
	if i.stops {
		i.f.add("S1", "position %d: %s is completed, and was stopped", e.Position, e.Instance)
	}
	if step := i.untaken(); step != "" {
		i.f.add("S1", "position %d: %s is completed, and %s failed, which no step needs", e.Position, e.Instance, step)
	}
	for step := range i.needs {
		if i.ends[step] == "" {
			i.f.add("S1", "position %d: %s is completed, and its step %s has not ended", e.Position, e.Instance, step)
		}
	}
}
