package fsm

import (
	"fmt"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// checkHolds: what is held is held by what has not ended, and is known by its holder.
func checkHolds(m *Machine, ns *namespace) error {
	count := 0
	for _, l := range ns.locks {
		for n, h := range l.rec.Holds {
			count++
			if _, found := ns.holds.Get(holding{h.InstanceId, atOf(h), l.rec.Lock}); !found {
				return fmt.Errorf("lock %s is held by %v, which does not hold it", l.rec.Lock, h)
			}
			if i := ns.instances[h.InstanceId]; i != nil && i.isOver(atOf(h)) {
				return fmt.Errorf("lock %s is held by %v, which has ended", l.rec.Lock, h)
			}
			if err := checkHold(m, l, h, l.rec.Holds[:n]); err != nil {
				return err
			}
		}
		if err := checkCycles(m, l); err != nil {
			return err
		}
	}
	if count > ns.holds.Len() {
		return fmt.Errorf("namespace %s counts %d locks that are held, there are %d", ns.rec.Namespace, ns.holds.Len(), count)
	}
	return nil
}

// checkHold: who holds a lock keeps out all that is not inside it.
func checkHold(m *Machine, l *lock, h *logv1.LockHolder, others []*logv1.LockHolder) error {
	for _, o := range others {
		if o.InstanceId != h.InstanceId && !(o.Shared && h.Shared) {
			return fmt.Errorf("lock %s is held by %v and %v", l.rec.Lock, o, h)
		}
	}
	for _, o := range l.rec.Holders {
		if o.Shared && h.Shared || l.ns.instances[h.InstanceId] == nil {
			continue
		}
		if k := (runKey{l.ns.rec.Namespace, o.InstanceId, atOf(o)}); k.instance == "" || !m.within(&k, h) {
			return fmt.Errorf("lock %s is held by %v, and a run has it: %v", l.rec.Lock, h, o)
		}
	}
	return nil
}

// checkCycles: nobody who waits for a lock waits for himself, unless that is still to be looked at.
func checkCycles(m *Machine, l *lock) (broken error) {
	t := &turn{m: m, ns: l.ns}
	l.claims.Ascend(func(c *claim) bool {
		if c.wait != nil || l.ns.instances[c.run.instance] == nil || m.todos.Len() > 0 || !m.barred(l, c) {
			return true
		}
		if chain, _ := t.cycleFrom(&dependency{run: &c.run}); len(chain) > 0 {
			broken = fmt.Errorf("%s", t.sayChain(chain))
		}
		return broken == nil
	})
	return broken
}
