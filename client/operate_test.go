package client_test

import (
	"context"
	"testing"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (f *fake) PauseInstance(_ context.Context, r *connect.Request[v1.PauseInstanceRequest]) (*connect.Response[v1.PauseInstanceResponse], error) {
	return connect.NewResponse(&v1.PauseInstanceResponse{State: v1.InstanceState_INSTANCE_STATE_RUNNING, Duplicate: r.Msg.Reason == ""}), nil
}

func (f *fake) ResumeInstance(context.Context, *connect.Request[v1.ResumeInstanceRequest]) (*connect.Response[v1.ResumeInstanceResponse], error) {
	return connect.NewResponse(&v1.ResumeInstanceResponse{State: v1.InstanceState_INSTANCE_STATE_COMPENSATING}), nil
}

func (f *fake) RetryStep(_ context.Context, r *connect.Request[v1.RetryStepRequest]) (*connect.Response[v1.RetryStepResponse], error) {
	return connect.NewResponse(&v1.RetryStepResponse{Duplicate: r.Msg.Step == "a" && r.Msg.Index == 2 && r.Msg.Reason == "why"}), nil
}

func (f *fake) SkipStep(_ context.Context, r *connect.Request[v1.SkipStepRequest]) (*connect.Response[v1.SkipStepResponse], error) {
	return connect.NewResponse(&v1.SkipStepResponse{Duplicate: r.Msg.Step == "a" && r.Msg.Index == 2 && r.Msg.Reason == "why"}), nil
}

func (f *fake) ResolveStep(_ context.Context, r *connect.Request[v1.ResolveStepRequest]) (*connect.Response[v1.ResolveStepResponse], error) {
	reply := &v1.ResolveStepResponse{Duplicate: r.Msg.Index == 2 && r.Msg.Reason == "why" && r.Msg.Code == "LOST"}
	if r.Msg.OutputPayload != nil {
		reply.Token = 7
	}
	return connect.NewResponse(reply), nil
}

func (f *fake) UpdateStep(_ context.Context, r *connect.Request[v1.UpdateStepRequest]) (*connect.Response[v1.UpdateStepResponse], error) {
	return connect.NewResponse(&v1.UpdateStepResponse{Used: r.Msg.AttemptsLeft}), nil
}

// What an operator asks for names the run and the reason.
func TestOperations(t *testing.T) {
	_, c, _ := cluster(t, 1)
	ctx, o := within(t), client.Operation{Instance: "i", Step: "a", Index: 2, Reason: "why"}
	if state, err := c.Pause(ctx, "i", "why"); err != nil || state != v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.Errorf("paused: %v, %v", state, err)
	}
	if state, err := c.Resume(ctx, "i", "why"); err != nil || state != v1.InstanceState_INSTANCE_STATE_COMPENSATING {
		t.Errorf("resumed: %v, %v", state, err)
	}
	if got, err := c.RetryStep(ctx, o); err != nil || !got.Duplicate {
		t.Errorf("retried: %v, %v", got, err)
	}
	if got, err := c.SkipStep(ctx, o); err != nil || !got.Duplicate {
		t.Errorf("skipped: %v, %v", got, err)
	}
	if got, err := c.ResolveStep(ctx, o, map[string]int{"n": 1}); err != nil || got.Token != 7 {
		t.Errorf("completed: %v, %v", got, err)
	}
	if got, err := c.ResolveStepAsFailed(ctx, o, "LOST"); err != nil || !got.Duplicate {
		t.Errorf("failed: %v, %v", got, err)
	}
	if got, err := c.UpdateStep(ctx, &v1.UpdateStepRequest{InstanceId: "i", Step: "a", AttemptsLeft: 3}); err != nil || got.Used != 3 {
		t.Errorf("updated: %v, %v", got, err)
	}
}
