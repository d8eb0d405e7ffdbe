package fsm

import (
	"fmt"
	"strings"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// maxNamed is how many of those that wait at a barrier are named in a sentence.
const maxNamed = 5

// explainBarrier says how many parties a barrier still waits for, and who is there.
func (m *Machine) explainBarrier(i *instance, at at, e *v1.Explanation) {
	r := i.run(at)
	e.Code, e.Missing = v1.ExplainCode_EXPLAIN_CODE_BARRIER_PENDING, []string{r.Other}
	there := i.ns.parties.there(r.Other, int(r.Order))
	e.Sentence = fmt.Sprintf("Step %q waits at barrier %q, where %d of %d parties are", e.Step, r.Other, len(there), r.Order)
	l := &looked{m: m, ns: i.ns, seen: map[string]*instance{i.rec.InstanceId: i}}
	var others []string
	for _, p := range there {
		if k := i.key(at); p.run.compare(&k) == 0 {
			continue
		}
		if len(others) == maxNamed {
			others = append(others, "more")
			break
		}
		if o := l.at(p.run.instance); o != nil {
			others = append(others, fmt.Sprintf("step %q of instance %q", o.step(p.run.at).ID, p.run.instance))
		}
	}
	if len(others) > 0 {
		e.Sentence += ": it, " + strings.Join(others, ", ")
	}
	e.Sentence += "."
}

// meets is a run that waits at a barrier where one waits for an instance, or for a step of it, and that does not wait for others; nil when
// there is none.
func (l *looked) meets(of *dependency) (first *party) {
	if i := l.at(of.on); i != nil && of.by == nil {
		l.ns.parties.in(l.ns.rec.Namespace, of.on, func(p *party) bool {
			if i.holdsUp(p.run.at, of.step) {
				first = p
			}
			return first == nil
		})
	}
	return first
}

// meeting tells of a run that waits at a barrier.
func (l *looked) meeting(p *party) *v1.Waiting {
	w := &v1.Waiting{
		Waits:    &v1.RunName{InstanceId: p.run.instance, Index: p.run.index},
		WaitsFor: &v1.RunName{},
		Barrier:  p.barrier, Parties: int32(p.parties), Arrived: int32(len(l.ns.parties.there(p.barrier, int(p.parties)))),
	}
	if i := l.at(p.run.instance); i != nil {
		w.Waits.Step = i.step(p.run.at).ID
	}
	return w
}
