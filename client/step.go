package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lockstep-dev/lockstep/client/core"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Step is a leased run: what to do, and the token under which it is done.
type Step struct {
	Namespace  string
	InstanceID string
	Workflow   string
	Version    int32
	Step       string
	// Task is what to do; it defaults to the step's name.
	Task  string
	Index int32
	// Attempt counts the leases of this run, from 1.
	Attempt int32
	// Token is greater than that of every lease of the run before. Have what the step writes to refuse older ones: see
	// package guard.
	Token int64
	Queue string
	// Locks that are held under the same token.
	Locks []*v1.LockGrant
	// IdempotencyKey is the same on every attempt of the run. It is also the lease's name for guards.
	IdempotencyKey string
	// Deadline is when the run times out, by our own clock and a margin early; zero means never.
	Deadline time.Time
	// Traceparent is the W3C trace context of whoever started the instance.
	Traceparent string
	// Retryable says that another attempt remains after this one.
	Retryable bool
	// SessionID is the holder's.
	SessionID string
	// Compensates is the step that this one undoes; empty unless it is a compensation.
	Compensates string

	c     *Client
	value *structpb.Value
	bytes *v1.Payload
	lost  func(error)
}

// newStep is the run that was received at received. lost ends its context.
func newStep(c *Client, run *v1.LeasedRun, received time.Time, lost func(error)) *Step {
	s := &Step{
		Namespace: run.Namespace, InstanceID: run.InstanceId, Workflow: run.Workflow, Version: run.Version, Step: run.Step,
		Task: run.Task, Index: run.Index, Attempt: run.Attempt, Token: run.Token, Queue: run.Queue, Locks: run.Locks,
		IdempotencyKey: run.IdempotencyKey, Traceparent: run.Traceparent, Retryable: run.Retryable, SessionID: run.SessionId,
		Compensates: run.Compensates, c: c, value: run.Input, bytes: run.InputPayload, lost: lost,
	}
	if s.Namespace == "" {
		s.Namespace = c.namespace
	}
	if timeout := run.RunTimeout.AsDuration(); timeout > 0 {
		s.Deadline = received.Add(timeout - core.Margin(timeout))
	}
	return s
}

// Input decodes the step's input, which is JSON, into v.
func (s *Step) Input(v any) error {
	data, err := s.InputBytes()
	if err != nil {
		return err
	}
	if len(data) == 0 {
		data = []byte("null")
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("input of step %s: %w", s.Step, err)
	}
	return nil
}

// InputBytes is the step's input as it is: JSON, unless whoever gave it said otherwise.
func (s *Step) InputBytes() ([]byte, error) { return payloadBytes(s.value, s.bytes) }

// Progress tells the cluster how far the step is, and that it lives: it resets the step's heartbeat timeout. The error says
// when the lease is lost, or, as ErrCancelled, when the step is asked to stop; the step's context has ended then.
func (s *Step) Progress(ctx context.Context, progress any) error {
	payload, err := encode(progress)
	if err != nil {
		return fmt.Errorf("progress of step %s: %w", s.Step, err)
	}
	reply, err := ask(ctx, s.c.Workers.ReportProgress, &v1.ReportProgressRequest{
		Namespace: s.Namespace, InstanceId: s.InstanceID, Step: s.Step, Index: s.Index, Token: s.Token, ProgressPayload: payload,
	})
	switch {
	case IsFenced(err):
		s.lost(ErrLeaseLost)
		return errors.Join(ErrLeaseLost, err)
	case err != nil:
		return fmt.Errorf("report progress: %w", err)
	case reply.Cancelled:
		s.lost(ErrCancelled)
		return ErrCancelled
	}
	return nil
}

// payloadBytes is data that came as a JSON value or as bytes.
func payloadBytes(value *structpb.Value, payload *v1.Payload) ([]byte, error) {
	if value != nil {
		return value.MarshalJSON()
	}
	return payload.GetBytes(), nil
}

// encode makes a payload: of a *v1.Payload itself, of anything else its JSON. Nil is no payload.
func encode(v any) (*v1.Payload, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case *v1.Payload:
		return v, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &v1.Payload{Bytes: data}, nil
}
