package fsm

import (
	"cmp"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// run is one activation of a step: what is known of it, but for its payloads' bytes once those are stored.
type run struct {
	State         v1.RunState
	Attempt, Used int32
	Pending, Done int32 // needs that have not ended, and those that are met; see compensate.go
	Stage         stage // of a run with a body that waits, or of a call
	Lapsed        bool  // the lease ended by lapse: a late completion is good until this is cleared
	Cancelling    bool  // its holder is asked to stop
	Copied        bool  // it ended in another instance, from which this one was forked
	Token         int64 // the newest; of a completed run, the accepted one
	ChangedWall   int64

	payloads
	body *body
	*motion
	*aside
}

// motion is what a run has while something moves it on (rest.go): where it stands in what orders it, and its times.
type motion struct {
	Session         int64 // the holder while leased
	Order, OrderSeq int64 // the order key of its claim; ties are broken by the position of the event that made it ready. See also barrier.go
	SkippedAt       int64 // when the claim was first passed over

	// When something happens to it by itself; zero is never.
	RetryAt, QueueDeadline, RunDeadline, TotalDeadline, HeartbeatDeadline, LockDeadline int64
	// When the timer that it waits for fires: in uptime, or at a date in unix nanoseconds. One of them is set.
	TimerAt, TimerDate int64

	GrantedWall int64
	Parked      string  // the busy lock that its claim waits for
	key         *runKey // its name in what orders it, once it was there
	Fair        *string // its key of fairness; nil is the empty one
	Rated       *rated  // nil is without limits
}

// aside is what few runs have (rest.go).
type aside struct {
	CompletedAt      int64  // position of its completion, where compensations go by it
	Other, OtherStep string // the instance that it waits for, and which step of it; or the barrier
	Todo             int64  // see later.go
	Code, Reason     string
	Locks            []*logv1.ClaimedLock
	Ended            []*logv1.EndedToken // tokens that ended by failure or release, with their first answers; the newest few
}

// runKey names a run everywhere.
type runKey struct {
	namespace, instance string
	at
}

func (k *runKey) compare(o *runKey) int {
	if k == o {
		return 0
	}
	if c := cmp.Compare(k.instance, o.instance); c != 0 && k.namespace == o.namespace {
		return c
	}
	return cmp.Or(cmp.Compare(k.namespace, o.namespace), cmp.Compare(k.instance, o.instance),
		cmp.Compare(k.node, o.node), cmp.Compare(k.index, o.index))
}

// unbegun is the state of a compensation that is not wanted yet: there is no such run.
const unbegun = v1.RunState_RUN_STATE_UNSPECIFIED

// ended: nothing happens to the run any more.
func ended(s v1.RunState) bool { return s >= v1.RunState_RUN_STATE_COMPLETED }

// pending: something that is not one of its needs moves the run on, or is to be done about it, so it has a row of its own.
func pending(r *run) bool {
	return r.State >= v1.RunState_RUN_STATE_READY && r.State <= v1.RunState_RUN_STATE_INCIDENT || r.Todo > 0
}

// due is when something happens to the run by itself; zero is never.
func due(r *run) int64 {
	switch r.State {
	case v1.RunState_RUN_STATE_READY:
		return soonest(r.RetryAt, r.QueueDeadline, r.TotalDeadline, r.LockDeadline)
	case v1.RunState_RUN_STATE_LEASED:
		return soonest(r.RunDeadline, r.HeartbeatDeadline, r.TotalDeadline)
	case v1.RunState_RUN_STATE_BACKOFF:
		return soonest(r.RetryAt, r.TotalDeadline)
	case v1.RunState_RUN_STATE_WAITING:
		return soonest(r.TimerAt, r.TotalDeadline)
	case v1.RunState_RUN_STATE_INCIDENT:
		return r.TotalDeadline
	}
	return 0
}

// dated is the date at which something happens to the run by itself; zero is never.
func dated(r *run) int64 {
	if r.State == v1.RunState_RUN_STATE_WAITING {
		return r.TimerDate
	}
	return 0
}

func soonest(times ...int64) int64 {
	var first int64
	for _, at := range times {
		if at > 0 && (first == 0 || at < first) {
			first = at
		}
	}
	return first
}

// place is where a run stands in what orders it.
type place struct {
	state          v1.RunState
	queue, parked  string
	order, seq     int64
	due, skippedAt int64
	date           int64
	locks          []*logv1.ClaimedLock
	todo           int64
	other, step    string // the instance that it waits for, and which step of it; or the barrier
	fair           string
	limits         []graph.Limit
	limited        string // the limit that it waits at
	key            string // the name of the key by which it waits; other is its value then
	count          int32  // and how many must have completed
	held           bool   // it is ready, and its instance is paused
}

func (i *instance) place(at at) place {
	r := i.run(at)
	p := place{
		state: r.State, queue: i.step(at).Queue, parked: r.Parked, order: r.Order, seq: r.OrderSeq,
		due: due(r), skippedAt: r.SkippedAt, date: dated(r), locks: r.Locks, todo: r.Todo,
		limits: r.limits(), limited: r.limitedBy(),
	}
	if r.Fair != nil {
		p.fair = *r.Fair
	}
	if i.waitsFor(at) || i.arrived(at) {
		p.other, p.step = r.Other, r.OtherStep
		p.key, p.count = i.step(at).AwaitsKey, int32(i.step(at).AwaitsCount)
	}
	if i.paused() {
		p.hold(r, i.isCall(at))
	}
	return p
}

// change is how a run's record changes: the orders of queues, locks and deadlines follow it, and its frame's counters.
func (m *Machine) change(i *instance, at at, fn func(*run)) {
	f := i.frame(at)
	r := f.runs[at.node-f.first]
	was := r.tally()
	m.own(r)
	if pending(r) {
		m.unindexRun(i.ns, i.lasting(at), i.place(at))
	}
	fn(r)
	i.count(f, was, r.tally())
	if pending(r) {
		m.indexRun(i.ns, i.lasting(at), i.place(at))
	}
	if q, l := m.unsettled.queue, m.unsettled.lane; l != nil {
		m.unsettled.queue, m.unsettled.lane = nil, nil
		m.settle(q, l)
	}
	m.rest(r)
	if p := (at.node - f.first) / pageRuns; !f.pages[p] {
		f.pages[p] = true
		m.dirtyBytes += 128
	}
	m.touch(i)
}

// lasting is the name for what orders it of a run that is changed: one piece of memory for all of them, which outlives the instance in memory.
func (i *instance) lasting(at at) *runKey {
	r := i.run(at)
	if r.key == nil {
		k := i.key(at)
		r.key = &k
	}
	return r.key
}

// indexRun adds a run to what orders it: its queue, or the locks or the limit its claim waits for, and the deadlines.
func (m *Machine) indexRun(ns *namespace, k *runKey, p place) {
	if p.due > 0 {
		m.deadlines.add(deadline{at: p.due, kind: deadlineRun, run: k})
	}
	if p.date > 0 {
		m.dates.ReplaceOrInsert(date{p.date, k})
	}
	if p.todo > 0 {
		m.todos.ReplaceOrInsert(todo{seq: p.todo, run: k})
	}
	if p.state == v1.RunState_RUN_STATE_INCIDENT && !plant.Is(plant.IncidentLeftOut) {
		ns.still.ReplaceOrInsert(still{p.order, k})
	}
	switch {
	case p.atBarrier():
		ns.parties.add(p.party(k))
	case p.other != "":
		ns.waits.add(p.dependency(k))
	}
	if p.held || p.state != v1.RunState_RUN_STATE_READY && p.state != v1.RunState_RUN_STATE_LEASED {
		return
	}
	q := ns.queue(p.queue)
	if p.state == v1.RunState_RUN_STATE_LEASED {
		q.leased++
		return
	}
	item := readyRun{p.order, p.seq, k}
	m.joinLimits(ns, q, item, &p)
	if p.parked == "" && p.limited == "" {
		m.joinLine(q, p.fair, item)
		return
	}
	if q.parked.ReplaceOrInsert(item); p.limited != "" {
		return // it claims no lock until it has room
	}
	for _, want := range p.locks {
		ns.lock(m, want.Lock).claims.ReplaceOrInsert(&claim{
			order: p.order, seq: p.seq, run: *k, want: want, queue: q,
			parked: want.Lock == p.parked, skippedAt: p.skippedAt,
		})
	}
}

func (m *Machine) unindexRun(ns *namespace, k *runKey, p place) {
	if p.due > 0 {
		m.deadlines.drop(deadline{at: p.due, kind: deadlineRun, run: k})
	}
	if p.date > 0 {
		m.dates.Delete(date{p.date, k})
	}
	if p.todo > 0 {
		m.todos.Delete(todo{seq: p.todo})
	}
	if p.state == v1.RunState_RUN_STATE_INCIDENT {
		ns.still.Delete(still{p.order, k})
	}
	switch {
	case p.atBarrier():
		ns.parties.drop(p.party(k))
	case p.other != "":
		ns.waits.drop(p.dependency(k))
	}
	if p.held || p.state != v1.RunState_RUN_STATE_READY && p.state != v1.RunState_RUN_STATE_LEASED {
		return
	}
	q := ns.queue(p.queue)
	if p.state == v1.RunState_RUN_STATE_LEASED {
		q.leased--
		return
	}
	item := readyRun{p.order, p.seq, k}
	m.leaveLimits(ns, q, item, &p)
	if p.parked == "" && p.limited == "" {
		m.leaveLine(q, p.fair, item)
		return
	}
	if q.parked.Delete(item); p.limited != "" {
		return
	}
	for _, want := range p.locks {
		m.leave(ns.lock(m, want.Lock), &claim{order: p.order, seq: p.seq, run: *k})
	}
}

// priorityWorth is what one step of priority is worth in the order of a queue: ten seconds of waiting.
const priorityWorth = 10_000_000_000

// runReady puts a run in its queue.
type runReady struct {
	i     *instance
	at    at
	first bool
	input *v1.Payload
	locks []*logv1.ClaimedLock
	fair  *string // its key of fairness
	rated *rated
}

func (e *runReady) kind() string { return "lockstep.step.ready.v1" }
func (e *runReady) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Queue = e.i.step(e.at).Queue
	if key := e.i.run(e.at).Fair; key != nil {
		d.FairnessKey = *key
	}
	return e.i.subject()
}
func (e *runReady) evolve(t *turn) {
	n := e.i.step(e.at)
	t.m.change(e.i, e.at, func(r *run) {
		now := t.uptime()
		if e.first {
			r.Locks, r.TotalDeadline, r.Fair, r.Rated = e.locks, after(now, n.Timeouts.Total), e.fair, e.rated
			t.m.setPayload(e.i, e.at, roleInput, e.input)
		}
		r.State, r.RetryAt, r.LockDeadline = v1.RunState_RUN_STATE_READY, 0, 0
		r.limitBy(0)
		r.Order, r.OrderSeq = now-int64(n.Priority)*priorityWorth, t.ns.rec.Position+1
		r.QueueDeadline = after(now, n.Timeouts.Queue)
		r.ChangedWall, r.SkippedAt = t.wall(), 0
	})
}

