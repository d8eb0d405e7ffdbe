package client

import (
	"context"
	"fmt"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Pause has nothing new of an instance begun or leased until Resume; what is leased goes on, and counts. Paused twice is answered as once.
// An instance that has ended is refused as ALREADY_ENDED.
func (c *Client) Pause(ctx context.Context, id, reason string) (v1.InstanceState, error) {
	reply, err := ask(ctx, c.Instances.PauseInstance, &v1.PauseInstanceRequest{Namespace: c.namespace, InstanceId: id, Reason: reason})
	if err != nil {
		return 0, fmt.Errorf("pause instance %s: %w", id, err)
	}
	return reply.State, nil
}

// Resume ends a pause; of an instance that is not paused there is nothing to end.
func (c *Client) Resume(ctx context.Context, id, reason string) (v1.InstanceState, error) {
	reply, err := ask(ctx, c.Instances.ResumeInstance, &v1.ResumeInstanceRequest{Namespace: c.namespace, InstanceId: id, Reason: reason})
	if err != nil {
		return 0, fmt.Errorf("resume instance %s: %w", id, err)
	}
	return reply.State, nil
}

// Operation names a run that an operator does something to, and why. The reason is required.
type Operation struct {
	Instance, Step string
	Index          int32
	Reason         string
}

// RetryStep has a run that stands still tried again, with all its attempts. One that is being tried is left at that, with Duplicate set.
func (c *Client) RetryStep(ctx context.Context, o Operation) (*v1.RetryStepResponse, error) {
	reply, err := ask(ctx, c.Instances.RetryStep, &v1.RetryStepRequest{Namespace: c.namespace, InstanceId: o.Instance, Step: o.Step, Index: o.Index, Reason: o.Reason})
	if err != nil {
		return nil, fmt.Errorf("retry step %s of instance %s: %w", o.Step, o.Instance, err)
	}
	return reply, nil
}

// SkipStep skips a run that nobody holds, as if its condition were not met. One that is leased is refused as NOT_READY.
func (c *Client) SkipStep(ctx context.Context, o Operation) (*v1.SkipStepResponse, error) {
	reply, err := ask(ctx, c.Instances.SkipStep, &v1.SkipStepRequest{Namespace: c.namespace, InstanceId: o.Instance, Step: o.Step, Index: o.Index, Reason: o.Reason})
	if err != nil {
		return nil, fmt.Errorf("skip step %s of instance %s: %w", o.Step, o.Instance, err)
	}
	return reply, nil
}

// ResolveStep completes a run by hand with an output. The reply has the token of that, which is newer than that of every lease of the run:
// whoever holds it is fenced. The same again is answered so, and another end is refused as ALREADY_DONE.
func (c *Client) ResolveStep(ctx context.Context, o Operation, output any) (*v1.ResolveStepResponse, error) {
	payload, err := encode(output)
	if err != nil {
		return nil, fmt.Errorf("output of step %s of instance %s: %w", o.Step, o.Instance, err)
	}
	return c.resolve(ctx, &v1.ResolveStepRequest{InstanceId: o.Instance, Step: o.Step, Index: o.Index, Reason: o.Reason, OutputPayload: payload})
}

// ResolveStepAsFailed fails a run by hand, for good, with a code.
func (c *Client) ResolveStepAsFailed(ctx context.Context, o Operation, code string) (*v1.ResolveStepResponse, error) {
	return c.resolve(ctx, &v1.ResolveStepRequest{InstanceId: o.Instance, Step: o.Step, Index: o.Index, Reason: o.Reason, Code: code})
}

func (c *Client) resolve(ctx context.Context, r *v1.ResolveStepRequest) (*v1.ResolveStepResponse, error) {
	r.Namespace = c.namespace
	reply, err := ask(ctx, c.Instances.ResolveStep, r)
	if err != nil {
		return nil, fmt.Errorf("resolve step %s of instance %s: %w", r.Step, r.InstanceId, err)
	}
	return reply, nil
}

// UpdateStep changes what is left of a run's attempts and times, as r says; its namespace is the client's. Times are counted from when the
// cluster decides on it. All that is asked for is done, or nothing.
func (c *Client) UpdateStep(ctx context.Context, r *v1.UpdateStepRequest) (*v1.UpdateStepResponse, error) {
	r.Namespace = c.namespace
	reply, err := ask(ctx, c.Instances.UpdateStep, r)
	if err != nil {
		return nil, fmt.Errorf("update step %s of instance %s: %w", r.Step, r.InstanceId, err)
	}
	return reply, nil
}
