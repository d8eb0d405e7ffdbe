package fsm

import (
	"fmt"
	"slices"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// maxChain is how far Explain follows who waits for whom, and maxWaits how many waits ListWaits tells.
const (
	maxChain = 32
	maxWaits = 1000
)

// explainDependency says which instance a run waits for, in what state that is, and what that waits for in turn.
func (m *Machine) explainDependency(i *instance, at at, e *v1.Explanation) {
	r, k := i.run(at), i.key(at)
	d := &dependency{r.Other, r.OtherStep, &k}
	e.Code, e.Missing = v1.ExplainCode_EXPLAIN_CODE_INSTANCE_PENDING, []string{r.Other}
	l := &looked{m: m, ns: i.ns, seen: map[string]*instance{i.rec.InstanceId: i}}
	for len(e.Chain) < maxChain && d != nil {
		e.Chain = append(e.Chain, l.waiting(d))
		d = l.follow(d)
	}
	e.Sentence = fmt.Sprintf("Step %q waits for %s", e.Step, sayWaited(e.Chain[0]))
	if r.Stage == stageUndoes {
		e.Sentence = fmt.Sprintf("Step %q stops when what it called has ended: %s", e.Step, sayWaited(e.Chain[0]))
	}
	for _, w := range e.Chain[1:] {
		e.Sentence += fmt.Sprintf("; step %q of that waits for %s", w.Waits.Step, sayWaited(w))
	}
	e.Sentence += "."
}

func sayWaited(w *v1.Waiting) string {
	says := fmt.Sprintf("instance %q, which is %s", w.WaitsFor.InstanceId, stateName(w.State))
	if w.State == v1.InstanceState_INSTANCE_STATE_UNSPECIFIED {
		says = fmt.Sprintf("instance %q, which is not there yet", w.WaitsFor.InstanceId)
	}
	if w.WaitsFor.Step != "" {
		return fmt.Sprintf("step %q of %s", w.WaitsFor.Step, says)
	}
	return says
}

// looked has the instances that one read has looked at; none where there is none.
type looked struct {
	m    *Machine
	ns   *namespace
	seen map[string]*instance
}

func (l *looked) at(id string) *instance {
	i, seen := l.seen[id]
	if !seen {
		i, _ = l.m.lookup(l.ns.rec.Namespace, id) // one that cannot be read is told as one that is not there
		l.seen[id] = i
	}
	return i
}

// follow is a wait of the instance that one waits for, the first; nil when there is none.
func (l *looked) follow(of *dependency) (next *dependency) {
	i := l.at(of.on)
	if i == nil {
		return nil
	}
	l.ns.waits.in(l.ns.rec.Namespace, of.on, func(d *dependency) bool {
		if of.step == "" || i.awaitable(of.step) && i.graph.Before(int(i.outermost(d.run.at).node), int(i.node(of.step))) {
			next = d
		}
		return next == nil
	})
	return next
}

func (l *looked) waiting(d *dependency) *v1.Waiting {
	w := &v1.Waiting{
		Waits:    &v1.RunName{InstanceId: d.run.instance, Index: d.run.index},
		WaitsFor: &v1.RunName{InstanceId: d.on, Step: d.step},
	}
	if i := l.at(d.run.instance); i != nil {
		w.Waits.Step, w.Called = i.step(d.run.at).ID, i.isCall(d.run.at)
	}
	if other := l.at(d.on); other != nil {
		w.State = other.rec.State
	}
	return w
}

// ListWaits tells which runs wait for other instances: all of a namespace, or those that hang together with an instance.
func (m *Machine) ListWaits(r *v1.ListWaitsRequest) (*v1.ListWaitsResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	if r.InstanceId != "" {
		if _, err := m.lookup(r.Namespace, r.InstanceId); err != nil {
			return nil, err
		}
	}
	out, l := &v1.ListWaitsResponse{}, &looked{m: m, ns: ns, seen: map[string]*instance{}}
	for _, d := range ns.hangTogether(r.InstanceId) {
		if len(out.Waits) == maxWaits {
			out.Omitted = true
			break
		}
		out.Waits = append(out.Waits, l.waiting(d))
	}
	return out, nil
}

// hangTogether are the waits in an instance and for it, and so on from those; of none, all. There is one more than are told, if there
// are so many.
func (ns *namespace) hangTogether(id string) (found []*dependency) {
	seen := map[runKey]bool{}
	var ids []string
	take := func(d *dependency) bool {
		if !seen[*d.run] {
			seen[*d.run] = true
			found, ids = append(found, d), append(ids, d.on, d.run.instance)
		}
		return len(found) <= maxWaits
	}
	if id == "" {
		ns.waits.of.Ascend(take)
		return found
	}
	looked := map[string]bool{}
	for ids = append(ids, id); len(ids) > 0 && len(found) <= maxWaits; {
		next := ids[0]
		if ids = ids[1:]; looked[next] {
			continue
		}
		looked[next] = true
		ns.waits.in(ns.rec.Namespace, next, take)
		ns.waits.from(next, "", take)
	}
	slices.SortFunc(found, func(a, b *dependency) int { return a.run.compare(b.run) })
	return found
}
