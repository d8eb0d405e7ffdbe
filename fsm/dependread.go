package fsm

import (
	"fmt"
	"slices"

	"github.com/lockstep-dev/lockstep/fsm/graph"
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
	r, k, p := i.run(at), i.key(at), i.place(at)
	d := p.dependency(&k)
	e.Code, e.Missing = v1.ExplainCode_EXPLAIN_CODE_INSTANCE_PENDING, []string{r.Other}
	if d.by != nil {
		e.Missing = []string{d.by.name + "=" + d.by.value}
	}
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
		next := l.follow(d)
		if p := l.meets(d); next == nil && p != nil { // nobody knows who else comes there
			e.Chain = append(e.Chain, l.meeting(p))
		}
		d = next
	}
}

// sayFurther says the rest of a chain.
func sayFurther(chain []*v1.Waiting) (says string) {
	for _, w := range chain[1:] {
		says += fmt.Sprintf("; step %q of that waits %s", w.Waits.Step, map[bool]string{true: "for ", false: "at "}[w.Barrier == ""]+sayWaited(w))
	}
	return says + "."
}

func sayWaited(w *v1.Waiting) string {
	switch {
	case w.Lock != "":
		return sayHeld(w)
	case w.Key != nil:
		return sayAwaited(w)
	case w.Barrier != "":
		return fmt.Sprintf("barrier %q, where %d of %d parties are", w.Barrier, w.Arrived, w.Parties)
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
	switch {
	case of.isLock():
		return l.followLock(of)
	case of.by != nil:
		return l.followKey(of)
	}
	i := l.at(of.on)
	if i == nil {
		return nil
	}
	i.inFrame(whole, func(d *dependency) bool {
		if i.holdsUp(d.run.at, of.step) {
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
	if d.by != nil {
		w.Key = l.awaited(d)
		return w
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

// ListWaits tells which runs wait for other instances, or at barriers: all of a namespace, or those that hang together with an instance.
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
	l := &looked{m: m, ns: ns, seen: map[string]*instance{}}
	together := l.hangTogether(r.InstanceId)
	out := &v1.ListWaitsResponse{Omitted: len(together) > maxWaits}
	for _, w := range together[:min(len(together), maxWaits)] {
		if w.party != nil {
			out.Waits = append(out.Waits, l.meeting(w.party))
		} else {
			out.Waits = append(out.Waits, l.waiting(w.dependency))
		}
	}
	return out, nil
}

// waitOf is a run that waits for another instance, or at a barrier.
type waitOf struct {
	*dependency
	*party
}

func (w *waitOf) run() *runKey {
	if w.party != nil {
		return w.party.run
	}
	return w.dependency.run
}

// gathering collects waits, and instances that may have more to do with them.
type gathering struct {
	seen  map[runKey]bool
	found []waitOf
	ids   []string
}

// take says whether more are wanted: one more than are told.
func (g *gathering) take(w waitOf, ids ...string) bool {
	if k := w.run(); !g.seen[*k] {
		g.seen[*k] = true
		g.found, g.ids = append(g.found, w), append(append(g.ids, k.instance), ids...)
	}
	return len(g.found) <= maxWaits
}

// hangTogether are the waits in an instance and for it, or at the barriers at which it waits, and so on from those; of none, all. There is
// one more than are told, if there are so many. They are in the order of who waits.
func (l *looked) hangTogether(id string) []waitOf {
	ns, g := l.ns, &gathering{seen: map[runKey]bool{}}
	takeDependency := func(d *dependency) bool { return g.take(waitOf{dependency: d}, l.waiting(d).WaitsFor.InstanceId) }
	takeParty := func(p *party) bool { return g.take(waitOf{party: p}) }
	if id == "" {
		ns.waits.of.Ascend(takeDependency)
		ns.holds.Ascend(func(h holding) bool {
			l.m.behindHold(ns.locks[h.lock], h, takeDependency)
			return len(g.found) <= maxWaits
		})
		ns.parties.of.Ascend(takeParty)
		g.ids = nil
	} else {
		g.ids = []string{id}
	}
	looked, met := map[string]bool{}, map[string]bool{}
	for len(g.ids) > 0 && len(g.found) <= maxWaits {
		next := g.ids[0]
		if g.ids = g.ids[1:]; looked[next] || next == "" {
			continue
		}
		looked[next] = true
		l.kept(next, takeDependency)
		l.awaitedBy(next, takeDependency)
		ns.waits.from(next, "", takeDependency)
		ns.parties.in(ns.rec.Namespace, next, func(p *party) bool {
			if !met[p.barrier] {
				met[p.barrier] = true
				for _, p := range ns.parties.there(p.barrier, graph.MaxParties) {
					takeParty(p)
				}
			}
			return true
		})
	}
	slices.SortFunc(g.found, func(a, b waitOf) int { return a.run().compare(b.run()) })
	return g.found
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
