package fsm

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An operator takes the place of what else moves a run: of whoever would mend what it stands still for, of its condition, of its worker, of
// its policy. Each command is told with author and reason, and what follows from it is what follows from the thing whose place it takes.
// Said again it is answered as the first time where what it asks for is so.

// retryStep has a run that stands still tried again, with all its attempts. Its expressions are evaluated anew.
func (t *turn) retryStep(r *v1.RetryStepRequest) (proto.Message, *Refusal) {
	i, at, refusal := t.find(r.InstanceId, r.Step, r.Index)
	if refusal != nil {
		return nil, refusal
	}
	run := i.run(at)
	switch {
	case !i.live():
		return nil, Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s, and what it held and undid is gone; start it again, or fork it", r.InstanceId, stateName(i.rec.State))
	case ended(run.State):
		return nil, Refuse(v1.Code_CODE_ALREADY_DONE, "step %q of instance %q has ended: it is %s, and what follows from that has happened; reset the instance to it, or fork it from there", r.Step, r.InstanceId, i.sayEnded(at))
	case run.State == v1.RunState_RUN_STATE_INCIDENT && !i.goesOn(at):
		return nil, i.stops(at)
	case run.State == v1.RunState_RUN_STATE_INCIDENT:
		t.tryAgain(i, at, r.Reason)
		return &v1.RetryStepResponse{InstanceState: i.rec.State, State: run.State}, nil
	case run.State == v1.RunState_RUN_STATE_PENDING && run.Todo == 0:
		return nil, Refuse(v1.Code_CODE_NOT_READY, "step %q of instance %q is PENDING: it stands still for nothing but its needs", r.Step, r.InstanceId)
	}
	return &v1.RetryStepResponse{InstanceState: i.rec.State, State: run.State, Duplicate: true}, nil
}

// tryAgain has a run begin as if it never had.
func (t *turn) tryAgain(i *instance, at at, reason string) {
	t.emit(&runResumed{i: i, at: at, reason: reason})
	if isCompensation(i.step(at)) {
		t.undoes(i, at)
		return
	}
	t.reach(i, at, joinGo)
	t.advanceInstance(i)
}

// goesOn: what a run does is wanted: a step of what runs that was not set back, or what undoes one.
func (i *instance) goesOn(at at) bool {
	return isCompensation(i.step(at)) || i.wanted(at) && !i.leaves(at)
}

// stops refuses what would have something begun that is not wanted any more.
func (i *instance) stops(at at) *Refusal {
	return Refuse(v1.Code_CODE_STOPPING, "instance %q is %s, and step %q is not wanted any more", i.rec.InstanceId, stateName(i.rec.State), i.step(at).ID)
}

// skipStep skips a run that nobody holds, as if its condition were not met.
func (t *turn) skipStep(r *v1.SkipStepRequest) (proto.Message, *Refusal) {
	i, at, refusal := t.find(r.InstanceId, r.Step, r.Index)
	if refusal != nil {
		return nil, refusal
	}
	run := i.run(at)
	pending := run.State == v1.RunState_RUN_STATE_PENDING
	switch waits := run.State == v1.RunState_RUN_STATE_WAITING; {
	case run.State == v1.RunState_RUN_STATE_SKIPPED:
		return &v1.SkipStepResponse{InstanceState: i.rec.State, Duplicate: true}, nil
	case !i.live():
		return nil, Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s; nothing of it is skipped any more", r.InstanceId, stateName(i.rec.State))
	case ended(run.State):
		return nil, Refuse(v1.Code_CODE_ALREADY_DONE, "step %q of instance %q has ended: it is %s", r.Step, r.InstanceId, i.sayEnded(at))
	case run.State == v1.RunState_RUN_STATE_LEASED:
		return nil, Refuse(v1.Code_CODE_NOT_READY, "step %q of instance %q is leased; revoke the lease first, or give the run its end with resolve", r.Step, r.InstanceId).With(i.holder(at))
	case !i.goesOn(at):
		return nil, i.stops(at)
	case pending && isCompensation(i.step(at)):
		return nil, Refuse(v1.Code_CODE_NOT_READY, "step %q of instance %q comes behind other compensations; skip it when they are over", r.Step, r.InstanceId)
	case waits && (i.step(at).Body > 0 || i.isCall(at)):
		return nil, Refuse(v1.Code_CODE_NOT_READY, "step %q of instance %q has begun what is inside it, or has called an instance; skip or cancel that", r.Step, r.InstanceId)
	}
	t.skip(i, at, r.Reason)
	return &v1.SkipStepResponse{InstanceState: i.rec.State}, nil
}

// skippedByHand is the code of a run that an operator has skipped.
const skippedByHand = "SKIPPED_BY_HAND"

