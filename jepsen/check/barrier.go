package check

import "slices"

// Barriers checks that parties go on together: at a barrier so many pass as each of them says, those who came first, and all of them are
// completed before anything else is told of that barrier; nobody is completed there otherwise; and nobody waits where all are. Who has ended is no
// party. The workloads' parties say one number.
func Barriers(events []Event) []Fact {
	b := barriers{at: map[step]*party{}, there: map[string][]*party{}, passing: map[string]int{}}
	for _, e := range events {
		b.see(e)
	}
	for _, name := range b.names {
		b.whole(name)
	}
	return b.f.list
}

type barriers struct {
	f       faults
	at      map[step]*party
	there   map[string][]*party // by barrier, in the order in which they came
	passing map[string]int      // how many of those that pass are still to be completed
	names   []string
}

// party is a run that waits at a barrier.
type party struct {
	run     step
	barrier string
	parties int64
	passes  bool
}

func (b *barriers) see(e Event) {
	run := step{e.Instance, e.Step}
	switch e.Type {
	case "step.waiting":
		if e.Code == "BARRIER" {
			p := &party{run: run, barrier: e.Name, parties: e.Count}
			if b.at[run] = p; !slices.Contains(b.names, e.Name) {
				b.names = append(b.names, e.Name)
			}
			b.there[e.Name] = append(b.there[e.Name], p)
		}
	case "barrier.passed":
		b.pass(e)
	case "step.completed", "step.failed", "step.cancelled", "step.skipped":
		if p := b.at[run]; p != nil {
			b.end(e, p)
		}
	}
}

func (b *barriers) pass(e Event) {
	there := b.there[e.Name]
	if b.passing[e.Name] > 0 {
		b.f.add("S1", "position %d: barrier %s is passed, and %d of those that passed before are not completed", e.Position, e.Name, b.passing[e.Name])
	}
	if int64(len(there)) < e.Count {
		b.f.add("S1", "position %d: %d parties pass barrier %s, and %d are there", e.Position, e.Count, e.Name, len(there))
	}
	passing := there[:min(len(there), int(e.Count))]
	for _, p := range passing {
		if p.parties != e.Count {
			b.f.add("S1", "position %d: %s of %s passes barrier %s with %d parties, and waits for %d", e.Position, p.run.step, p.run.instance, e.Name, e.Count, p.parties)
		}
		p.passes = true
	}
	b.passing[e.Name] = len(passing)
}

// end sees the end of a party: it is completed if it passes, and at once.
func (b *barriers) end(e Event, p *party) {
	switch completed := e.Type == "step.completed"; {
	case completed != p.passes:
		b.f.add("S1", "position %d: %s of %s, %s, and that it passes barrier %s is %v", e.Position, p.run.step, p.run.instance, e.Type, p.barrier, p.passes)
	case completed:
		b.passing[p.barrier]--
	}
	delete(b.at, p.run)
	b.there[p.barrier] = slices.DeleteFunc(b.there[p.barrier], func(o *party) bool { return o == p })
}

// whole: nobody waits where all are.
func (b *barriers) whole(name string) {
	if there := b.there[name]; len(there) > 0 && int64(len(there)) >= there[0].parties {
		b.f.add("liveness", "%d parties wait at barrier %s, which is for %d", len(there), name, there[0].parties)
	}
}
