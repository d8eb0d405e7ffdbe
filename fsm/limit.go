package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A rate limit is a number of slots by a key. Each lease of a step that names it takes a slot, whatever comes of the lease, for what a
// worker calls counts the calls. In no time of uptime of length per, wherever it begins, are more than limit slots taken: a log of when they
// were taken says so. Uptime does not outrun a leader's clock (DESIGN §8, S6) and stands still between two leaders, so by that clock a window is
// never shorter. A slot comes back when per has passed. Of a limit of more than exactSlots, slots that are taken within per/exactSlots of the
// first of them are one item of the log and come back together, when per has passed since the last of them: so the log has a bounded length, and
// a slot may come back late, and never early.

const (
	// exactSlots is how many slots a limit may have of which each is logged by itself.
	exactSlots = 64
	// maxOffered is how many runs of a limit are in line in a queue at most, while others wait behind them; so little is to be done when a
	// worker finds that it has no more slots.
	maxOffered = 1000
	// offersAtOnce is how many are offered in one go, when there is room; the rest follow in the tick, or the next.
	offersAtOnce = 16
	// refillsAtOnce is how many limits are looked at behind a command for that, which move runs to each other; the rest follow likewise.
	refillsAtOnce = 1000
)

// limitLevel is the cluster level from which on there are limits, and their rows are in slices of the state.
const limitLevel = 16

// limit is one limit. It exists while a slot of it is taken, or a run that needs one is ready.
type limit struct {
	ns    *namespace
	key   string
	limit int32 // as those have it who use it
	per   int64
	log   []slots // oldest first
	used  int32   // slots in the log
	// retryAt is when those who wait are looked at again, though no slot comes back; zero is never.
	retryAt int64
	lines   []*limitLine // by queue, those of no queue first
	due     int64        // its deadline
	touched bool
	dirt    rowDirt
}

// slots were taken from one time on to another, and come back together.
type slots struct {
	from, to int64
	n        int32
}

// limitLine is the runs that need a limit, of one queue, or all of them that somebody waits for by name. While some wait at the limit, at
// least as many are in line in the queue as there are slots, or maxOffered.
type limitLine struct {
	queue   *queue // nil is those that somebody waits for by name
	waiting *btree.BTreeG[readyRun]
	offered int                       // that are in the queue's line
	others  *btree.BTreeG[limitedRun] // that wait for something else
}

// limitedRun is a run that needs a slot, and waits for something else.
type limitedRun struct {
	readyRun
	skippedAt int64
}

func (ns *namespace) limit(key string) *limit {
	l := ns.limits[key]
	if l == nil {
		l = &limit{ns: ns, key: key}
		ns.limits[key] = l
		ns.limited.ReplaceOrInsert(l)
	}
	return l
}

func limitsByKey(a, b *limit) bool { return a.key < b.key }

// grain is within which time slots come back together.
func (l *limit) grain() int64 {
	if l.limit <= exactSlots {
		return 0
	}
	return l.per / exactSlots
}

// taken is how many slots are, at a time that is not before the last.
func (l *limit) taken(now int64) int32 {
	n := l.used
	for _, s := range l.log {
		if s.to+l.per > now {
			break
		}
		n -= s.n
	}
	return n
}

func (l *limit) room(now int64) int { return int(l.limit - l.taken(now)) }

// pass forgets slots that have come back.
func (l *limit) pass(now int64) {
	n := 0
	for n < len(l.log) && l.log[n].to+l.per <= now {
		l.used -= l.log[n].n
		n++
	}
	l.log = slices.Delete(l.log, 0, n)
}

func (l *limit) take(now int64) {
	l.pass(now)
	if last := len(l.log) - 1; last >= 0 && now-l.log[last].from <= l.grain() {
		l.log[last].to = now
		l.log[last].n++
	} else {
		l.log = append(l.log, slots{now, now, 1})
	}
	l.used++
}

// next is when a slot comes back; zero is never.
func (l *limit) next() int64 {
	if len(l.log) == 0 {
		return 0
	}
	return l.log[0].to + l.per
}

