package fsm

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// find names the run of an instance.
func (t *turn) find(id, step string, index int32) (*instance, int32, *Refusal) {
	i, refusal := t.instance(id)
	if refusal != nil {
		return nil, 0, refusal
	}
	node := i.node(step)
	switch {
	case node < 0:
		return nil, 0, Refuse(v1.Code_CODE_STEP_NOT_FOUND, "workflow %s version %d of instance %q has no step %q", i.rec.Workflow, i.rec.Version, id, step)
	case index != 0:
		return nil, 0, Refuse(v1.Code_CODE_RUN_NOT_FOUND, "step %q of instance %q has no run %d", step, id, index)
	}
	return i, node, nil
}

// findHeld names the run that a holder speaks of, and refuses a token that was never issued.
func (t *turn) findHeld(id, step string, index int32, token int64) (*instance, int32, *Refusal) {
	i, node, refusal := t.find(id, step, index)
	switch {
	case refusal != nil:
		return nil, 0, refusal
	case token <= 0:
		return nil, 0, Refuse(v1.Code_CODE_INVALID, "token %d is none; give the token of the lease", token)
	case token > t.ns.rec.Token:
		return nil, 0, Refuse(v1.Code_CODE_TOKEN_UNKNOWN, "token %d was never issued; the newest of namespace %s is %d", token, t.ns.rec.Namespace, t.ns.rec.Token)
	}
	return i, node, nil
}

// node finds a step's place in the graph; -1 when there is none.
func (i *instance) node(step string) int32 {
	if node, ok := i.version.nodes[step]; ok {
		return node
	}
	return -1
}

// fenced refuses a token that is not the newest of the run's lease, and says who holds it.
func (i *instance) fenced(node int32, token int64) *Refusal {
	r, step := i.runs[node], i.graph.Nodes[node].ID
	switch {
	case r.State == v1.RunState_RUN_STATE_LEASED:
		return Refuse(v1.Code_CODE_FENCED, "step %q of instance %q is held under token %d by session %s; token %d is over", step, i.rec.InstanceId, r.Token, sessionName(r.Session), token).With(i.holder(node))
	case r.State == v1.RunState_RUN_STATE_COMPLETED:
		refusal := Refuse(v1.Code_CODE_FENCED, "step %q of instance %q was completed under token %d; token %d is over", step, i.rec.InstanceId, r.Token, token)
		refusal.Detail.Token = r.Token
		return refusal
	}
	return Refuse(v1.Code_CODE_FENCED, "the lease of step %q of instance %q under token %d is over: the run is %s", step, i.rec.InstanceId, token, runStateName(r.State))
}

