package fsm

import (
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// elapsed is the time between two uptimes.
func elapsed(from, to int64) time.Duration { return time.Duration(max(0, to-from)) }

// grant leases a run to a wait, if its locks are free; else the run parks on the first that is busy.
func (t *turn) grant(i *instance, at at, w *wait) (leased bool) {
	if !t.claim(i, at, w.session) {
		return false
	}
	t.deliver(w, t.leasedRun(i, at))
	w.rec.Remaining--
	t.m.dirtySession(w.session)
	if w.rec.Remaining == 0 {
		t.m.unlineWait(w)
	}
	return true
}

// claim is where a lease begins: the run, every lock and every rate slot it needs are granted all at once under one token, or nothing is. A run
// that is blocked parks on the first busy lock, or else on the first limit without room, and is offered again when that has changed.
func (t *turn) claim(i *instance, at at, s *session) bool {
	r, k := i.run(at), i.key(at)
	for _, want := range r.Locks {
		l := t.ns.lock(t.m, want.Lock)
		if l.differs(want) {
			t.emit(&runIncident{i: i, at: at, code: "LOCK_LIMIT_DIFFERS", reason: l.sayLimit(want)})
			return false
		}
		asking := &claim{order: r.Order, seq: r.OrderSeq, run: k, want: want}
		if verdict := t.m.busy(l, asking); verdict != free {
			t.park(i, at, want.Lock, verdict)
			if t.m.barred(l, asking) {
				t.lookAgain(i, at) // somebody holds a lock of it, and may wait for this run
			}
			return false
		}
		if plant.Is(plant.ClaimPiecemeal) {
			t.emit(&lockGranted{lock: l, want: want, holder: &logv1.LockHolder{Token: t.ns.rec.Token + 1, Session: s.rec.Session, InstanceId: i.rec.InstanceId, Node: at.node, Index: at.index}})
		}
	}
	if t.needsSlots(i, at) {
		return false
	}
	t.emit(&runLeased{i: i, at: at, session: s, token: t.ns.rec.Token + 1})
	t.takeSlots(i, at)
	for _, want := range r.Locks {
		if plant.Is(plant.ClaimPiecemeal) {
			break
		}
		t.emit(&lockGranted{
			lock: t.ns.lock(t.m, want.Lock), want: want,
			holder: &logv1.LockHolder{Token: r.Token, Session: r.Session, InstanceId: i.rec.InstanceId, Node: at.node, Index: at.index},
		})
	}
	t.hold(i, at)
	return true
}

// park has the run wait for a lock. The first time that it is passed over is stamped (lock.go, busy).
func (t *turn) park(i *instance, at at, lock string, verdict busyness) {
	t.m.change(i, at, func(r *run) {
		r.limitBy(0)
		r.Parked, r.RetryAt = lock, 0
		if verdict == reserved {
			r.RetryAt = t.uptime() + retryReserved
		}
		if r.SkippedAt == 0 {
			r.SkippedAt = max(1, t.uptime())
		}
		if r.LockDeadline == 0 && !plant.Is(plant.LockWaitEndless) {
			r.LockDeadline = after(t.uptime(), i.step(at).Timeouts.Locks)
		}
	})
}

// unpark puts the run back into its queue's line.
func (t *turn) unpark(i *instance, at at) {
	t.m.change(i, at, func(r *run) {
		r.limitBy(0)
		r.Parked, r.RetryAt = "", 0
	})
}

// runLeased begins an attempt.
type runLeased struct {
	i       *instance
	at      at
	session *session
	token   int64
}

func (e *runLeased) kind() string { return "lockstep.step.leased.v1" }
func (e *runLeased) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.SessionId, d.Queue = sessionName(e.session.rec.Session), e.i.step(e.at).Queue
	return e.i.subject()
}
func (e *runLeased) evolve(t *turn) {
	t.dropLapsed(e.i, e.at)
	t.ns.rec.Token = e.token
	n := e.i.step(e.at)
	t.m.change(e.i, e.at, func(r *run) {
		now := t.uptime()
		r.State, r.Attempt, r.Token, r.Session = v1.RunState_RUN_STATE_LEASED, r.Attempt+1, e.token, e.session.rec.Session
		r.limitBy(0)
		r.Parked, r.Lapsed, r.QueueDeadline, r.RetryAt, r.LockDeadline = "", false, 0, 0, 0
		r.GrantedWall, r.ChangedWall = t.wall(), t.wall()
		r.RunDeadline, r.HeartbeatDeadline = after(now, n.Timeouts.Run), after(now, n.Timeouts.Heartbeat)
	})
	t.addLease(e.session, &logv1.Lease{Token: e.token, InstanceId: e.i.rec.InstanceId, Node: e.at.node, Index: e.at.index, GrantedAt: t.uptime()})
}

// leasedRun is what the worker gets.
func (t *turn) leasedRun(i *instance, at at) *v1.LeasedRun {
	r, n := i.run(at), i.step(at)
	undoes, compensates := i.compensates(at)
	of, undone := whole, ""
	if n.HasInput || compensates {
		of = at
	}
	if compensates {
		undone = i.step(undoes).ID
	}
	out := &v1.LeasedRun{
		Namespace: i.ns.rec.Namespace, InstanceId: i.rec.InstanceId, Workflow: i.rec.Workflow, Version: i.rec.Version,
		Step: n.ID, Index: at.index, Attempt: r.Attempt, Token: r.Token, SessionId: sessionName(r.Session),
		Queue: n.Queue, Task: n.Task, InputPayload: t.payload(i, of, roleInput), IdempotencyKey: i.idempotencyKey(at),
		Traceparent: i.rec.Traceparent, Retryable: r.Used+1 < int32(n.Retry.Attempts), Compensates: undone,
	}
	if n.Timeouts.Run > 0 {
		out.RunTimeout = durationpb.New(time.Duration(n.Timeouts.Run))
	}
	if n.Timeouts.Heartbeat > 0 {
		out.Heartbeat = durationpb.New(time.Duration(n.Timeouts.Heartbeat))
	}
	for _, want := range r.Locks {
		l := t.ns.lock(t.m, want.Lock)
		grant := &v1.LockGrant{Lock: want.Lock, Shared: want.Shared, Take: want.Take, HoldToken: t.heldUnder(i.key(at), l)}
		for _, h := range l.rec.Holders {
			if h.Token == r.Token && len(h.Slots) > 0 {
				grant.Slot = h.Slots[0]
			}
		}
		out.Locks = append(out.Locks, grant)
	}
	return out
}

// idempotencyKey is the same on every attempt of a run, and of no other run.
func (i *instance) idempotencyKey(at at) string {
	return i.ns.rec.Namespace + "/" + i.rec.InstanceId + "/" + i.step(at).ID + "/" + strconv.Itoa(int(at.index))
}

// dropLapsed forgets the places that a lapsed lease still had: its run is granted again, or over.
func (t *turn) dropLapsed(i *instance, at at) {
	r := i.run(at)
	if !r.Lapsed {
		return
	}
	for _, want := range r.Locks {
		l := t.ns.lock(t.m, want.Lock)
		l.rec.Lapsed = slices.DeleteFunc(l.rec.Lapsed, func(h *logv1.LockHolder) bool { return h.Token == r.Token })
		t.m.dirtyLock(l)
	}
}