// differs: the limit is in use as another.
func (l *limit) differs(want *graph.Limit, now int64) bool {
	used := l.taken(now) > 0 || slices.ContainsFunc(l.lines, func(line *limitLine) bool { return line.waiting.Len() > 0 })
	return used && (l.limit != want.Limit || l.per != want.Per)
}

// adopt has a limit that nobody uses be what is wanted.
func (m *Machine) adopt(l *limit, want *graph.Limit) {
	if l.limit == want.Limit && l.per == want.Per {
		return
	}
	if l.logged() { // all slots have come back
		m.dirtyLimit(l)
		m.touchLimit(l)
	}
	l.limit, l.per, l.log, l.used = want.Limit, want.Per, nil, 0
}

// rated is what a run has that needs slots.
type rated struct {
	limits []graph.Limit
	at     int32 // at which of them it waits, from 1; zero is at none
}

// limits are those of which a lease of the run takes slots.
func (o *motion) limits() []graph.Limit {
	if o.Rated == nil {
		return nil
	}
	return o.Rated.limits
}

// limitedBy is the key of the limit that it waits at.
func (o *motion) limitedBy() string {
	if o.Rated == nil || o.Rated.at == 0 {
		return ""
	}
	return o.Rated.limits[o.Rated.at-1].Key
}

// claimed: others may wait behind it for its locks: it claims them, or did until it was to wait for a slot.
func (o *motion) claimed() bool { return o.Parked != "" || o.limitedBy() != "" }

// limitBy has it wait at one of its limits, from 1, or at none.
func (o *motion) limitBy(at int) {
	if o.Rated != nil {
		o.Rated.at = int32(at)
	}
}

func (l *limit) say() string { return sayRate(l.limit, l.per) }

func sayRate(limit int32, per int64) string {
	return fmt.Sprintf("%d per %s", limit, time.Duration(per))
}

// limited says whether a claim must wait for a slot: there is none, or what there is is for older ones. That is for a run that waits here and
// that somebody would take; it is offered in the tick of this entry. And one slot is kept for the oldest of each queue that was passed over
// five seconds ago, and waits for a lock or another limit: or it would never find all it needs at one time.
func (m *Machine) limited(l *limit, asking readyRun) busyness {
	now := m.group.Uptime
	room := l.room(now)
	if room <= 0 {
		return held
	}
	for _, line := range l.lines {
		if first, ok := line.waiting.Min(); ok && first.less(asking) && m.wants(line, first) {
			return reserved
		}
		if first, ok := line.others.Min(); ok && first.less(asking) && m.keptFor(l, line, first) {
			room--
		}
	}
	if room <= 0 {
		return reserved
	}
	return free
}

// wants: somebody would take the first run of a line.
func (m *Machine) wants(line *limitLine, r readyRun) bool {
	return line.queue == nil || m.wanted(*r.run, line.queue)
}

// keptFor says whether a slot is kept for a run that waits for something else. That is not so where it waits for another limit for so long
// that a slot comes back before, and not where somebody holds a lock of it who could wait for a slot.
func (m *Machine) keptFor(l *limit, line *limitLine, r limitedRun) bool {
	now := m.group.Uptime
	if r.skippedAt == 0 || r.skippedAt+patience > now || !m.wants(line, r.readyRun) || m.lockedOut(l.ns, r.run) {
		return false
	}
	i, err := m.lookup(l.ns.rec.Namespace, r.run.instance)
	must(err)
	at := l.ns.limits[i.run(r.run.at).limitedBy()]
	return at == nil || at.next() == 0 || now+l.per > at.next()
}