func (i *instance) holder(node int32) *v1.Holder {
	r := i.runs[node]
	return &v1.Holder{
		SessionId: sessionName(r.Session), Token: r.Token, InstanceId: i.rec.InstanceId,
		Step: i.graph.Nodes[node].ID, Index: r.Index, Since: stamp(r.GrantedWall),
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

// completeStep accepts the one completion of a run: that of its running lease, or of one that lapsed while
// nobody has been granted the run, or needed one of its locks' places, since. The token is compared here, in
// the entry that moves the workflow on.
func (t *turn) completeStep(c *v1.CompleteStepRequest) (proto.Message, *Refusal) {
	i, node, refusal := t.findHeld(c.InstanceId, c.Step, c.Index, c.Token)
	if refusal != nil {
		return nil, refusal
	}
	r := i.runs[node]
	late := r.Lapsed && r.Token == c.Token && r.State == v1.RunState_RUN_STATE_READY
	if plant.Is(plant.SkipTokenCheck) && r.State == v1.RunState_RUN_STATE_LEASED {
		c.Token = r.Token
	}
	switch {
	case r.State == v1.RunState_RUN_STATE_COMPLETED && r.Token == c.Token:
		reply := &v1.CompleteStepResponse{InstanceState: i.rec.State, Late: r.Lapsed}
		if t.env.WaitId != 0 { // what a stream asks for next is for that stream, whoever told the completion first
			t.next(c, i.graph.Nodes[node].Queue, reply)
		}
		return reply, nil
	case !holds(r, c.Token) && !late:
		refusal := i.fenced(node, c.Token)
		t.keepLate(i, node, c)
		return nil, refusal.asFact()
	}
	t.emit(&runCompleted{i: i, node: node, token: c.Token, output: c.OutputPayload, late: late})
	t.freeLocks(i, node, c.Token, false)
	if i.rec.State == v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.advanceInstance(i, []int32{node})
	} else {
		t.endStopped(i)
	}
	reply := &v1.CompleteStepResponse{InstanceState: i.rec.State, Late: late}
	t.matchTouched()
	t.next(c, i.graph.Nodes[node].Queue, reply)
	return reply, nil
}

// next grants more runs in the command that completed one. It ranks as a poll made now. What it is not granted at once
// parks as credit of the stream that the command came by, if it came by one.
func (t *turn) next(c *v1.CompleteStepRequest, queue string, reply *v1.CompleteStepResponse) {
	s := t.m.sessions[sessionID(c.SessionId)]
	if c.Next == nil || s == nil || s.ns != t.ns || t.env.WaitId != 0 && !t.byStream(s) {
		return
	}
	queues := c.Next.Queues
	if len(queues) == 0 {
		queues = []string{queue}
	}
	left := min(c.Next.Count, maxPoll)
	for ; left > 0; left-- {
		run := t.leaseNext(s, queues)
		if run == nil {
			break
		}
		reply.Next = append(reply.Next, run)
	}
	if left > 0 && t.env.WaitId != 0 {
		t.parkCredit(s, queues, left)
	}
}

// leaseNext leases the first run of queues whose claim is granted; nil when none is ready.
func (t *turn) leaseNext(s *session, queues []string) *v1.LeasedRun {
	for {
		var best *readyRun
		for _, name := range queues {
			if first, ok := t.ns.queue(name).ready.Min(); ok && (best == nil || first.less(*best)) {
				best = &first
			}
		}
		if best == nil {
			return nil
		}
		i, refusal := t.instance(best.run.instance)
		must(refusalError(refusal))
		if t.claim(i, best.run.node, s) {
			return t.leasedRun(i, best.run.node)
		}
	}
}

// failStep ends an attempt badly: the run backs off, or fails when its attempts are used up.
func (t *turn) failStep(f *v1.FailStepRequest) (proto.Message, *Refusal) {
	i, node, refusal := t.findHeld(f.InstanceId, f.Step, f.Index, f.Token)
	if refusal != nil {
		return nil, refusal
	}
	r := i.runs[node]
	if !holds(r, f.Token) {
		if e := endedHow(r, f.Token); e != nil && e.How == "fail" {
			return failed(e.State, e.Delay), nil
		}
		return nil, i.fenced(node, f.Token)
	}
	retry := i.graph.Nodes[node].Retry
	switch {
	case i.rec.State != v1.InstanceState_INSTANCE_STATE_RUNNING:
		t.endLeased(i, node, &runEnded{i: i, node: node, to: v1.RunState_RUN_STATE_CANCELLED, code: f.Code, reason: f.Reason})
	case !f.Retryable || slices.Contains(retry.NonRetryable, f.Code) || r.Used+1 >= int32(retry.Attempts):
		t.failRun(i, node, f.Code, f.Reason, true)
	default:
		delay := backoff(retry, r.Used, i.idempotencyKey(node), f.Token)
		t.emit(&runRetried{i: i, node: node, code: f.Code, reason: f.Reason, delay: delay})
		t.freeLocks(i, node, f.Token, false)
	}
	var delay int64
	if r.State == v1.RunState_RUN_STATE_BACKOFF {
		delay = r.RetryAt - t.uptime()
	}
	t.rememberEnd(i, node, &logv1.EndedToken{Token: f.Token, How: "fail", State: r.State, Delay: delay})
	return failed(r.State, delay), nil
}

// failed is what a failed attempt is answered, first and again.
func failed(state v1.RunState, delay int64) *v1.FailStepResponse {
	reply := &v1.FailStepResponse{State: state}
	if state == v1.RunState_RUN_STATE_BACKOFF {
		reply.RetryIn = durationpb.New(time.Duration(delay))
	}
	return reply
}

// backoff doubles from the policy's first delay up to its cap, less up to a fifth that is drawn from the
// run and the token, so that replicas agree and a herd spreads.
func backoff(retry graph.Retry, used int32, key string, token int64) int64 {
	delay := retry.Backoff
	for range min(used, 62) {
		if delay *= 2; delay >= retry.MaxBackoff || delay <= 0 {
			delay = retry.MaxBackoff
			break
		}
	}
	delay = min(delay, retry.MaxBackoff)
	draw := crc32.ChecksumIEEE(binary.BigEndian.AppendUint64([]byte(key), uint64(token)))
	return delay - delay/5*int64(draw%1000)/1000
}

// releaseStep gives a run back without using an attempt: it is ready now, in its old place.
func (t *turn) releaseStep(c *v1.ReleaseStepRequest) (proto.Message, *Refusal) {
	i, node, refusal := t.findHeld(c.InstanceId, c.Step, c.Index, c.Token)
	if refusal != nil {
		return nil, refusal
	}
	r := i.runs[node]
	if !holds(r, c.Token) {
		if e := endedHow(r, c.Token); e != nil && e.How == "release" {
			return &v1.ReleaseStepResponse{}, nil
		}
		return nil, i.fenced(node, c.Token)
	}
	t.giveBack(i, node, "release", c.Reason)
	return &v1.ReleaseStepResponse{}, nil
}

// reportProgress tells how far a run is, and resets its heartbeat.
func (t *turn) reportProgress(c *v1.ReportProgressRequest) (proto.Message, *Refusal) {
	i, node, refusal := t.findHeld(c.InstanceId, c.Step, c.Index, c.Token)
	if refusal != nil {
		return nil, refusal
	}
	r := i.runs[node]
	if !holds(r, c.Token) && !(plant.Is(plant.ProgressIgnoresToken) && r.State == v1.RunState_RUN_STATE_LEASED) {
		return nil, i.fenced(node, c.Token)
	}
	t.emit(&runProgressed{i: i, node: node, progress: c.ProgressPayload})
	return &v1.ReportProgressResponse{Cancelled: r.Cancelling}, nil
}

// lapse ends a lease that its holder did not end: the session went, or a timeout came. It counts as an
// attempt, and the run is ready at once in its old place.
func (t *turn) lapse(i *instance, node int32, code string) {
	r := i.runs[node]
	switch {
	case i.rec.State != v1.InstanceState_INSTANCE_STATE_RUNNING:
		t.endLeased(i, node, &runEnded{i: i, node: node, to: v1.RunState_RUN_STATE_CANCELLED, code: code})
	case r.Used+1 >= int32(i.graph.Nodes[node].Retry.Attempts):
		t.failRun(i, node, code, "attempts are used up", true)
	default:
		token := r.Token
		t.emit(&runReturned{i: i, node: node, how: "lapse", code: code})
		t.freeLocks(i, node, token, true)
		t.offer(i, node)
	}
}

// giveBack ends a lease without counting an attempt: released, orphaned or revoked.
func (t *turn) giveBack(i *instance, node int32, how, reason string) {
	r := i.runs[node]
	token := r.Token
	if i.rec.State != v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.endLeased(i, node, &runEnded{i: i, node: node, to: v1.RunState_RUN_STATE_CANCELLED, reason: reason})
		t.rememberEnd(i, node, &logv1.EndedToken{Token: token, How: how, State: r.State})
		return
	}
	t.emit(&runReturned{i: i, node: node, how: how, reason: reason})
	t.rememberEnd(i, node, &logv1.EndedToken{Token: token, How: how, State: r.State})
	t.freeLocks(i, node, token, false)
	t.offer(i, node)
}

