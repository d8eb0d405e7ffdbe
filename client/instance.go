package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// StartOptions are what a start may say beside the workflow and the input.
type StartOptions struct {
	// Version of the workflow; zero means the newest.
	Version int32
	Labels  map[string]string
	// Keys that correlate signals.
	Keys map[string]string
	// OnConflict says what becomes of the start when its id is taken.
	OnConflict v1.OnConflict
	// StartID names this start among those of the id. With it an id is taken only while the instance lives, and what is started behind
	// it is called ID~START: the reply says so.
	StartID string
}

// Start starts an instance under an id of the caller's choice, which makes it safe to ask again: the same start again gives
// the instance that there is, with Existing set. An id taken by another start is refused as INSTANCE_EXISTS, unless OnConflict says otherwise.
func (c *Client) Start(ctx context.Context, workflow, id string, input any, o StartOptions) (*v1.StartInstanceResponse, error) {
	payload, err := encode(input)
	if err != nil {
		return nil, fmt.Errorf("input of instance %s: %w", id, err)
	}
	reply, err := ask(ctx, c.Instances.StartInstance, &v1.StartInstanceRequest{
		Namespace: c.namespace, InstanceId: id, Workflow: workflow, Version: o.Version, InputPayload: payload, Labels: o.Labels, Keys: o.Keys,
		OnConflict: o.OnConflict, StartId: o.StartID,
	})
	if err != nil {
		return nil, fmt.Errorf("start instance %s: %w", id, err)
	}
	return reply, nil
}

// Get reads an instance with its runs.
func (c *Client) Get(ctx context.Context, id string) (*v1.Instance, error) {
	return ask(ctx, c.Instances.GetInstance, &v1.GetInstanceRequest{Namespace: c.namespace, InstanceId: id})
}

// Wait waits until an instance has ended, and gives it. A context that ends first ends the wait.
func (c *Client) Wait(ctx context.Context, id string) (*v1.Instance, error) {
	for {
		reply, err := ask(ctx, c.Instances.WaitInstance, &v1.WaitInstanceRequest{Namespace: c.namespace, InstanceId: id, Wait: durationpb.New(maxWait)})
		if err != nil {
			return nil, fmt.Errorf("wait for instance %s: %w", id, err)
		}
		if reply.Done {
			return reply.Instance, nil
		}
	}
}

// Output decodes the output of an instance, which is JSON, into v.
func Output(i *v1.Instance, v any) error {
	data, err := payloadBytes(i.Output, i.OutputPayload)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		data = []byte("null")
	}
	return json.Unmarshal(data, v)
}

// SignalOptions are what a signal may say beside its name and payload.
type SignalOptions struct {
	// TTL is how long the signal is kept while nothing waits for it; zero means 7 days.
	TTL time.Duration
	// Broadcast sends a signal by key to all live instances that have it, and not to the only one.
	Broadcast bool
	// Start is what a signal by key starts when no live instance has the key.
	Start *SignalStart
}

// SignalStart is what a signal starts. It is started with the signal's key beside its own.
type SignalStart struct {
	Workflow string
	// InstanceID is NAME/VALUE after the key unless it is said: then only one instance is ever started for the key.
	InstanceID string
	Input      any
	StartOptions
}

func (s *SignalStart) request() (*v1.StartInstanceRequest, error) {
	input, err := encode(s.Input)
	if err != nil {
		return nil, fmt.Errorf("input of an instance of %s: %w", s.Workflow, err)
	}
	return &v1.StartInstanceRequest{
		InstanceId: s.InstanceID, Workflow: s.Workflow, Version: s.Version, InputPayload: input, Labels: s.Labels, Keys: s.Keys,
		OnConflict: s.OnConflict, StartId: s.StartID, // which are refused
	}, nil
}

