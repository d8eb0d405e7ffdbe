package fsm

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// wait is a request whose answer comes later: a poll of queues, the credit of a stream, LeaseStep for one
// named run, or AcquireLock. Waits are replicated, so that a new leader knows them.
type wait struct {
	session *session
	rec     *logv1.Wait
}

const (
	maxWait = 60 * int64(time.Second)
	maxPoll = 100
)

func (w *wait) less(o *wait) bool {
	return cmp.Or(cmp.Compare(w.rec.Order, o.rec.Order), cmp.Compare(w.rec.OrderSeq, o.rec.OrderSeq)) < 0
}

func (w *wait) deadline() deadline {
	return deadline{at: soonest(w.rec.RetryAt, w.rec.DeadlineAt), kind: deadlineWait, wait: w.rec.WaitId}
}

func (w *wait) claim() *claim {
	return &claim{order: w.rec.Order, seq: w.rec.OrderSeq, wait: w, want: w.rec.Lock, parked: true, skippedAt: w.rec.SkippedAt}
}

// run is the run that a LeaseStep wants.
func (w *wait) run() (runKey, bool) {
	return runKey{w.session.rec.Namespace, w.rec.InstanceId, atOf(w.rec)}, w.rec.InstanceId != ""
}

// addWait has a request wait. wait is in nanoseconds; zero is for ever.
func (t *turn) addWait(s *session, rec *logv1.Wait, nanoseconds int64) *wait {
	t.m.group.LastWait++
	rec.WaitId, rec.RequestId = t.waitID(), t.env.RequestId
	rec.Order, rec.OrderSeq = t.uptime(), t.m.group.LastWait
	if nanoseconds > 0 {
		rec.DeadlineAt = t.uptime() + min(nanoseconds, maxWait)
	}
	w := &wait{session: s, rec: rec}
	s.rec.Waits = append(s.rec.Waits, rec)
	s.waits = append(s.waits, w)
	t.m.dirtySession(s)
	t.m.lineWait(w)
	return w
}

// waitID names the call that waits. A command without one is named by its place in the log.
func (t *turn) waitID() uint64 {
	if id := t.env.WaitId; id != 0 && t.m.waits[id] == nil {
		return id
	}
	return t.index<<16 | uint64(t.ordinal)
}

// lineWait puts a wait where it is found when there is something for it.
func (m *Machine) lineWait(w *wait) {
	m.waits[w.rec.WaitId] = w
	if w.rec.DeadlineAt > 0 {
		m.deadlines.add(w.deadline())
	}
	if w.rec.Lock != nil {
		w.session.ns.lock(m, w.rec.Lock.Lock).claims.ReplaceOrInsert(w.claim())
		return
	}
	if k, ok := w.run(); ok {
		m.relined(k, func() {
			m.named[k] = append(m.named[k], w)
			slices.SortFunc(m.named[k], func(a, b *wait) int { return cmp.Compare(a.rec.OrderSeq, b.rec.OrderSeq) })
		})
		return
	}
	if w.rec.Remaining > 0 {
		for _, name := range w.rec.Queues {
			w.session.ns.queue(name).waits.ReplaceOrInsert(w)
		}
	}
}

// unlineWait takes a wait out of the lines: it has got what it asked for, or is over.
func (m *Machine) unlineWait(w *wait) {
	ns := w.session.ns
	if w.rec.DeadlineAt > 0 {
		m.deadlines.drop(w.deadline())
	}
	if w.rec.Lock != nil {
		m.leave(ns.lock(m, w.rec.Lock.Lock), w.claim())
		return
	}
	if k, ok := w.run(); ok {
		m.relined(k, func() {
			if m.named[k] = slices.DeleteFunc(m.named[k], func(o *wait) bool { return o == w }); len(m.named[k]) == 0 {
				delete(m.named, k)
			}
		})
		return
	}
	for _, name := range w.rec.Queues {
		ns.queue(name).waits.Delete(w)
	}
}

// dropWait ends a wait without an answer.
func (m *Machine) dropWait(w *wait) {
	m.unlineWait(w)
	delete(m.waits, w.rec.WaitId)
	s := w.session
	s.waits = slices.DeleteFunc(s.waits, func(o *wait) bool { return o == w })
	s.rec.Waits = slices.DeleteFunc(s.rec.Waits, func(o *logv1.Wait) bool { return o == w.rec })
	m.dirtySession(s)
}

// answer ends a wait with its answer, and remembers that for the request's retry.
func (t *turn) answer(w *wait, reply proto.Message, refusal *Refusal) {
	t.m.dropWait(w)
	settled := Settlement{WaitID: w.rec.WaitId, Reply: reply}
	if refusal != nil {
		settled.Refusal = refusal.Detail
	}
	w.session.answered(w.rec.RequestId, settled.Reply, settled.Refusal)
	t.result.Settled = append(t.result.Settled, settled)
}