// endLeased ends a leased run, frees its locks, and ends the instance if it was the last that ran.
func (t *turn) endLeased(i *instance, node int32, e *runEnded) {
	token := i.runs[node].Token
	t.m.dropLease(t.ns, token)
	t.emit(e)
	t.freeLocks(i, node, token, false)
	t.endStopped(i)
}

// failRun fails a run for good, and with it the instance.
func (t *turn) failRun(i *instance, node int32, code, reason string, counted bool) {
	r := i.runs[node]
	locks := r.Parked != ""
	token, leased := r.Token, r.State == v1.RunState_RUN_STATE_LEASED
	if counted {
		t.m.change(i, node, func(r *run) { r.Used++ })
	}
	if leased {
		t.m.dropLease(t.ns, token)
	}
	t.dropLapsed(i, node)
	t.emit(&runEnded{i: i, node: node, to: v1.RunState_RUN_STATE_FAILED, code: code, reason: reason})
	if leased || locks {
		t.freeLocks(i, node, token, false)
	}
	if i.rec.State == v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_FAILING, code: code, reason: "step " + i.graph.Nodes[node].ID + " failed: " + reason})
		t.stopRuns(i)
		return
	}
	t.endStopped(i)
}

// freeLocks frees every lock of a claim, and wakes what waits for them. The places of a lapsed lease are
// remembered until somebody needs them.
func (t *turn) freeLocks(i *instance, node int32, token int64, lapsed bool) {
	for _, want := range i.runs[node].Locks {
		l := t.ns.lock(t.m, want.Lock)
		if plant.Is(plant.PermitsLeak) && lapsed && want.Limit > 0 {
			continue
		}
		if h := l.holder(token); h != nil {
			t.emit(&lockReleased{lock: l, holder: h, lapsed: lapsed})
		}
	}
	for _, want := range i.runs[node].Locks {
		t.wake(t.ns.lock(t.m, want.Lock))
	}
}