func after(now, timeout int64) int64 {
	if timeout <= 0 {
		return 0
	}
	return now + timeout
}

// runEnded ends a run that no lease completes: skipped, cancelled, or failed.
type runEnded struct {
	i            *instance
	at           at
	to           v1.RunState
	code, reason string
}

func (e *runEnded) kind() string {
	switch e.to {
	case v1.RunState_RUN_STATE_SKIPPED:
		return "lockstep.step.skipped.v1"
	case v1.RunState_RUN_STATE_CANCELLED:
		return "lockstep.step.cancelled.v1"
	}
	return "lockstep.step.failed.v1"
}
func (e *runEnded) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Code, d.Reason = e.code, e.reason
	return e.i.subject()
}
func (e *runEnded) evolve(t *turn) {
	t.m.change(e.i, e.at, func(r *run) {
		r.State, r.Parked, r.Lapsed, r.Cancelling, r.ChangedWall, r.Todo = e.to, "", false, false, t.wall(), 0
		r.limitBy(0)
		if e.code != "" {
			r.Code, r.Reason = e.code, e.reason
		}
	})
	t.overRun(e.i, e.at)
}

func fillRun(d *v1.EventData, i *instance, at at) {
	r := i.run(at)
	d.InstanceId, d.Workflow, d.Version = i.rec.InstanceId, i.rec.Workflow, i.rec.Version
	d.Step, d.Index, d.Attempt, d.Used, d.Token = i.step(at).ID, at.index, r.Attempt, r.Used, r.Token
}