// Signal sends a message to an instance. The same signalID again is answered like the first.
func (c *Client) Signal(ctx context.Context, id, name, signalID string, payload any, o SignalOptions) (*v1.SendSignalResponse, error) {
	data, err := encode(payload)
	if err != nil {
		return nil, fmt.Errorf("payload of signal %s: %w", name, err)
	}
	r := &v1.SendSignalRequest{Namespace: c.namespace, InstanceId: id, Name: name, SignalId: signalID, PayloadBytes: data}
	if o.TTL != 0 {
		r.Ttl = durationpb.New(o.TTL)
	}
	reply, err := ask(ctx, c.Instances.SendSignal, r)
	if err != nil {
		return nil, fmt.Errorf("signal %s to instance %s: %w", name, id, err)
	}
	return reply, nil
}

// Key is a correlation key, as instances are started with it.
type Key struct{ Name, Value string }

// SignalByKey sends a message to the live instance that has a key. With none that has it the message is kept, for its TTL, for
// the first that is started with it; several are refused as KEY_AMBIGUOUS, unless it is a broadcast. With o.Start none starts one, which has the message before its
// first step; an id that was there before is refused as INSTANCE_EXISTS. The same signalID by the
// same key again is answered like the first, whoever has the key by then.
func (c *Client) SignalByKey(ctx context.Context, key Key, name, signalID string, payload any, o SignalOptions) (*v1.SendSignalResponse, error) {
	data, err := encode(payload)
	if err != nil {
		return nil, fmt.Errorf("payload of signal %s: %w", name, err)
	}
	r := &v1.SendSignalRequest{
		Namespace: c.namespace, Key: &v1.Key{Name: key.Name, Value: key.Value}, Name: name, SignalId: signalID, PayloadBytes: data, Broadcast: o.Broadcast,
	}
	if o.TTL != 0 {
		r.Ttl = durationpb.New(o.TTL)
	}
	if o.Start != nil {
		if r.Start, err = o.Start.request(); err != nil {
			return nil, err
		}
	}
	reply, err := ask(ctx, c.Instances.SendSignal, r)
	if err != nil {
		return nil, fmt.Errorf("signal %s by key %s=%s: %w", name, key.Name, key.Value, err)
	}
	return reply, nil
}

// Approve completes a step that waits for an approval. The first decision counts: the same again is answered like the first
// time, and another is refused as ALREADY_DONE.
func (c *Client) Approve(ctx context.Context, id, step, reason string) (v1.InstanceState, error) {
	reply, err := ask(ctx, c.Instances.ApproveStep, &v1.ApproveStepRequest{Namespace: c.namespace, InstanceId: id, Step: step, Reason: reason})
	if err != nil {
		return 0, fmt.Errorf("approve step %s of instance %s: %w", step, id, err)
	}
	return reply.InstanceState, nil
}

// Reject fails a step that waits for an approval, and with it the instance, with the code REJECTED.
func (c *Client) Reject(ctx context.Context, id, step, reason string) (v1.InstanceState, error) {
	reply, err := ask(ctx, c.Instances.RejectStep, &v1.RejectStepRequest{Namespace: c.namespace, InstanceId: id, Step: step, Reason: reason})
	if err != nil {
		return 0, fmt.Errorf("reject step %s of instance %s: %w", step, id, err)
	}
	return reply.InstanceState, nil
}

// Cancel has an instance end: nothing new becomes ready, and what is leased is asked to stop. Cancelling twice is answered
// like once; an instance that has ended is refused as ALREADY_ENDED.
func (c *Client) Cancel(ctx context.Context, id, reason string) (v1.InstanceState, error) {
	reply, err := ask(ctx, c.Instances.CancelInstance, &v1.CancelInstanceRequest{Namespace: c.namespace, InstanceId: id, Reason: reason})
	if err != nil {
		return 0, fmt.Errorf("cancel instance %s: %w", id, err)
	}
	return reply.State, nil
}

// ForkOptions are what a fork may say beside the step and its id.
type ForkOptions struct {
	// Version that the fork is of; zero means that of the instance.
	Version int32
	// Keys that correlate signals to the fork. Those of the instance stay with it.
	Keys   map[string]string
	Reason string
}