// rememberEnd keeps the first answer for the newest few tokens of a run.
func (t *turn) rememberEnd(i *instance, node int32, e *logv1.EndedToken) {
	t.m.change(i, node, func(r *run) {
		r.Ended = append(r.Ended, e)
		if len(r.Ended) > 4 {
			r.Ended = slices.Delete(r.Ended, 0, 1)
		}
	})
}

// expireRun does what is due for a run by itself.
func (t *turn) expireRun(k runKey) {
	t.ns = t.m.namespaces[k.namespace]
	i, refusal := t.instance(k.instance)
	must(refusalError(refusal))
	r := i.runs[k.node]
	passed := func(at int64) bool { return at > 0 && at <= t.until }
	switch {
	case passed(r.TotalDeadline):
		t.failRun(i, k.node, "TIMEOUT_TOTAL", "the step's total timeout passed", r.State == v1.RunState_RUN_STATE_LEASED)
	case r.State == v1.RunState_RUN_STATE_READY && passed(r.RetryAt):
		t.m.change(i, k.node, func(r *run) { r.RetryAt, r.Parked = 0, "" })
		t.offer(i, k.node)
	case r.State == v1.RunState_RUN_STATE_READY:
		t.failRun(i, k.node, "TIMEOUT_QUEUE", "no worker took the run within its queue timeout", false)
	case r.State == v1.RunState_RUN_STATE_BACKOFF:
		t.emit(&runReady{i: i, node: k.node})
		t.offer(i, k.node)
	case r.State == v1.RunState_RUN_STATE_LEASED && passed(r.RunDeadline):
		t.lapse(i, k.node, "TIMEOUT_RUN")
	case r.State == v1.RunState_RUN_STATE_LEASED:
		t.lapse(i, k.node, "TIMEOUT_HEARTBEAT")
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
	t.giveBack(i, ref.node, "revoke", c.Reason)
	return &v1.RevokeLeaseResponse{}, nil
}

// runCompleted is the one accepted completion of a run.
type runCompleted struct {
	i      *instance
	node   int32
	token  int64
	output *v1.Payload
	late   bool
	digest []byte
}

func (e *runCompleted) kind() string { return "lockstep.step.completed.v1" }
func (e *runCompleted) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.node)
	d.Late, d.PayloadDigest, d.PayloadSize = e.late, e.digest, int64(len(e.output.GetBytes()))
	d.SessionId = sessionName(e.i.runs[e.node].Session)
	return e.i.subject()
}
func (e *runCompleted) evolve(t *turn) {
	e.digest = payloadDigest(t.salt(), e.output)
	t.dropLapsed(e.i, e.node)
	t.m.dropLease(t.ns, e.token)
	t.m.change(e.i, e.node, func(r *run) {
		if r.State == v1.RunState_RUN_STATE_LEASED {
			e.i.rec.Leased--
		}
		r.State, r.Lapsed, r.Parked = v1.RunState_RUN_STATE_COMPLETED, e.late, ""
		r.Cancelling, r.Code, r.Reason, r.ChangedWall = false, "", "", t.wall()
	})
	t.m.setPayload(e.i, e.node, roleOutput, e.output)
	e.i.rec.Open--
	t.endNamed(e.i, e.node)
}

