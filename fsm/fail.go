package fsm

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// failStep ends an attempt badly: the run backs off, or fails when its attempts are used up.
func (t *turn) failStep(f *v1.FailStepRequest) (proto.Message, *Refusal) {
	i, at, refusal := t.findHeld(f.InstanceId, f.Step, f.Index, f.Token)
	if refusal != nil {
		return nil, refusal
	}
	r := i.run(at)
	if !holds(r, f.Token) {
		if e := endedHow(r, f.Token); e != nil && e.How == "fail" {
			return failed(e.State, e.Delay), nil
		}
		return nil, i.fenced(at, f.Token)
	}
	retry := i.step(at).Retry
	switch {
	case !i.wanted(at) && !isCompensation(i.step(at)):
		t.endLeased(i, at, &runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_CANCELLED, code: f.Code, reason: f.Reason})
	case !f.Retryable || slices.Contains(retry.NonRetryable, f.Code) || r.Used+1 >= int32(retry.Attempts):
		t.failRun(i, at, f.Code, f.Reason, true)
	default:
		delay := backoff(retry, r.Used, i.idempotencyKey(at), f.Token)
		t.emit(&runRetried{i: i, at: at, code: f.Code, reason: f.Reason, delay: delay})
		t.freeLocks(i, at, f.Token, false)
	}
	var delay int64
	if r.State == v1.RunState_RUN_STATE_BACKOFF {
		delay = r.RetryAt - t.uptime()
	}
	t.rememberEnd(i, at, &logv1.EndedToken{Token: f.Token, How: "fail", State: r.State, Delay: delay})
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

// failRun fails a run for good, and with it the instance, unless a step needs that failure. A compensation stands still instead.
func (t *turn) failRun(i *instance, at at, code, reason string, counted bool) {
	r := i.run(at)
	locks := r.claimed()
	token, leased := r.Token, r.State == v1.RunState_RUN_STATE_LEASED
	if counted {
		t.m.change(i, at, func(r *run) { r.Used++ })
	}
	if leased {
		t.m.dropLease(t.ns, token)
	}
	t.dropLapsed(i, at)
	compensation := isCompensation(i.step(at))
	if i.calls(at) {
		t.emit(&runStopping{i: i, at: at, code: code, reason: reason})
		return
	}
	if r.body != nil {
		t.failBody(i, at, code, reason)
		return
	}
	if compensation {
		t.emit(&runIncident{i: i, at: at, code: code, reason: reason})
	} else {
		t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_FAILED, code: code, reason: reason})
	}
	if leased || locks {
		t.freeLocks(i, at, token, false)
	}
	switch {
	case compensation:
	case i.wanted(at):
		t.behindFailure(i, at, code, reason)
	default:
		t.endIn(i, at)
	}
}

// runRetried has a failed run wait for its next attempt.
type runRetried struct {
	i            *instance
	at           at
	code, reason string
	delay        int64
}

func (e *runRetried) kind() string { return "lockstep.step.retried.v1" }
func (e *runRetried) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Code, d.Reason, d.Delay = e.code, e.reason, e.delay
	return e.i.subject()
}
func (e *runRetried) evolve(t *turn) {
	t.m.dropLease(t.ns, e.i.run(e.at).Token)
	t.m.change(e.i, e.at, func(r *run) {
		r.State, r.Used, r.RetryAt = v1.RunState_RUN_STATE_BACKOFF, r.Used+1, t.uptime()+e.delay
		r.limitBy(0)
		r.Parked, r.Lapsed, r.LockDeadline = "", false, 0
		r.Code, r.Reason, r.ChangedWall = e.code, e.reason, t.wall()
	})
}
