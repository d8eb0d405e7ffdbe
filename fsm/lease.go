package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// find names the run of an instance.
func (t *turn) find(id, step string, index int32) (*instance, at, *Refusal) {
	i, refusal := t.instance(id)
	if refusal != nil {
		return nil, at{}, refusal
	}
	at, refusal := i.named(step, index)
	if refusal == nil && i.run(at).State == unbegun {
		refusal = i.noRun(step, index)
	}
	return i, at, refusal
}

// named is where the run of a step is, or of a compensation that may not be begun.
func (i *instance) named(step string, index int32) (at, *Refusal) {
	at := at{i.node(step), index}
	switch {
	case at.node < 0:
		return at, Refuse(v1.Code_CODE_STEP_NOT_FOUND, "workflow %s version %d of instance %q has no step %q", i.rec.Workflow, i.rec.Version, i.rec.InstanceId, step)
	case i.frame(at) == nil, i.run(at).State == unbegun && !isCompensation(i.step(at)):
		return at, i.noRun(step, index)
	}
	return at, nil
}

func (i *instance) noRun(step string, index int32) *Refusal {
	return Refuse(v1.Code_CODE_RUN_NOT_FOUND, "step %q of instance %q has no run %d", step, i.rec.InstanceId, index)
}

// findHeld names the run that a holder speaks of, and refuses a token that was never issued.
func (t *turn) findHeld(id, step string, index int32, token int64) (*instance, at, *Refusal) {
	i, at, refusal := t.find(id, step, index)
	switch {
	case refusal != nil:
		return nil, at, refusal
	case token <= 0:
		return nil, at, Refuse(v1.Code_CODE_INVALID, "token %d is none; give the token of the lease", token)
	case token > t.ns.rec.Token:
		return nil, at, Refuse(v1.Code_CODE_TOKEN_UNKNOWN, "token %d was never issued; the newest of namespace %s is %d", token, t.ns.rec.Namespace, t.ns.rec.Token)
	}
	return i, at, nil
}

// node finds a step's place in the graph; -1 when there is none.
func (i *instance) node(step string) int32 {
	if node, ok := i.version.nodes[step]; ok {
		return node
	}
	return -1
}

// fenced refuses a token that is not the newest of the run's lease, and says who holds it.
func (i *instance) fenced(at at, token int64) *Refusal {
	r, step := i.run(at), i.step(at).ID
	switch {
	case r.State == v1.RunState_RUN_STATE_LEASED:
		return Refuse(v1.Code_CODE_FENCED, "step %q of instance %q is held under token %d by session %s; token %d is over", step, i.rec.InstanceId, r.Token, sessionName(r.Session), token).With(i.holder(at))
	case r.State == v1.RunState_RUN_STATE_COMPLETED:
		refusal := Refuse(v1.Code_CODE_FENCED, "step %q of instance %q was completed under token %d; token %d is over", step, i.rec.InstanceId, r.Token, token)
		refusal.Detail.Token = r.Token
		return refusal
	}
	return Refuse(v1.Code_CODE_FENCED, "the lease of step %q of instance %q under token %d is over: the run is %s", step, i.rec.InstanceId, token, runStateName(r.State))
}

func (i *instance) holder(at at) *v1.Holder {
	r := i.run(at)
	return &v1.Holder{
		SessionId: sessionName(r.Session), Token: r.Token, InstanceId: i.rec.InstanceId,
		Step: i.step(at).ID, Index: at.index, Since: stamp(r.GrantedWall),
	}
}

func runStateName(s v1.RunState) string { return s.String()[len("RUN_STATE_"):] }

// holds: the token is that of the running lease.
func holds(r *run, token int64) bool {
	return r.State == v1.RunState_RUN_STATE_LEASED && r.Token == token
}

// endedHow finds how a token's lease ended, among the newest.
func endedHow(r *run, token int64) *logv1.EndedToken {
	for _, e := range r.Ended {
		if e.Token == token {
			return e
		}
	}
	return nil
}

