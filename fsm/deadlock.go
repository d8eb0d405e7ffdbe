package fsm

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A run that waits for a lock waits for all frames that hold one of its locks and keep it out, and each of these for all waits inside it:
// those for locks, and those for other instances. Where that comes back to a run, none of them ends by itself. Such a cycle is closed by
// a wait that begins, or by a frame that holds a lock from now on while something inside it waits: there it is looked for, behind the commands
// of the entry. Of its waits for locks that of the youngest instance yields: its run fails with DEADLOCK, and is tried again or not as its
// policy says. What its instance holds it holds on to until it has ended and is undone, for what was done under a lock is not left half done in
// front of others. A run that has its lock for the lease alone waits for nobody, so leases are in no cycle; nor are sessions, which wait for a
// minute at most.

// deadlock is the code with which a run fails that yields.
const deadlock = "DEADLOCK"

// isLock: it is a wait for locks, and not for an instance.
func (d *dependency) isLock() bool { return d.on == "" && d.by == nil }

// lookForDeadlock breaks a cycle that a run closes: it waits for a lock, or has begun to have one held.
func (t *turn) lookForDeadlock(i *instance, at at) {
	r, k := i.run(at), i.key(at)
	switch {
	case plant.Is(plant.DeadlockStands):
	case r.State == v1.RunState_RUN_STATE_READY && r.Parked != "":
		t.breakCycle(&dependency{run: &k}, &k)
	case r.State == v1.RunState_RUN_STATE_LEASED:
		for _, frame := range i.holdsFor(at) {
			broken := false
			t.looked += i.inFrame(frame, func(d *dependency) bool {
				broken = t.breakCycle(d, &k)
				return !broken
			})
			if broken {
				return
			}
		}
	}
}

// holdsFor are the frames that the locks of a run can be held by.
func (i *instance) holdsFor(run at) (frames []at) {
	if f := i.frame(run); !f.outermost() {
		frames = append(frames, f.self())
	}
	return append(frames, whole)
}

// breakCycle has a wait of the cycle yield that one closes, if it does; whoever closed it is looked at again.
func (t *turn) breakCycle(begin *dependency, again *runKey) bool {
	chain, ok := t.cycleFrom(begin)
	if !ok || len(chain) == 0 {
		return false
	}
	t.yield(chain)
	t.lookAgain(t.runOf(*again), again.at)
	return true
}

// lookAgain has a run looked at once more that closed a cycle, for there may be others.
func (t *turn) lookAgain(i *instance, at at) {
	if r := i.run(at); !ended(r.State) && r.Todo == 0 {
		t.m.change(i, at, func(r *run) { r.Todo = t.m.nextTodo() })
	}
}

// yield fails the wait of a cycle that is for locks, and of the youngest instance. Compensations yield only to each other: what is not
// undone needs somebody's hand.
func (t *turn) yield(chain []*dependency) {
	var victim *dependency
	for _, d := range chain {
		if d.isLock() && (victim == nil || t.younger(d.run, victim.run) != plant.Is(plant.EldestYields)) {
			victim = d
		}
	}
	reason := t.sayChain(chain)
	i := t.runOf(*victim.run)
	t.failParked(i, victim.run.at, deadlock, reason)
}

// younger says which of two waits yields before the other: one of a step, one of an instance that was started later, one that is later in that.
func (t *turn) younger(a, b *runKey) bool {
	x, y := t.known(a.instance), t.known(b.instance)
	if p, q := isCompensation(x.step(a.at)), isCompensation(y.step(b.at)); p != q {
		return q
	}
	return cmp.Or(cmp.Compare(x.rec.StartedWall, y.rec.StartedWall), a.compare(b)) > 0
}

// failParked ends an attempt badly that waits for its locks: the run backs off, or fails when its attempts are used up.
func (t *turn) failParked(i *instance, at at, code, reason string) {
	r, retry := i.run(at), i.step(at).Retry
	if slices.Contains(retry.NonRetryable, code) || r.Used+1 >= int32(retry.Attempts) {
		t.failRun(i, at, code, reason, true)
		return
	}
	t.dropLapsed(i, at)
	t.emit(&runRetried{i: i, at: at, code: code, reason: reason, delay: backoff(retry, r.Used, i.idempotencyKey(at), r.Token)})
	t.freeLocks(i, at, r.Token, false)
}