// runReturned puts a leased run back into its old place: its lease lapsed, or was given back.
type runReturned struct {
	i                 *instance
	node              int32
	how, code, reason string
}

func (e *runReturned) kind() string {
	if e.how == "lapse" {
		return "lockstep.step.lapsed.v1"
	}
	return "lockstep.step.released.v1"
}
func (e *runReturned) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.node)
	d.Name, d.Code, d.Reason = e.how, e.code, e.reason
	return e.i.subject()
}
func (e *runReturned) evolve(t *turn) {
	t.m.dropLease(t.ns, e.i.runs[e.node].Token)
	t.m.change(e.i, e.node, func(r *run) {
		r.State, r.Lapsed = v1.RunState_RUN_STATE_READY, e.how == "lapse"
		if r.Lapsed {
			r.Used++
			r.Code, r.Reason = e.code, "the lease lapsed"
		}
		r.QueueDeadline = after(t.uptime(), e.i.graph.Nodes[e.node].Timeouts.Queue)
		r.Cancelling, r.ChangedWall = false, t.wall()
	})
	e.i.rec.Leased--
}

// runRetried has a failed run wait for its next attempt.
type runRetried struct {
	i            *instance
	node         int32
	code, reason string
	delay        int64
}

func (e *runRetried) kind() string { return "lockstep.step.retried.v1" }
func (e *runRetried) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.node)
	d.Code, d.Reason, d.Delay = e.code, e.reason, e.delay
	return e.i.subject()
}
func (e *runRetried) evolve(t *turn) {
	t.m.dropLease(t.ns, e.i.runs[e.node].Token)
	t.m.change(e.i, e.node, func(r *run) {
		r.State, r.Used, r.RetryAt = v1.RunState_RUN_STATE_BACKOFF, r.Used+1, t.uptime()+e.delay
		r.Code, r.Reason, r.ChangedWall = e.code, e.reason, t.wall()
	})
	e.i.rec.Leased--
}

// runProgressed tells how far a leased run is.
type runProgressed struct {
	i        *instance
	node     int32
	progress *v1.Payload
}

func (e *runProgressed) kind() string { return "lockstep.step.progressed.v1" }
func (e *runProgressed) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.node)
	d.PayloadSize = int64(len(e.progress.GetBytes()))
	return e.i.subject()
}
func (e *runProgressed) evolve(t *turn) {
	n := &e.i.graph.Nodes[e.node]
	t.m.change(e.i, e.node, func(r *run) {
		r.HeartbeatDeadline = after(t.uptime(), n.Timeouts.Heartbeat)
	})
	t.m.setPayload(e.i, e.node, roleProgress, e.progress)
}
