package fsm

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A lock can be held for longer than a lease: by a frame, from the grant to a step of it that says so until the frame has ended, or by an
// instance, which is its root frame. Who holds a lock keeps out all that is not inside it, and lets in nobody: a run inside it is granted
// the lock under its own token, and shares it or not with other runs, as where nobody holds it. So there is never more than one run that
// has a lock alone, whoever holds it, and the tokens under which a lock is granted are in the order of the grants.
//
// Who holds what stands in the record of the lock. By holder it is in an order of its own, which is made of the locks that are taken when
// a state is opened: a workflow that holds nothing pays nothing for it.

// holdsLevel is the cluster level from which on definitions can have locks that are held for longer than a step.
const holdsLevel = 12

// holding is that a frame of an instance holds a lock.
type holding struct {
	instance string
	frame    at
	lock     string
}

func (h holding) less(o holding) bool {
	return cmp.Or(strings.Compare(h.instance, o.instance), cmp.Compare(h.frame.node, o.frame.node),
		cmp.Compare(h.frame.index, o.frame.index), strings.Compare(h.lock, o.lock)) < 0
}

func newHoldings() *btree.BTreeG[holding] { return btree.NewG(8, holding.less) }

// loadHoldings finds who holds what in a namespace.
func (m *Machine) loadHoldings(ns *namespace) error {
	return scanRows(m.engine, key(tableLock, ns.rec.Namespace), func() *logv1.Lock { return &logv1.Lock{} }, func(_ []byte, rec *logv1.Lock) error {
		for _, h := range rec.Holds {
			ns.holds.ReplaceOrInsert(holding{h.InstanceId, atOf(h), rec.Lock})
		}
		return nil
	})
}

// holdsOf are those of an instance.
func (ns *namespace) holdsOf(instance string) (list []holding) {
	if ns.holds.Len() == 0 {
		return nil
	}
	ns.holds.AscendGreaterOrEqual(holding{instance: instance, frame: at{-1 << 31, 0}}, func(h holding) bool {
		if h.instance != instance {
			return false
		}
		list = append(list, h)
		return true
	})
	return list
}

// holderOn finds who holds a lock by its frame; nil when it does not.
func (l *lock) holderOn(h holding) *logv1.LockHolder {
	for _, on := range l.rec.Holds {
		if on.InstanceId == h.instance && atOf(on) == h.frame {
			return on
		}
	}
	return nil
}

// within says whether a run is inside what holds a lock.
func (m *Machine) within(k *runKey, h *logv1.LockHolder) bool {
	if k.instance != h.InstanceId || atOf(h) == whole {
		return k.instance == h.InstanceId
	}
	i, err := m.lookup(k.namespace, k.instance)
	must(err)
	return i.encloses(atOf(h), k.at)
}

// keeper is what has what a frame holds: that frame; or an activation, when one stops in which it is. What fails together is undone
// together: what one item of a list holds the compensations of the others have then.
func (i *instance) keeper(frame at) (f *frame, stops at) {
	f = i.activation(-1-frame.node, frame.index)
	for !f.outermost() {
		switch o := i.run(f.owner); {
		case o.State == v1.RunState_RUN_STATE_CANCELLED: // with what it is in
			f = i.frame(f.owner)
		case o.Stage != stageRuns && !ended(o.State):
			return nil, f.owner
		default:
			return f, whole
		}
	}
	return f, whole
}

// encloses says whether a run is inside what has what a frame holds.
func (i *instance) encloses(frame, run at) (is bool) {
	f, stops := i.keeper(frame)
	if f != nil && f.outermost() {
		return true
	}
	i.around(run, func(owner at) bool {
		is = is || f == nil && owner == stops
		return !is
	})
	for in := i.frame(run); !is && !in.outermost(); in = i.frame(in.owner) {
		is = in == f
	}
	return is
}

// shutsOut says whether who holds a lock keeps out who asks for it.
func (m *Machine) shutsOut(h *logv1.LockHolder, asking *claim) bool {
	return !(h.Shared && asking.want.Shared) && !m.within(&asking.run, h)
}