// inFrame calls fn with the waits inside what has what a frame holds, until it returns false. It tells how many runs it looked at.
func (i *instance) inFrame(of at, fn func(*dependency) bool) (looked int) {
	more := true
	i.ns.waits.in(i.ns.rec.Namespace, i.rec.InstanceId, func(d *dependency) bool {
		more = !i.encloses(of, d.run.at) || fn(d)
		return more
	})
	if !more {
		return looked
	}
	parked := func(f *frame) bool {
		if looked++; f.open == 0 {
			return true
		}
		looked += len(f.runs)
		return i.parkedIn(f, fn)
	}
	switch f, stops := i.keeper(of); {
	case f == nil:
		i.eachBelow(stops, parked)
	case f.outermost():
		i.eachBelow(whole, parked)
	default:
		i.eachIn(f, parked)
	}
	return looked
}

// parkedIn calls fn with the runs of a frame that wait for locks.
func (i *instance) parkedIn(f *frame, fn func(*dependency) bool) bool {
	for n, r := range f.runs {
		if r.State == v1.RunState_RUN_STATE_READY && r.Parked != "" {
			k := i.key(f.at(n))
			if !fn(&dependency{run: &k}) {
				return false
			}
		}
	}
	return true
}

// keptOut calls fn with what keeps a run out of the locks that it waits for, until it returns false.
func (m *Machine) keptOut(ns *namespace, k *runKey, fn func(l *lock, h *logv1.LockHolder) bool) {
	i, err := m.lookup(ns.rec.Namespace, k.instance)
	must(err)
	for _, want := range i.run(k.at).Locks {
		l := ns.locks[want.Lock]
		if l == nil {
			continue
		}
		for _, h := range l.rec.Holds {
			if m.shutsOut(h, &claim{run: *k, want: want}) && !fn(l, h) {
				return
			}
		}
	}
}

// aheadOfLock are the waits that a wait for locks waits for.
func (t *turn) aheadOfLock(of *dependency, fn func(*dependency) bool) {
	t.m.keptOut(t.ns, of.run, func(_ *lock, h *logv1.LockHolder) bool {
		more := true
		t.looked += t.known(h.InstanceId).inFrame(atOf(h), func(d *dependency) bool {
			more = fn(d)
			return more
		})
		return more
	})
}

// behindLocks are the waits for locks that what a wait is inside of holds.
func (t *turn) behindLocks(of *dependency, fn func(*dependency) bool) {
	i, more := t.known(of.run.instance), true
	for _, held := range t.ns.holdsOf(of.run.instance) {
		if more && i.encloses(held.frame, of.run.at) {
			t.m.behindHold(t.ns.lock(t.m, held.lock), held, func(d *dependency) bool {
				more = fn(d)
				return more
			})
		}
	}
}

// behindHold calls fn with the runs that somebody keeps out of a lock who holds it, until it returns false.
func (m *Machine) behindHold(l *lock, held holding, fn func(*dependency) bool) {
	if l == nil { // nobody waits for it
		return
	}
	h := l.holderOn(held)
	l.claims.Ascend(func(c *claim) bool {
		if c.wait != nil || !m.shutsOut(h, c) {
			return true
		}
		k := c.run
		return fn(&dependency{run: &k})
	})
}

// sayLock says for which lock one wait of a chain waits that what the next is inside of keeps from it.
func (t *turn) sayLock(of, next *dependency) (says string) {
	t.m.keptOut(t.ns, of.run, func(l *lock, h *logv1.LockHolder) bool {
		if t.m.within(next.run, h) {
			says = fmt.Sprintf("lock %q, which %s holds", l.rec.Lock, t.m.sayLong(l.ns.rec.Namespace, h))
		}
		return says == ""
	})
	return says
}

// sayLong says who holds a lock for longer than a run.
func (m *Machine) sayLong(namespace string, h *logv1.LockHolder) string {
	if _, step := m.ownerOf(namespace, h); step != "" {
		return fmt.Sprintf("the body of step %q of instance %q", step, h.InstanceId)
	}
	return fmt.Sprintf("instance %q", h.InstanceId)
}