// skip ends a run that nobody holds as skipped, and goes on behind it.
func (t *turn) skip(i *instance, at at, reason string) {
	r := i.run(at)
	parked, token := r.claimed(), r.Token
	first := r.State == v1.RunState_RUN_STATE_PENDING && r.Todo > 0 && len(i.step(at).Needs) == 0 // those behind it were to be begun with it
	t.dropLapsed(i, at)
	t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_SKIPPED, code: skippedByHand, reason: reason})
	if parked {
		t.freeLocks(i, at, token, false)
	}
	if isCompensation(i.step(at)) {
		t.undone(i, at)
		return
	}
	if first {
		t.activateFrom(i, at.node+1, i.frame(at))
	}
	t.advanceInstance(i, at)
}

// resolveStep gives a run its end by hand. One that it completes is completed under a token of its own, newer than that of every lease of
// the run: so there is one accepted completion, and whoever holds the run is fenced, here and by whoever checks tokens.
func (t *turn) resolveStep(r *v1.ResolveStepRequest) (proto.Message, *Refusal) {
	i, at, refusal := t.find(r.InstanceId, r.Step, r.Index)
	if refusal != nil {
		return nil, refusal
	}
	run := i.run(at)
	if t.resolved(i, at, r) {
		return &v1.ResolveStepResponse{InstanceState: i.rec.State, Duplicate: true, Token: run.Token}, nil
	}
	if refusal := t.resolvable(i, at, r); refusal != nil {
		return nil, refusal
	}
	if r.Code != "" {
		t.emit(&runResolved{i: i, at: at, code: r.Code, reason: r.Reason})
		t.failRun(i, at, r.Code, r.Reason, false)
		return &v1.ResolveStepResponse{InstanceState: i.rec.State}, nil
	}
	keys, refusal := t.newKeys(i, at, r.OutputPayload)
	if refusal != nil {
		return nil, refusal
	}
	was, token := run.Token, t.ns.rec.Token+1
	if (plant.Is(plant.OldTokenKept) || plant.Is(plant.AdoptKeepsHolder) && t.cmd.GetApplyPlan() != nil) && run.State == v1.RunState_RUN_STATE_LEASED {
		token = was
	}
	t.emit(&runResolved{i: i, at: at, reason: r.Reason, token: token})
	t.accept(&runCompleted{i: i, at: at, token: token, output: r.OutputPayload}, was, keys)
	return &v1.ResolveStepResponse{InstanceState: i.rec.State, Token: token}, nil
}

// resolved: the run has ended as it is to.
func (t *turn) resolved(i *instance, at at, r *v1.ResolveStepRequest) bool {
	run := i.run(at)
	if r.Code != "" {
		return run.State == v1.RunState_RUN_STATE_FAILED && run.Code == r.Code
	}
	return run.State == v1.RunState_RUN_STATE_COMPLETED && samePayload(t.payload(i, at, roleOutput), r.OutputPayload)
}

// resolvable refuses an end that a run cannot be given.
func (t *turn) resolvable(i *instance, at at, r *v1.ResolveStepRequest) *Refusal {
	run, fails := i.run(at), r.Code != ""
	switch {
	case ended(run.State):
		return t.done(i, at)
	case !i.live():
		return Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s; nothing of it ends any more", r.InstanceId, stateName(i.rec.State))
	case fails && isCompensation(i.step(at)):
		return Refuse(v1.Code_CODE_INVALID, "step %q of instance %q undoes another, and does not fail; complete it, skip it, or have it tried again", r.Step, r.InstanceId)
	case fails && !i.goesOn(at):
		return i.stops(at)
	case run.State == v1.RunState_RUN_STATE_PENDING:
		return Refuse(v1.Code_CODE_NOT_READY, "step %q of instance %q is PENDING, and has no end before what it needs; skip it if it is not to be done", r.Step, r.InstanceId)
	case run.State == v1.RunState_RUN_STATE_WAITING:
		return Refuse(v1.Code_CODE_NOT_READY, "step %q of instance %q waits, and no worker is to end it; give it what it waits for, or skip it", r.Step, r.InstanceId)
	}
	return nil
}

// runResolved takes a run out of the hands of whoever holds it, to complete it under a token of its own; or tells why it fails.
type runResolved struct {
	i            *instance
	at           at
	code, reason string
	token        int64 // none: it fails
}

func (e *runResolved) kind() string { return "lockstep.step.resolved.v1" }
func (e *runResolved) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Code, d.Reason = e.code, e.reason
	return e.i.subject()
}
func (e *runResolved) evolve(t *turn) {
	if e.token == 0 {
		return
	}
	t.dropLapsed(e.i, e.at)
	t.m.dropLease(t.ns, e.i.run(e.at).Token)
	t.ns.rec.Token = max(t.ns.rec.Token, e.token)
	t.m.dirtyNamespace(t.ns)
	t.m.change(e.i, e.at, func(r *run) { r.Token, r.Session, r.Lapsed = e.token, 0, false })
}

// What of a run an operator can change.
const (
	updatesAttempts = "attempts"
	updatesTotal    = "total"
	updatesRun      = "run"
	updatesQueue    = "queue"
)