// shutOut says whether somebody who holds a lock keeps out who asks for it.
func (m *Machine) shutOut(l *lock, asking *claim) bool {
	if plant.Is(plant.HoldIgnored) {
		return false
	}
	return slices.ContainsFunc(l.rec.Holds, func(h *logv1.LockHolder) bool { return m.shutsOut(h, asking) })
}

// barred says whether somebody holds one of the locks that a claim waits for, and keeps it out. No place is kept for such a claim: who would
// wait for it could be who it waits for.
func (m *Machine) barred(l *lock, c *claim) bool {
	if l.ns.holds.Len() == 0 {
		return false
	}
	if c.wait != nil {
		return m.shutOut(l, c)
	}
	return m.lockedOut(l.ns, &c.run)
}

// lockedOut says whether somebody holds one of a run's locks for longer than a run, and keeps it out.
func (m *Machine) lockedOut(ns *namespace, k *runKey) bool {
	if ns.holds.Len() == 0 {
		return false
	}
	i, err := m.lookup(ns.rec.Namespace, k.instance)
	must(err)
	return slices.ContainsFunc(i.run(k.at).Locks, func(want *logv1.ClaimedLock) bool {
		other := ns.locks[want.Lock]
		return other != nil && m.shutOut(other, &claim{run: *k, want: want})
	})
}

// hold has what a run is inside of hold the locks of its claim that say so, unless that has them already: it, or something around it.
func (t *turn) hold(i *instance, at at) {
	for _, want := range i.run(at).Locks {
		if want.Hold == 0 {
			continue
		}
		frame := whole
		if graph.Hold(want.Hold) == graph.HoldScope {
			frame = i.frame(at).self()
		}
		l := t.ns.lock(t.m, want.Lock)
		has := func(h *logv1.LockHolder) bool {
			return h.InstanceId == i.rec.InstanceId && (!h.Shared || want.Shared) && (atOf(h) == frame || frame != whole && i.encloses(atOf(h), at) && i.outside(atOf(h), frame))
		}
		if !slices.ContainsFunc(l.rec.Holds, has) {
			t.emit(&lockHeld{i: i, at: at, lock: l, want: want, frame: frame})
			if l.claims.Len() > 0 {
				t.lookAgain(i, at) // with what waits for it now there may be a cycle
			}
		}
	}
}

// outside: a frame is around another.
func (i *instance) outside(outer, inner at) bool {
	f := i.activation(-1-inner.node, inner.index)
	return !f.outermost() && i.encloses(outer, f.owner)
}

// lockHeld has a frame hold a lock from now on, or alone what it held shared.
type lockHeld struct {
	i     *instance
	at    at
	lock  *lock
	want  *logv1.ClaimedLock
	frame at
}

func (e *lockHeld) kind() string { return "lockstep.lock.held.v1" }
func (e *lockHeld) fill(d *v1.EventData) string {
	d.Lock, d.Token, d.Shared = e.lock.rec.Lock, e.i.run(e.at).Token, e.want.Shared
	d.InstanceId, d.Step, d.Index, d.Name = e.i.rec.InstanceId, e.i.step(e.at).ID, e.at.index, graph.Hold(e.want.Hold).String()
	return "lock/" + d.Lock
}
func (e *lockHeld) evolve(t *turn) {
	l, of := e.lock, holding{e.i.rec.InstanceId, e.frame, e.lock.rec.Lock}
	h := l.holderOn(of)
	if h == nil {
		h = &logv1.LockHolder{InstanceId: of.instance, Node: e.frame.node, Index: e.frame.index, Take: 1}
		l.rec.Holds = append(l.rec.Holds, h)
		t.ns.holds.ReplaceOrInsert(of)
	}
	h.Token, h.Shared, h.SinceWall = e.i.run(e.at).Token, e.want.Shared, t.wall()
	t.m.dirtyLock(l)
}

