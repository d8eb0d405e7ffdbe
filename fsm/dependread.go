package fsm

import (
	"fmt"
	"slices"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
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
	m.chain(i, d, e)
	e.Sentence = fmt.Sprintf("Step %q waits for %s", e.Step, sayWaited(e.Chain[0]))
	if r.Stage == stageUndoes {
		e.Sentence = fmt.Sprintf("Step %q stops when what it called has ended: %s", e.Step, sayWaited(e.Chain[0]))
	}
	e.Sentence += sayFurther(e.Chain)
}

// explainHeld says of a run that is kept out of a lock for longer than a lease who holds it, and what that waits for in turn.
func (m *Machine) explainHeld(i *instance, at at, l *lock, e *v1.Explanation) {
	k := i.key(at)
	kept := false
	m.keptOut(i.ns, &k, func(of *lock, h *logv1.LockHolder) bool {
		kept = kept || of == l
		return !kept
	})
	if !kept || len(l.rec.Holders) > 0 {
		return
	}
	m.chain(i, &dependency{run: &k}, e)
	e.Sentence = fmt.Sprintf("Step %q waits for %s", e.Step, sayWaited(e.Chain[0])) + sayFurther(e.Chain)
}

// chain tells of a wait, what it waits for, and so on.
func (m *Machine) chain(i *instance, d *dependency, e *v1.Explanation) {
	l := &looked{m: m, ns: i.ns, seen: map[string]*instance{i.rec.InstanceId: i}}
	for len(e.Chain) < maxChain && d != nil {
		e.Chain = append(e.Chain, l.waiting(d))
		d = l.follow(d)
	}
}

// sayFurther says the rest of a chain.
func sayFurther(chain []*v1.Waiting) (says string) {
	for _, w := range chain[1:] {
		says += fmt.Sprintf("; step %q of that waits for %s", w.Waits.Step, sayWaited(w))
	}
	return says + "."
}

func sayWaited(w *v1.Waiting) string {
	if w.Lock != "" {
		return sayHeld(w)
	}
	says := fmt.Sprintf("instance %q, which is %s", w.WaitsFor.InstanceId, stateName(w.State))
	if w.State == v1.InstanceState_INSTANCE_STATE_UNSPECIFIED {
		says = fmt.Sprintf("instance %q, which is not there yet", w.WaitsFor.InstanceId)
	}
	if w.WaitsFor.Step != "" {
		return fmt.Sprintf("step %q of %s", w.WaitsFor.Step, says)
	}
	return says
}

func sayHeld(w *v1.Waiting) string {
	holder := fmt.Sprintf("instance %q, which is %s, holds until it has ended", w.WaitsFor.InstanceId, stateName(w.State))
	if w.WaitsFor.Step != "" {
		holder = fmt.Sprintf("the body of step %q of instance %q holds until it has ended", w.WaitsFor.Step, w.WaitsFor.InstanceId)
	}
	return fmt.Sprintf("lock %q, which %s", w.Lock, holder)
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
	if of.isLock() {
		return l.followLock(of)
	}
	i := l.at(of.on)
	if i == nil {
		return nil
	}
	i.inFrame(whole, func(d *dependency) bool {
		if of.step == "" || i.awaitable(of.step) && i.graph.Before(int(i.outermost(d.run.at).node), int(i.node(of.step))) {
			next = d
		}
		return next == nil
	})
	return next
}

// followLock is a wait inside what holds a lock that is waited for, the first; nil when there is none.
func (l *looked) followLock(of *dependency) (next *dependency) {
	l.m.keptOut(l.ns, of.run, func(_ *lock, h *logv1.LockHolder) bool {
		if i := l.at(h.InstanceId); i != nil {
			i.inFrame(atOf(h), func(d *dependency) bool {
				next = d
				return false
			})
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
	if d.isLock() {
		l.heldFrom(d, w)
	}
	if other := l.at(w.WaitsFor.InstanceId); other != nil {
		w.State = other.rec.State
	}
	return w
}

// heldFrom says which lock it is that a wait is for, and who holds it: the first of those that keep it out.
func (l *looked) heldFrom(d *dependency, w *v1.Waiting) {
	l.m.keptOut(l.ns, d.run, func(on *lock, h *logv1.LockHolder) bool {
		w.Lock = on.rec.Lock
		w.WaitsFor.InstanceId = h.InstanceId
		if owner, step := l.m.ownerOf(l.ns.rec.Namespace, h); step != "" {
			w.WaitsFor.Step, w.WaitsFor.Index = step, owner.index
		}
		return false
	})
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
	for _, d := range l.hangTogether(r.InstanceId) {
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
func (l *looked) hangTogether(id string) (found []*dependency) {
	ns, seen := l.ns, map[runKey]bool{}
	var ids []string
	take := func(d *dependency) bool {
		if !seen[*d.run] {
			seen[*d.run] = true
			found, ids = append(found, d), append(ids, d.run.instance, l.waiting(d).WaitsFor.InstanceId)
		}
		return len(found) <= maxWaits
	}
	if id == "" {
		ns.waits.of.Ascend(take)
		ns.holds.Ascend(func(h holding) bool {
			l.m.behindHold(ns.locks[h.lock], h, take)
			return len(found) <= maxWaits
		})
		slices.SortFunc(found, func(a, b *dependency) int { return a.run.compare(b.run) })
		return found
	}
	looked := map[string]bool{}
	for ids = append(ids, id); len(ids) > 0 && len(found) <= maxWaits; {
		next := ids[0]
		if ids = ids[1:]; looked[next] {
			continue
		}
		looked[next] = true
		l.kept(next, take)
		ns.waits.from(next, "", take)
	}
	slices.SortFunc(found, func(a, b *dependency) int { return a.run.compare(b.run) })
	return found
}

// kept calls fn with the waits of an instance, and with those for what it holds, until it returns false.
func (l *looked) kept(id string, fn func(*dependency) bool) {
	i := l.at(id)
	if i == nil {
		return
	}
	i.inFrame(whole, func(d *dependency) bool { return d.isLock() && l.waiting(d).Lock == "" || fn(d) })
	for _, h := range l.ns.holdsOf(id) {
		l.m.behindHold(l.ns.locks[h.lock], h, fn)
	}
}