// needsSlots parks a run that claims slots which there are not, or stops it if a limit is in use as another.
func (t *turn) needsSlots(i *instance, at at) (stopped bool) {
	r, k := i.run(at), i.key(at)
	for n := range r.limits() {
		want := &r.Rated.limits[n]
		l := t.ns.limit(want.Key)
		if l.differs(want, t.uptime()) {
			t.emit(&runIncident{i: i, at: at, code: "LIMIT_DIFFERS", reason: fmt.Sprintf("limit %q is in use as %s, and %s is asked for", l.key, l.say(), sayRate(want.Limit, want.Per))})
			return true
		}
		t.m.adopt(l, want)
		verdict := t.m.limited(l, readyRun{r.Order, r.OrderSeq, &k})
		if verdict == free {
			continue
		}
		t.parkAt(i, at, n+1, true)
		if verdict == reserved {
			l.retry(t.m, t.uptime()+retryReserved)
		}
		return true
	}
	return false
}

// parkAt has the run wait for a slot. No lock stands in its way then, as far as it is known. One that waits there already changes nothing: its
// other limits need not be looked at for it, whose first would be offered for no reason, and so on for ever.
func (t *turn) parkAt(i *instance, at at, limit int, passed bool) {
	r := i.run(at)
	if stamped := !passed || r.SkippedAt > 0; stamped && int(r.Rated.at) == limit {
		return
	}
	t.m.change(i, at, func(r *run) {
		r.limitBy(limit)
		r.Parked, r.RetryAt, r.LockDeadline = "", 0, 0
		if passed && r.SkippedAt == 0 {
			r.SkippedAt = max(1, t.uptime())
		}
	})
}

// joinsBehind has a run that became ready wait where others wait that are before it, or there is no room, or very many are in line: no worker needs
// to find that out.
func (t *turn) joinsBehind(i *instance, at at) bool {
	r, k := i.run(at), i.key(at)
	if r.State != v1.RunState_RUN_STATE_READY {
		return false
	}
	for n := range r.limits() {
		want := &r.Rated.limits[n]
		l := t.ns.limit(want.Key)
		if l.differs(want, t.uptime()) {
			return false // whoever claims it is told
		}
		t.m.adopt(l, want)
		line, room := l.line(t.m.lineOf(&k, i.ns.queue(i.step(at).Queue))), l.room(t.uptime())
		first, others := line.waiting.Min()
		if room <= 0 || others && first.less(readyRun{r.Order, r.OrderSeq, &k}) || !others && line.offered > maxOffered {
			t.parkAt(i, at, n+1, false)
			return true
		}
	}
	return false
}

// takeSlots is part of a lease.
func (t *turn) takeSlots(i *instance, at at) {
	for _, want := range i.run(at).limits() {
		t.emit(&slotTaken{i: i, at: at, limit: t.ns.limit(want.Key), want: want})
	}
}

// slotTaken takes a slot of a limit.
type slotTaken struct {
	i     *instance
	at    at
	limit *limit
	want  graph.Limit
}

func (e *slotTaken) kind() string { return "lockstep.limit.taken.v1" }
func (e *slotTaken) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.LimitKey, d.Limit, d.Per, d.Count = e.limit.key, e.limit.limit, e.limit.per, e.limit.used
	return "limit/" + d.LimitKey
}
func (e *slotTaken) evolve(t *turn) {
	t.m.adopt(e.limit, &e.want)
	e.limit.take(t.uptime())
	t.m.dirtyLimit(e.limit)
	t.m.touchLimit(e.limit)
}

// plantedSlot gives a slot back that no lease needs any more.
func (t *turn) plantedSlot(i *instance, at at) {
	if !plant.Is(plant.SlotGivenBack) {
		return
	}
	for _, want := range i.run(at).limits() {
		if l := t.ns.limit(want.Key); len(l.log) > 0 {
			last := len(l.log) - 1
			if l.log[last].n--; l.log[last].n == 0 {
				l.log = l.log[:last]
			}
			l.used--
			t.m.dirtyLimit(l)
			t.m.touchLimit(l)
		}
	}
}

func (a *limit) compare(b *limit) int {
	return cmp.Or(cmp.Compare(a.ns.rec.Namespace, b.ns.rec.Namespace), cmp.Compare(a.key, b.key))
}