// delivery is what a wait was granted in one command.
type delivery struct {
	wait *wait
	runs []*v1.LeasedRun
}

func (t *turn) deliver(w *wait, run *v1.LeasedRun) {
	for _, d := range t.deliveries {
		if d.wait == w {
			d.runs = append(d.runs, run)
			return
		}
	}
	t.deliveries = append(t.deliveries, &delivery{w, []*v1.LeasedRun{run}})
}

// takeDelivery takes what the wait of the command being decided was granted at once.
func (t *turn) takeDelivery(w *wait) []*v1.LeasedRun {
	for at, d := range t.deliveries {
		if d.wait == w {
			t.deliveries = slices.Delete(t.deliveries, at, at+1)
			return d.runs
		}
	}
	return nil
}

// settleDeliveries tells waits what they were granted.
func (t *turn) settleDeliveries() {
	for _, d := range t.deliveries {
		w := d.wait
		_, named := w.run()
		switch {
		case w.rec.Credit:
			more := w.rec.Remaining > 0
			if !more {
				t.m.dropWait(w)
			}
			t.result.Settled = append(t.result.Settled, Settlement{WaitID: w.rec.WaitId, Reply: &v1.PollStepsResponse{Runs: d.runs}, More: more})
		case named:
			t.answer(w, &v1.LeaseStepResponse{Run: d.runs[0]}, nil)
		default:
			t.answer(w, &v1.PollStepsResponse{Runs: d.runs}, nil)
		}
	}
	t.deliveries = nil
}

// expireWait answers a wait whose time is up.
func (t *turn) expireWait(w *wait) {
	t.ns = w.session.ns
	_, named := w.run()
	switch {
	case w.rec.Lock != nil && w.rec.DeadlineAt > t.until:
		t.m.unlineWait(w)
		w.rec.RetryAt = 0
		t.m.lineWait(w)
		t.m.dirtySession(w.session)
		t.wake(t.ns.lock(t.m, w.rec.Lock.Lock))
	case w.rec.Lock != nil:
		l := t.ns.lock(t.m, w.rec.Lock.Lock)
		t.answer(w, nil, Refuse(v1.Code_CODE_WAIT_TIMEOUT, "lock %q was not free within the wait", w.rec.Lock.Lock).With(t.lockHolder(l)))
		t.wake(l)
	case named:
		t.answer(w, nil, Refuse(v1.Code_CODE_WAIT_TIMEOUT, "step %q of instance %q could not be leased within the wait", w.rec.Step, w.rec.InstanceId))
	default:
		t.answer(w, &v1.PollStepsResponse{}, nil)
	}
}

// endWait drops the wait of a caller that is gone.
func (t *turn) endWait(r *logv1.EndWait) (proto.Message, *Refusal) {
	if w := t.m.waits[r.WaitId]; w != nil && w.session.ns == t.ns {
		w.session.forget(w.rec.RequestId)
		t.m.dropWait(w)
		if w.rec.Lock != nil {
			t.wake(t.ns.lock(t.m, w.rec.Lock.Lock))
		}
	}
	return &v1.PollStepsResponse{}, nil
}

// openStream replaces the session's stream: credit of the one before is dropped, and every lease of the
// session is told again. The one before is told, whether it had credit left or not: what asks late may take over from what came
// first, and a worker whose stream was replaced would wait for ever for what it takes for its credit.
func (t *turn) openStream(r *logv1.OpenStream) (proto.Message, *Refusal) {
	s, refusal := t.session(r.Session)
	if refusal != nil {
		return nil, refusal
	}
	t.dropCredit(s)
	if old := uint64(s.rec.Stream); old != 0 && old != t.env.WaitId && !plant.Is(plant.TakeoverUntold) {
		t.result.Settled = append(t.result.Settled, Settlement{WaitID: old, Refusal: Refuse(v1.Code_CODE_UNAVAILABLE, "another stream of session %s took its place; open it anew", SessionName(r.Session)).Detail})
	}
	s.rec.Stream = int64(t.env.WaitId)
	t.m.dirtySession(s)
	reply := &v1.PollStepsResponse{}
	for _, lease := range s.rec.Leases {
		if lease.Lock != "" {
			continue
		}
		i, refusal := t.instance(lease.InstanceId)
		must(refusalError(refusal))
		reply.Runs = append(reply.Runs, t.leasedRun(i, atOf(lease)))
	}
	return reply, nil
}

func (t *turn) dropCredit(s *session) {
	for _, w := range slices.Clone(s.waits) {
		if w.rec.Credit {
			t.m.dropWait(w)
		}
	}
}

// byStream says whether the command came by the session's stream. What comes late by one that was replaced gets no credit:
// nobody is there to be granted anything.
func (t *turn) byStream(s *session) bool {
	return s.rec.Stream != 0 && s.rec.Stream == int64(t.env.WaitId)
}