// heldUnder is the token under which what a run is inside of holds a lock: the newest; zero when nothing does.
func (t *turn) heldUnder(k runKey, l *lock) (token int64) {
	for _, h := range l.rec.Holds {
		if t.m.within(&k, h) {
			token = max(token, h.Token)
		}
	}
	return token
}

// unholds has the locks looked at, behind what is being decided, that an instance holds in which something has ended.
func (t *turn) unholds(i *instance) {
	if i.ns.holds.Len() > 0 && !slices.Contains(t.unheld, i) {
		t.unheld = append(t.unheld, i)
	}
}

// freeHeld ends what is held by what has ended, and wakes who waits for that: the locks in the order of their names.
func (t *turn) freeHeld() {
	for len(t.unheld) > 0 {
		i := t.unheld[0]
		t.unheld = t.unheld[1:]
		t.ns = i.ns
		var free []*lock
		for _, h := range i.ns.holdsOf(i.rec.InstanceId) {
			if !i.isOver(h.frame) && !plant.Is(plant.HoldEndsEarly) || i.live() && plant.Is(plant.BodyHoldsOn) {
				continue
			}
			l := i.ns.lock(t.m, h.lock)
			t.emit(&lockFreed{l, l.holderOn(h)})
			free = append(free, l)
		}
		slices.SortFunc(free, func(a, b *lock) int { return strings.Compare(a.rec.Lock, b.rec.Lock) })
		for _, l := range free {
			t.wake(l)
		}
	}
}

// isOver: a frame has ended, and what was to be undone in it with what it is in is.
func (i *instance) isOver(frame at) bool {
	if frame == whole || !i.live() {
		return !i.live()
	}
	f := i.activation(-1-frame.node, frame.index)
	o := i.run(f.owner)
	if o.State == v1.RunState_RUN_STATE_CANCELLED && !f.over { // it is undone with what it is in
		return i.isOver(i.frame(f.owner).self())
	}
	return f.over || ended(o.State)
}

// lockFreed ends that a frame holds a lock.
type lockFreed struct {
	lock   *lock
	holder *logv1.LockHolder
}

func (e *lockFreed) kind() string { return "lockstep.lock.freed.v1" }
func (e *lockFreed) fill(d *v1.EventData) string {
	h := e.holder
	d.Lock, d.Token, d.InstanceId, d.Shared = e.lock.rec.Lock, h.Token, h.InstanceId, h.Shared
	return "lock/" + d.Lock
}
func (e *lockFreed) evolve(t *turn) {
	l, h := e.lock, e.holder
	l.rec.Holds = slices.DeleteFunc(l.rec.Holds, func(o *logv1.LockHolder) bool { return o == h })
	t.ns.holds.Delete(holding{h.InstanceId, atOf(h), l.rec.Lock})
	t.m.dirtyLock(l)
}

// heldReply shows who holds a lock for longer than a run.
func (m *Machine) heldReply(l *lock) (out []*v1.LockHolder) {
	for _, h := range l.rec.Holds {
		holder := &v1.LockHolder{Token: h.Token, InstanceId: h.InstanceId, Shared: h.Shared, Take: h.Take, Since: stamp(h.SinceWall)}
		if owner, step := m.ownerOf(l.ns.rec.Namespace, h); step != "" {
			holder.Step, holder.Index = step, owner.index
		}
		out = append(out, holder)
	}
	return out
}

// ownerOf is the step whose body holds a lock; it has no name where an instance does.
func (m *Machine) ownerOf(namespace string, h *logv1.LockHolder) (owner at, step string) {
	i, err := m.lookup(namespace, h.InstanceId)
	if err != nil || atOf(h) == whole {
		return whole, ""
	}
	f := i.activation(-1-h.Node, h.Index)
	return f.owner, i.step(f.owner).ID
}

// isHeldUnder: somebody holds the lock under a token, for a run or for longer.
func (l *lock) isHeldUnder(token int64) bool {
	return l.holder(token) != nil || slices.ContainsFunc(l.rec.Holds, func(h *logv1.LockHolder) bool { return h.Token == token })
}
