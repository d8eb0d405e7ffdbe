package fsm

import (
	"github.com/google/btree"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// queue is a named line of ready runs, and of the waits for them.
type queue struct {
	ns   *namespace
	name string
	// Runs in state READY: parked has those whose claim waits for a busy lock, ready all others, but for those with a key of
	// fairness. While a wait is in line, neither has any: between commands nothing that could be granted is left.
	ready, parked *btree.BTreeG[readyRun]
	waits         *btree.BTreeG[*wait]
	leased        int64
	touched       bool
	clock         rowDirt   // of the row of its time (fairrow.go)
	fair          *fairness // while its runs take turns by key; ready has those without one then
	spare         *fairness // memory of one that is over
}

// readyRun is a run's place in a queue: lower goes first.
type readyRun struct {
	order, seq int64
	run        *runKey
}

func (a readyRun) less(b readyRun) bool {
	if a.order != b.order {
		return a.order < b.order
	}
	if a.seq != b.seq {
		return a.seq < b.seq
	}
	return a.run.compare(b.run) < 0
}

func (ns *namespace) queue(name string) *queue {
	q := ns.queues[name]
	if q == nil {
		q = &queue{
			ns: ns, name: name,
			ready: btree.NewG(32, readyRun.less), parked: btree.NewG(32, readyRun.less), waits: btree.NewG(8, (*wait).less),
		}
		ns.queues[name] = q
		ns.lines = insertSorted(ns.lines, name)
	}
	return q
}

// first is the run in state READY that is the first in order, whosever turn it is.
func (q *queue) first() (first readyRun, ok bool) {
	if first, ok = q.ready.Min(); q.fair != nil {
		first, ok = q.fair.first()
	}
	if other, any := q.parked.Min(); any && (!ok || other.less(first)) {
		return other, true
	}
	return first, ok
}

// touchQueue has the queue matched when the command has decided.
func (t *turn) touchQueue(q *queue) {
	if !q.touched {
		q.touched = true
		t.touched = append(t.touched, q)
	}
}

func (t *turn) matchTouched() {
	for n := 0; n < len(t.touched); n++ { // matching may touch more
		q := t.touched[n]
		q.touched = false
		t.match(q)
	}
	t.touched = t.touched[:0]
}

// match grants ready runs to waits, both in their order, until one of the two lines is empty.
func (t *turn) match(q *queue) {
	t.ns = q.ns
	for {
		w, waiting := q.waits.Min()
		first, any := q.next()
		if !waiting || !any {
			return
		}
		i, refusal := t.instance(first.run.instance)
		must(refusalError(refusal))
		l := q.hold()
		t.m.turnOver(q, l, t.grant(i, first.run.at, w), i.step(first.run.at).Weight)
	}
}

// refusalError keeps a nil refusal a nil error.
func refusalError(r *Refusal) error {
	if r == nil {
		return nil
	}
	return r
}

// offer gives a run that became ready to whoever waits for it by name, else to its queue.
func (t *turn) offer(i *instance, at at) {
	if i.paused() && !plant.Is(plant.PauseLeases) {
		return
	}
	if named := t.m.named[i.key(at)]; len(named) > 0 {
		t.grant(i, at, named[0])
		return
	}
	if !t.joinsBehind(i, at) {
		t.touchQueue(i.ns.queue(i.step(at).Queue))
	}
}

// wanted: somebody would take the run if its locks were free.
func (m *Machine) wanted(k runKey, q *queue) bool {
	return q.waits.Len() > 0 || len(m.named[k]) > 0
}

// ListQueues lists the queues that ever had a run or a wait since the node started, by name.
func (m *Machine) ListQueues(r *v1.ListQueuesRequest) (*v1.ListQueuesResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	out := &v1.ListQueuesResponse{}
	for _, name := range ns.lines {
		q := ns.queues[name]
		item := &v1.Queue{Queue: name, Ready: int64(q.readyRuns() + q.parked.Len()), Leased: q.leased}
		q.waits.Ascend(func(w *wait) bool {
			item.Waiting += int64(w.rec.Remaining)
			return true
		})
		if first, ok := q.first(); ok {
			item.Oldest = durationpb.New(elapsed(first.order, m.group.Uptime))
		}
		m.tellKeys(q, item)
		out.Queues = append(out.Queues, item)
	}
	return out, nil
}