// parkCredit adds to the credit of the stream that the command came by, which then ranks as one given now. A stream's credit
// is for the same queues throughout; for others nothing parks.
func (t *turn) parkCredit(s *session, queues []string, count int32) {
	queues = sorted(queues)
	w := t.m.waits[t.env.WaitId]
	if w == nil {
		t.addWait(s, &logv1.Wait{Queues: queues, Remaining: count, Credit: true}, 0)
		return
	}
	if w.session != s || !w.rec.Credit || !slices.Equal(w.rec.Queues, queues) {
		return
	}
	t.m.unlineWait(w)
	t.m.group.LastWait++
	w.rec.Remaining += count
	w.rec.Order, w.rec.OrderSeq = t.uptime(), t.m.group.LastWait
	t.m.lineWait(w)
	t.m.dirtySession(s)
}

func sorted(queues []string) []string {
	queues = slices.Clone(queues)
	slices.Sort(queues)
	return slices.Compact(queues)
}

// pollSteps leases ready runs of queues, or waits for one.
func (t *turn) pollSteps(r *logv1.PollSteps) (proto.Message, *Refusal) {
	s, refusal := t.session(r.Session)
	if refusal != nil {
		return nil, refusal
	}
	if len(r.Queues) == 0 || r.Count < 0 || r.Count > maxPoll && !r.Credit {
		return nil, Refuse(v1.Code_CODE_INVALID, "a poll names its queues and asks for 1 to %d runs; it asks for %d", maxPoll, r.Count)
	}
	if r.Credit && !t.byStream(s) {
		return &v1.PollStepsResponse{}, nil
	}
	if r.Credit {
		t.dropCredit(s)
	}
	if r.Count == 0 {
		return &v1.PollStepsResponse{}, nil
	}
	wait := r.Wait
	if r.Credit {
		wait = 0
	}
	w := t.addWait(s, &logv1.Wait{Queues: sorted(r.Queues), Remaining: r.Count, Credit: r.Credit}, wait)
	for _, name := range w.rec.Queues {
		t.match(t.ns.queue(name))
	}
	runs := t.takeDelivery(w)
	switch {
	case r.Credit:
		if w.rec.Remaining == 0 {
			t.m.dropWait(w)
		}
		return &v1.PollStepsResponse{Runs: runs}, nil
	case len(runs) > 0 || r.Wait <= 0:
		t.m.dropWait(w)
		return &v1.PollStepsResponse{Runs: runs}, nil
	}
	return nil, nil
}

// leaseStep claims one named run, waiting for its readiness and its locks if asked.
func (t *turn) leaseStep(r *logv1.LeaseStep) (proto.Message, *Refusal) {
	s, refusal := t.session(r.Session)
	if refusal != nil {
		return nil, refusal
	}
	i, at, refusal := t.find(r.InstanceId, r.Step, r.Index)
	if refusal != nil {
		return nil, refusal
	}
	run := i.run(at)
	if ended(run.State) {
		return nil, t.done(i, at)
	}
	if run.State == v1.RunState_RUN_STATE_READY && !i.paused() {
		if t.claim(i, at, s) {
			return &v1.LeaseStepResponse{Run: t.leasedRun(i, at)}, nil
		}
	}
	if r.Wait <= 0 && i.paused() {
		return nil, Refuse(v1.Code_CODE_NOT_READY, "instance %q is paused, and nothing of it is leased until it is resumed", r.InstanceId)
	}
	if r.Wait <= 0 || run.State == v1.RunState_RUN_STATE_INCIDENT {
		refusal := Refuse(v1.Code_CODE_NOT_READY, "step %q of instance %q cannot be leased now: it is %s%s", r.Step, r.InstanceId, runStateName(run.State), i.sayWait(at))
		if run.State == v1.RunState_RUN_STATE_LEASED {
			refusal = refusal.With(i.holder(at))
		}
		return nil, refusal.asFact()
	}
	t.addWait(s, &logv1.Wait{InstanceId: r.InstanceId, Step: r.Step, Node: at.node, Index: at.index, Remaining: 1}, r.Wait)
	return nil, nil
}

// done refuses to lease a run that has ended.
func (t *turn) done(i *instance, at at) *Refusal {
	r := i.run(at)
	refusal := Refuse(v1.Code_CODE_ALREADY_DONE, "step %q of instance %q has ended: it is %s", i.step(at).ID, i.rec.InstanceId, i.sayEnded(at))
	refusal.Detail.Token, refusal.Detail.Output = r.Token, t.payload(i, at, roleOutput)
	return refusal
}

// endNamed answers those who wait by name for a run that ended.
func (t *turn) endNamed(i *instance, at at) {
	for _, w := range slices.Clone(t.m.named[i.key(at)]) {
		t.answer(w, nil, t.done(i, at))
	}
}