// releaseStep gives a run back without using an attempt: it is ready now, in its old place.
func (t *turn) releaseStep(c *v1.ReleaseStepRequest) (proto.Message, *Refusal) {
	i, at, refusal := t.findHeld(c.InstanceId, c.Step, c.Index, c.Token)
	if refusal != nil {
		return nil, refusal
	}
	r := i.run(at)
	if !holds(r, c.Token) {
		if e := endedHow(r, c.Token); e != nil && e.How == "release" {
			return &v1.ReleaseStepResponse{}, nil
		}
		return nil, i.fenced(at, c.Token)
	}
	t.giveBack(i, at, "release", c.Reason)
	return &v1.ReleaseStepResponse{}, nil
}

// reportProgress tells how far a run is, and resets its heartbeat.
func (t *turn) reportProgress(c *v1.ReportProgressRequest) (proto.Message, *Refusal) {
	i, at, refusal := t.findHeld(c.InstanceId, c.Step, c.Index, c.Token)
	if refusal != nil {
		return nil, refusal
	}
	r := i.run(at)
	if !holds(r, c.Token) && !(plant.Is(plant.ProgressIgnoresToken) && r.State == v1.RunState_RUN_STATE_LEASED) {
		return nil, i.fenced(at, c.Token)
	}
	t.emit(&runProgressed{i: i, at: at, progress: c.ProgressPayload})
	return &v1.ReportProgressResponse{Cancelled: r.Cancelling}, nil
}

// lapse ends a lease that its holder did not end: the session went, or a timeout came. It counts as an
// attempt, and the run is ready at once in its old place.
func (t *turn) lapse(i *instance, at at, code string) {
	r := i.run(at)
	switch {
	case !i.wanted(at) && !isCompensation(i.step(at)):
		t.endLeased(i, at, &runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_CANCELLED, code: code})
	case r.Used+1 >= int32(i.step(at).Retry.Attempts):
		t.failRun(i, at, code, "attempts are used up", true)
	default:
		token := r.Token
		t.emit(&runReturned{i: i, at: at, how: "lapse", code: code})
		t.freeLocks(i, at, token, true)
		t.offer(i, at)
	}
}

// giveBack ends a lease without counting an attempt: released, orphaned or revoked.
func (t *turn) giveBack(i *instance, at at, how, reason string) {
	r := i.run(at)
	token := r.Token
	if !i.wanted(at) && !isCompensation(i.step(at)) {
		t.endLeased(i, at, &runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_CANCELLED, reason: reason})
		t.rememberEnd(i, at, &logv1.EndedToken{Token: token, How: how, State: r.State})
		return
	}
	t.emit(&runReturned{i: i, at: at, how: how, reason: reason})
	t.plantedSlot(i, at)
	t.rememberEnd(i, at, &logv1.EndedToken{Token: token, How: how, State: r.State})
	t.freeLocks(i, at, token, false)
	t.offer(i, at)
}

// endLeased ends a leased run, frees its locks, and ends the instance if it was the last that ran.
func (t *turn) endLeased(i *instance, at at, e *runEnded) {
	token := i.run(at).Token
	t.m.dropLease(t.ns, token)
	t.emit(e)
	t.freeLocks(i, at, token, false)
	t.endIn(i, at)
}

// freeLocks frees every lock of a claim, and wakes what waits for them. The places of a lapsed lease are
// remembered until somebody needs them.
func (t *turn) freeLocks(i *instance, at at, token int64, lapsed bool) {
	for _, want := range i.run(at).Locks {
		l := t.ns.lock(t.m, want.Lock)
		if plant.Is(plant.PermitsLeak) && lapsed && want.Limit > 0 {
			continue
		}
		if h := l.holder(token); h != nil {
			t.emit(&lockReleased{lock: l, holder: h, lapsed: lapsed})
		}
	}
	for _, want := range i.run(at).Locks {
		t.wake(t.ns.lock(t.m, want.Lock))
	}
}

// rememberEnd keeps the first answer for the newest few tokens of a run.
func (t *turn) rememberEnd(i *instance, at at, e *logv1.EndedToken) {
	t.m.change(i, at, func(r *run) {
		r.Ended = append(r.Ended, e)
		if len(r.Ended) > 4 {
			r.Ended = slices.Delete(r.Ended, 0, 1)
		}
	})
}

// runOf finds the instance of a run that something is due for, and turns to its namespace.
func (t *turn) runOf(k runKey) *instance {
	t.ns = t.m.namespaces[k.namespace]
	i, refusal := t.instance(k.instance)
	must(refusalError(refusal))
	return i
}

