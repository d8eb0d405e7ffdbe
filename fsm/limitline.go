package fsm

import (
	"cmp"
	"slices"

	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Runs that wait for a slot are kept by queue, so that those of a queue without workers are in nobody's way; those that somebody waits for by name
// are apart, whatever their queue. When there is room they are offered, in the order of their claims, the oldest of all lines first.

// lineOf is the queue in whose line a run is; nil is by name.
func (m *Machine) lineOf(k *runKey, q *queue) *queue {
	if len(m.named[*k]) > 0 {
		return nil
	}
	return q
}

func (q *queue) lineName() string {
	if q == nil {
		return ""
	}
	return q.name
}

// line is that of a queue.
func (l *limit) line(q *queue) *limitLine {
	at, found := slices.BinarySearchFunc(l.lines, q, func(a *limitLine, q *queue) int {
		if (a.queue == nil) != (q == nil) {
			return cmp.Compare(btoi(a.queue != nil), btoi(q != nil))
		}
		return cmp.Compare(a.queue.lineName(), q.lineName())
	})
	if found {
		return l.lines[at]
	}
	line := &limitLine{
		queue:   q,
		waiting: btree.NewG(8, readyRun.less),
		others:  btree.NewG(8, func(a, b limitedRun) bool { return a.less(b.readyRun) }),
	}
	l.lines = slices.Insert(l.lines, at, line)
	return line
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// joinLimits puts a run that is ready where its limits find it.
func (m *Machine) joinLimits(ns *namespace, q *queue, item readyRun, p *place) {
	for n := range p.limits {
		l := ns.limit(p.limits[n].Key)
		line := l.line(m.lineOf(item.run, q))
		switch {
		case p.limited == l.key:
			m.adopt(l, &p.limits[n])
			line.waiting.ReplaceOrInsert(item)
		case p.limited != "" || p.parked != "":
			line.others.ReplaceOrInsert(limitedRun{item, p.skippedAt})
		default:
			line.offered++
		}
		m.touchLimit(l)
	}
}

// leaveLimits takes it out.
func (m *Machine) leaveLimits(ns *namespace, q *queue, item readyRun, p *place) {
	for n := range p.limits {
		l := ns.limit(p.limits[n].Key)
		line := l.line(m.lineOf(item.run, q))
		switch {
		case p.limited == l.key:
			line.waiting.Delete(item)
		case p.limited != "" || p.parked != "":
			line.others.Delete(limitedRun{readyRun: item})
		default:
			line.offered--
		}
		m.touchLimit(l)
	}
}

// relined does what changes whether somebody waits for a run by name, and has the run's limits follow.
func (m *Machine) relined(k runKey, fn func()) {
	i, err := m.lookup(k.namespace, k.instance)
	if err != nil || i.frame(k.at) == nil {
		fn()
		return
	}
	p := i.place(k.at)
	ready := p.state == v1.RunState_RUN_STATE_READY && !p.held && len(p.limits) > 0
	item, q := readyRun{p.order, p.seq, i.run(k.at).key}, i.ns.queue(p.queue)
	if item.run == nil {
		item.run = &k
	}
	if ready {
		m.leaveLimits(i.ns, q, item, &p)
	}
	fn()
	if ready {
		m.joinLimits(i.ns, q, item, &p)
	}
}

// touchLimit has a limit looked at when the command has decided.
func (m *Machine) touchLimit(l *limit) {
	if !l.touched {
		l.touched = true
		m.limits = append(m.limits, l)
	}
}

// retry has those who wait looked at again at a time, or before.
func (l *limit) retry(m *Machine, at int64) {
	if l.retryAt == 0 || at < l.retryAt {
		l.retryAt = at
		m.dirtyLimit(l)
		m.touchLimit(l)
	}
}

// refillLimits offers what has room, of the limits that something was done to.
func (t *turn) refillLimits() {
	for n := 0; n < len(t.m.limits); n++ { // to offer touches more
		l := t.m.limits[n]
		if n < refillsAtOnce {
			t.refill(l)
		} else {
			l.retry(t.m, t.uptime()) // what moves from limit to limit is no reason for an entry not to end
		}
		l.touched = false
		t.m.dueLimit(l)
	}
	t.m.limits = t.m.limits[:0]
}

// refill offers runs that wait for a limit, while it has room for them: to whoever waits to take them, else to their queues' lines.
func (t *turn) refill(l *limit) {
	t.ns = l.ns
	for offers := 0; ; offers++ {
		first, line := l.first(t.uptime())
		if line == nil || plant.Is(plant.LimitPassedOver) {
			return
		}
		if offers == offersAtOnce {
			l.retry(t.m, t.uptime())
			return
		}
		i, refusal := t.instance(first.run.instance)
		must(refusalError(refusal))
		w := t.m.named1(*first.run, line.queue)
		if w == nil {
			t.m.change(i, first.run.at, func(r *run) { r.limitBy(0) })
			continue
		}
		t.grant(i, first.run.at, w)
		if i.run(first.run.at).limitedBy() == l.key { // what room there is is kept for others
			return
		}
	}
}

// named1 is who takes a run next: who waits for it by name, else the first of the queue that it is in line of.
func (m *Machine) named1(k runKey, q *queue) *wait {
	if q == nil {
		return m.named[k][0]
	}
	return m.firstWait(k, q)
}

// first is the oldest run of the lines that may have more offered.
func (l *limit) first(now int64) (first readyRun, of *limitLine) {
	room := min(l.room(now), maxOffered)
	for _, line := range l.lines {
		if line.offered >= room {
			continue
		}
		if head, ok := line.waiting.Min(); ok && (of == nil || head.less(first)) {
			first, of = head, line
		}
	}
	return first, of
}

// dueLimit sets when a limit is looked at next: when a slot comes back for which somebody waits, or when all have. One that nobody uses goes.
func (m *Machine) dueLimit(l *limit) {
	waiting, empty := false, true
	l.lines = slices.DeleteFunc(l.lines, func(line *limitLine) bool {
		waiting = waiting || line.waiting.Len() > 0
		gone := line.waiting.Len()+line.others.Len()+line.offered == 0
		empty = empty && gone
		return gone
	})
	due := l.retryAt
	if waiting {
		due = soonest(due, l.next())
	} else if last := len(l.log) - 1; last >= 0 {
		due = soonest(due, l.log[last].to+l.per)
	}
	if due != l.due {
		if l.due > 0 {
			m.deadlines.drop(deadline{at: l.due, kind: deadlineLimit, limit: l})
		}
		if l.due = due; due > 0 {
			m.deadlines.add(deadline{at: due, kind: deadlineLimit, limit: l})
		}
	}
	if empty && due == 0 {
		delete(l.ns.limits, l.key)
		l.ns.limited.Delete(l)
	}
}

// expireLimit looks at a limit whose time has come.
func (t *turn) expireLimit(l *limit) {
	t.ns = l.ns
	l.pass(t.uptime())
	if l.retryAt <= t.until {
		l.retryAt = 0
	}
	t.m.dirtyLimit(l)
	t.m.touchLimit(l)
}