// Fork starts an instance under the id newID, in which everything that a step needs is done already, as the instance id did it, and which
// goes on from that step; what is not before the step begins anew. It has the input and the labels of the instance, which stays as it is,
// and undoes nothing of what is copied. It is safe to ask again: the same fork again gives the instance that there is, with Existing set. An id
// taken by another is refused as INSTANCE_EXISTS, a step before that one which has not ended as UPSTREAM_PENDING, and what cannot be
// copied as UPSTREAM_UNFIT.
func (c *Client) Fork(ctx context.Context, id, fromStep, newID string, o ForkOptions) (*v1.ForkInstanceResponse, error) {
	reply, err := ask(ctx, c.Instances.ForkInstance, &v1.ForkInstanceRequest{
		Namespace: c.namespace, InstanceId: id, FromStep: fromStep, NewInstanceId: newID, Version: o.Version, Keys: o.Keys, Reason: o.Reason,
	})
	if err != nil {
		return nil, fmt.Errorf("fork instance %s from step %s: %w", id, fromStep, err)
	}
	return reply, nil
}

// ResetOptions are what a reset may say.
type ResetOptions struct {
	// Index is that of the activation of the step that is set back, which is zero unless it was set back before.
	Index int32
	// Compensate has what was completed from the step on undone before anything of what is new begins. Otherwise it is kept.
	Compensate bool
	Reason     string
}

// Reset sets an instance that runs back to a step: that step and all that is behind it begin anew, as activations of their own, with tokens and
// idempotency keys of their own; what is beside it goes on undisturbed. What they had completed is kept, and undone when the instance is, or with
// Compensate is undone before; what of them has not ended is cancelled, and a lease of theirs is over at once. It is safe to ask again: the same
// reset again is answered with Existing set.
func (c *Client) Reset(ctx context.Context, id, fromStep string, o ResetOptions) (*v1.ResetInstanceResponse, error) {
	reply, err := ask(ctx, c.Instances.ResetInstance, &v1.ResetInstanceRequest{
		Namespace: c.namespace, InstanceId: id, FromStep: fromStep, Index: o.Index, Reason: o.Reason, Compensate: o.Compensate,
	})
	if err != nil {
		return nil, fmt.Errorf("reset instance %s to step %s: %w", id, fromStep, err)
	}
	return reply, nil
}

// CompensateOptions are what a compensation may say beside its reason.
type CompensateOptions struct {
	// From is the step from which on the instance is undone: it and those behind it. Empty is all of it.
	From string
	// Skip counts what stands still as done.
	Skip bool
}

// Compensate cancels an instance and has what it completed undone. Of one that compensates already, for whatever reason, it has
// what stands still tried again, and tells which compensations those are. An instance that has ended is refused as
// ALREADY_ENDED.
func (c *Client) Compensate(ctx context.Context, id, reason string, o CompensateOptions) (*v1.CompensateInstanceResponse, error) {
	reply, err := ask(ctx, c.Instances.CompensateInstance, &v1.CompensateInstanceRequest{
		Namespace: c.namespace, InstanceId: id, Reason: reason, FromStep: o.From, Skip: o.Skip,
	})
	if err != nil {
		return nil, fmt.Errorf("compensate instance %s: %w", id, err)
	}
	return reply, nil
}

// History yields the events of an instance, oldest first, as far as they have happened. Watch waits for more. It yields an
// error once, as the last thing.
func (c *Client) History(ctx context.Context, id string) iter.Seq2[*v1.Event, error] {
	return func(yield func(*v1.Event, error) bool) {
		for after := int64(0); ; {
			page, err := ask(ctx, c.Instances.GetHistory, &v1.GetHistoryRequest{Namespace: c.namespace, InstanceId: id, After: after})
			if err != nil {
				yield(nil, fmt.Errorf("history of instance %s: %w", id, err))
				return
			}
			for _, event := range page.Events {
				if !yield(event, nil) {
					return
				}
			}
			if after = page.NextAfter; after == 0 {
				return
			}
		}
	}
}

// Explain says why an instance does not move: for each run that does not, or for those of one step.
func (c *Client) Explain(ctx context.Context, id, step string) ([]*v1.Explanation, error) {
	reply, err := ask(ctx, c.Instances.Explain, &v1.ExplainRequest{Namespace: c.namespace, InstanceId: id, Step: step})
	if err != nil {
		return nil, fmt.Errorf("explain instance %s: %w", id, err)
	}
	return reply.Explanations, nil
}