// updateStep changes what is left of a run's attempts and times. All that is asked for is done, or nothing.
func (t *turn) updateStep(r *v1.UpdateStepRequest) (proto.Message, *Refusal) {
	i, at, refusal := t.find(r.InstanceId, r.Step, r.Index)
	if refusal != nil {
		return nil, refusal
	}
	updates := updatesOf(r)
	if refusal := i.updatable(at, r, updates); refusal != nil {
		return nil, refusal
	}
	for k := range updates {
		u := updates[k]
		u.i, u.at, u.reason = i, at, r.Reason
		t.emit(&u)
	}
	if r.RetryNow {
		t.emit(&runReady{i: i, at: at})
		t.offer(i, at)
	}
	run := i.run(at)
	return &v1.UpdateStepResponse{InstanceState: i.rec.State, State: run.State, Used: run.Used}, nil
}

// updatesOf are what a request asks for.
func updatesOf(r *v1.UpdateStepRequest) (updates []runUpdated) {
	if r.AttemptsLeft != 0 {
		updates = append(updates, runUpdated{what: updatesAttempts, to: int64(r.AttemptsLeft)})
	}
	for _, x := range [...]struct {
		what string
		d    *durationpb.Duration
	}{{updatesTotal, r.TotalTimeout}, {updatesRun, r.RunTimeout}, {updatesQueue, r.QueueTimeout}} {
		if x.d != nil {
			updates = append(updates, runUpdated{what: x.what, to: int64(x.d.AsDuration())})
		}
	}
	return updates
}

// updatable refuses changes that a run cannot have.
func (i *instance) updatable(at at, r *v1.UpdateStepRequest, updates []runUpdated) *Refusal {
	run, n := i.run(at), i.step(at)
	says := func(what string) *Refusal {
		return Refuse(v1.Code_CODE_NOT_READY, "step %q of instance %q is %s, and has no %s to change", r.Step, r.InstanceId, runStateName(run.State), what)
	}
	switch {
	case len(updates) == 0 && !r.RetryNow:
		return Refuse(v1.Code_CODE_INVALID, "say what is to change: attemptsLeft, a timeout, or retryNow")
	case ended(run.State):
		return Refuse(v1.Code_CODE_ALREADY_DONE, "step %q of instance %q has ended: it is %s", r.Step, r.InstanceId, i.sayEnded(at))
	case !i.goesOn(at) || run.Stage != stageRuns:
		return i.stops(at)
	case r.RetryNow && run.State != v1.RunState_RUN_STATE_BACKOFF:
		return says("attempt that it waits for")
	}
	for _, u := range updates {
		switch has := u.states(); {
		case !slices.Contains(has, run.State), u.what == updatesTotal && n.Kind == graph.KindTimer, u.what == updatesTotal && run.TotalDeadline == 0:
			return says(u.what)
		case u.what == updatesAttempts && (u.to < 1 || u.to > int64(n.Retry.Attempts)):
			return Refuse(v1.Code_CODE_INVALID, "attemptsLeft is %d, and the policy of step %q has %d attempts; when they are used up it can be retried", u.to, r.Step, n.Retry.Attempts)
		case u.what != updatesAttempts && u.to <= 0:
			return Refuse(v1.Code_CODE_INVALID, "the timeout %s is %s, and must be more than nothing", u.what, time.Duration(u.to))
		}
	}
	return nil
}

// states are those in which a run has what is to change.
func (e *runUpdated) states() []v1.RunState {
	const ready, leased, backoff = v1.RunState_RUN_STATE_READY, v1.RunState_RUN_STATE_LEASED, v1.RunState_RUN_STATE_BACKOFF
	switch e.what {
	case updatesRun:
		return []v1.RunState{leased}
	case updatesQueue:
		return []v1.RunState{ready}
	case updatesTotal:
		return []v1.RunState{ready, leased, backoff, v1.RunState_RUN_STATE_WAITING, v1.RunState_RUN_STATE_INCIDENT}
	}
	return []v1.RunState{ready, leased, backoff}
}

// runUpdated changes what is left of one thing of a run.
type runUpdated struct {
	i            *instance
	at           at
	what, reason string
	to           int64 // attempts, or nanoseconds from now on
}

func (e *runUpdated) kind() string { return "lockstep.step.updated.v1" }
func (e *runUpdated) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	if d.Name, d.Reason = e.what, e.reason; e.what != updatesAttempts {
		d.Delay = e.to
	}
	return e.i.subject()
}
func (e *runUpdated) evolve(t *turn) {
	t.m.change(e.i, e.at, func(r *run) {
		on := t.uptime() + e.to
		switch e.what {
		case updatesAttempts:
			r.Used = int32(e.i.step(e.at).Retry.Attempts) - int32(e.to)
		case updatesTotal:
			r.TotalDeadline = on
		case updatesRun:
			r.RunDeadline = on
		case updatesQueue:
			r.QueueDeadline = on
		}
	})
}