// expireRun does what is due for a run by itself.
func (t *turn) expireRun(k runKey) {
	i := t.runOf(k)
	if k.at == whole {
		t.failInstance(i, "TIMEOUT", "the instance's total timeout passed")
		return
	}
	r := i.run(k.at)
	passed := func(at int64) bool { return at > 0 && at <= t.until }
	switch {
	case passed(r.TotalDeadline):
		t.failRun(i, k.at, "TIMEOUT_TOTAL", "the step's total timeout passed", r.State == v1.RunState_RUN_STATE_LEASED)
	case r.State == v1.RunState_RUN_STATE_WAITING:
		t.fire(i, k.at, t.uptime()-r.TimerAt)
		t.advanceInstance(i, k.at)
	case r.State == v1.RunState_RUN_STATE_READY && passed(r.LockDeadline):
		t.failParked(i, k.at, "LOCK_TIMEOUT", "the step's locks were not free in time")
	case r.State == v1.RunState_RUN_STATE_READY && passed(r.RetryAt):
		t.unpark(i, k.at)
		t.offer(i, k.at)
	case r.State == v1.RunState_RUN_STATE_READY:
		t.failRun(i, k.at, "TIMEOUT_QUEUE", "no worker took the run within its queue timeout", false)
	case r.State == v1.RunState_RUN_STATE_BACKOFF:
		t.emit(&runReady{i: i, at: k.at})
		t.offer(i, k.at)
	case r.State == v1.RunState_RUN_STATE_LEASED && passed(r.RunDeadline):
		t.lapse(i, k.at, "TIMEOUT_RUN")
	case r.State == v1.RunState_RUN_STATE_LEASED:
		t.lapse(i, k.at, "TIMEOUT_HEARTBEAT")
	}
}

// revokeLease takes a lease from its holder, by token. It does not count as an attempt.
func (t *turn) revokeLease(c *v1.RevokeLeaseRequest) (proto.Message, *Refusal) {
	ref, ok := t.ns.leases[c.Token]
	if !ok {
		if c.Token <= 0 || c.Token > t.ns.rec.Token {
			return nil, Refuse(v1.Code_CODE_TOKEN_UNKNOWN, "token %d was never issued", c.Token)
		}
		return nil, Refuse(v1.Code_CODE_FENCED, "the lease under token %d is over already", c.Token)
	}
	if ref.lock != "" {
		t.releaseHeld(ref, c.Token)
		return &v1.RevokeLeaseResponse{}, nil
	}
	i, refusal := t.instance(ref.instance)
	must(refusalError(refusal))
	t.giveBack(i, ref.at, "revoke", c.Reason)
	return &v1.RevokeLeaseResponse{}, nil
}

// runReturned puts a leased run back into its old place: its lease lapsed, or was given back.
type runReturned struct {
	i                 *instance
	at                at
	how, code, reason string
}

func (e *runReturned) kind() string {
	if e.how == "lapse" {
		return "lockstep.step.lapsed.v1"
	}
	return "lockstep.step.released.v1"
}
func (e *runReturned) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Name, d.Code, d.Reason = e.how, e.code, e.reason
	return e.i.subject()
}
func (e *runReturned) evolve(t *turn) {
	t.m.dropLease(t.ns, e.i.run(e.at).Token)
	t.m.change(e.i, e.at, func(r *run) {
		r.State, r.Lapsed = v1.RunState_RUN_STATE_READY, e.how == "lapse"
		if r.Lapsed {
			r.Used++
			r.Code, r.Reason = e.code, "the lease lapsed"
		}
		r.QueueDeadline = after(t.uptime(), e.i.step(e.at).Timeouts.Queue)
		r.Cancelling, r.ChangedWall = false, t.wall()
	})
}

// runProgressed tells how far a leased run is.
type runProgressed struct {
	i        *instance
	at       at
	progress *v1.Payload
}

func (e *runProgressed) kind() string { return "lockstep.step.progressed.v1" }
func (e *runProgressed) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.PayloadSize = int64(len(e.progress.GetBytes()))
	return e.i.subject()
}
func (e *runProgressed) evolve(t *turn) {
	n := e.i.step(e.at)
	t.m.change(e.i, e.at, func(r *run) {
		r.HeartbeatDeadline = after(t.uptime(), n.Timeouts.Heartbeat)
	})
	t.m.setPayload(e.i, e.at, roleProgress, e.progress)
}
