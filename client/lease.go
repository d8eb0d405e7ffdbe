package client

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// maxWait is how long one call may wait; longer waits are made of several.
const maxWait = 60 * time.Second

// LeaseOptions names a run, and says how long to wait for it.
type LeaseOptions struct {
	Instance string
	Step     string
	Index    int32
	// Wait for the run to be ready and its locks to be free. Zero: answer at once. Negative: as long as the context lives.
	Wait time.Duration
}

// Lease is one named run, held until it is completed, failed or released, or lost.
type Lease struct {
	*Step
	session *Session
	hold    *hold
}

// LeaseStep leases one named run of an instance: this is how another engine, or a person, takes a step that it owns. A run
// that has ended is refused as ALREADY_DONE, with its output.
func (s *Session) LeaseStep(ctx context.Context, o LeaseOptions) (*Lease, error) {
	var run *v1.LeasedRun
	err := waits(o.Wait, func(wait time.Duration) error {
		return s.request(ctx, func(ctx context.Context, id, lowest int64) error {
			reply, err := ask(ctx, s.c.Workers.LeaseStep, &v1.LeaseStepRequest{
				Namespace: s.c.namespace, SessionId: s.id, InstanceId: o.Instance, Step: o.Step, Index: o.Index,
				Wait: durationpb.New(wait), RequestId: id, LowestUnanswered: lowest,
			})
			run = reply.GetRun()
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("lease step %s of instance %s: %w", o.Step, o.Instance, err)
	}
	h := s.hold(ctx, run.Token)
	step := newStep(s.c, run, time.Now(), h.cancel)
	return &Lease{Step: step, session: s, hold: h}, nil
}

// Context ends when the lease is over: completed, failed, released or lost. Do the step's work under it.
func (l *Lease) Context() context.Context { return l.hold.ctx }

// Complete ends the run with its output, and gives the state of its instance. Late tells that the lease had lapsed, and the
// completion was still good. A *Refusal with FENCED says that it was not.
func (l *Lease) Complete(ctx context.Context, output any) (*v1.CompleteStepResponse, error) {
	payload, err := encode(output)
	if err != nil {
		return nil, fmt.Errorf("output of step %s: %w", l.Step.Step, err)
	}
	reply, err := ask(ctx, l.session.c.Workers.CompleteStep, &v1.CompleteStepRequest{
		Namespace: l.Namespace, InstanceId: l.InstanceID, Step: l.Step.Step, Index: l.Index, Token: l.Token, OutputPayload: payload,
	})
	return reply, l.ended("complete", err)
}

// Fail ends the attempt badly.
func (l *Lease) Fail(ctx context.Context, e *StepError) (*v1.FailStepResponse, error) {
	reply, err := ask(ctx, l.session.c.Workers.FailStep, &v1.FailStepRequest{
		Namespace: l.Namespace, InstanceId: l.InstanceID, Step: l.Step.Step, Index: l.Index, Token: l.Token,
		Code: e.Code, Reason: e.Reason, Retryable: e.Retryable,
	})
	return reply, l.ended("fail", err)
}

// Release gives the run back without using an attempt.
func (l *Lease) Release(ctx context.Context, reason string) error {
	_, err := ask(ctx, l.session.c.Workers.ReleaseStep, &v1.ReleaseStepRequest{
		Namespace: l.Namespace, InstanceId: l.InstanceID, Step: l.Step.Step, Index: l.Index, Token: l.Token, Reason: reason,
	})
	return l.ended("release", err)
}

// ended drops the lease once that is answered, or known to be over.
func (l *Lease) ended(what string, err error) error {
	if err == nil || IsFenced(err) {
		l.session.drop(l.Token, ErrReleased)
	}
	if err != nil {
		return fmt.Errorf("%s step %s of instance %s: %w", what, l.Step.Step, l.InstanceID, err)
	}
	return nil
}

// waits makes one long wait of calls that each wait no longer than the cluster allows.
func waits(wait time.Duration, call func(time.Duration) error) error {
	until := time.Now().Add(wait)
	for {
		round := maxWait
		if wait >= 0 {
			round = min(max(0, time.Until(until)), maxWait)
		}
		err := call(round)
		if !IsWaitTimeout(err) || wait >= 0 && round < maxWait {
			return err
		}
	}
}
