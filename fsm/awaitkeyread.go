package fsm

import (
	"fmt"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// maxLooked is how many instances that have a key a read looks at for one that waits.
const maxLooked = 100

// awaited is what is known of those that a wait by a key is for. Before its census has begun that is nothing.
func (l *looked) awaited(d *dependency) *v1.AwaitedKey {
	out := &v1.AwaitedKey{Name: d.by.name, Value: d.by.value, Needed: d.by.count, Counting: true}
	c, ok := l.ns.censuses.Get(censusNamed(d.by.name, d.by.value, d.step))
	if i := l.at(d.run.instance); ok && i != nil {
		k := c.without(i)
		out.Open, out.Completed, out.Skipped, out.Failed, out.Counting = k.open, k.completed, k.skipped, k.failed, !c.rec.Counted
	}
	return out
}

// sayAwaited says for whom a wait by a key is, and how many of them have completed.
func sayAwaited(w *v1.Waiting) string {
	k := w.Key
	whom := fmt.Sprintf("%d instances", k.Needed)
	switch k.Needed {
	case 0:
		whom = "all instances"
	case 1:
		whom = "an instance"
	}
	if w.WaitsFor.Step != "" {
		whom = fmt.Sprintf("step %q of %s", w.WaitsFor.Step, whom)
	}
	says := fmt.Sprintf("%s with the key %s=%s, of which %d have completed and %d are open", whom, k.Name, k.Value, k.Completed, k.Open)
	for _, n := range []struct {
		count int64
		how   string
	}{{k.Skipped, "skipped"}, {k.Failed, "failed"}} {
		if n.count > 0 {
			says += fmt.Sprintf(", %d %s", n.count, n.how)
		}
	}
	switch {
	case k.Counting:
		says += " so far, for they are being counted"
	case k.Completed+k.Open+k.Skipped+k.Failed == 0:
		says += ", for there is none yet"
	}
	return says
}

// followKey is a wait of one of those that a wait by a key is for, the first that is found; nil when that is none.
func (l *looked) followKey(of *dependency) (next *dependency) {
	for _, id := range l.m.keyedBy(l.ns, &v1.Key{Name: of.by.name, Value: of.by.value}, maxLooked) {
		i := l.at(id)
		if i == nil || id == of.run.instance {
			continue
		}
		i.inFrame(whole, func(d *dependency) bool {
			if i.holdsUp(d.run.at, of.step) {
				next = d
			}
			return next == nil
		})
		if next != nil {
			return next
		}
	}
	return nil
}

// awaitedBy calls fn with the waits by keys of an instance, until it returns false.
func (l *looked) awaitedBy(id string, fn func(*dependency) bool) {
	i, more := l.at(id), true
	if i == nil || !i.live() {
		return
	}
	for _, p := range i.rec.Keys {
		l.ns.censusesBy(p.Key, p.Value, func(c *census) bool {
			c.ns.waits.keyed.AscendGreaterOrEqual(&dependency{step: c.rec.Step, run: &runKey{at: at{-1, -1}}, by: &keyWait{p.Key, p.Value, 0}}, func(d *dependency) bool {
				if d.by.name != p.Key || d.by.value != p.Value || d.step != c.rec.Step {
					return false
				}
				more = d.run.instance == id || fn(d)
				return more
			})
			return more
		})
	}
}
