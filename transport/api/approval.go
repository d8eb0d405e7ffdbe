package api

import (
	"context"

	"connectrpc.com/connect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// checkDecision checks what names a run that somebody decides on, and the reason.
func checkDecision(instance, step string, index int32, reason string) error {
	if err := names("instanceId", instance, "step", step); err != nil {
		return err
	}
	if index < 0 {
		return invalid("index is %d", index)
	}
	return text("reason", reason)
}

// ApproveStep completes a step that waits for an approval.
func (s *service) ApproveStep(ctx context.Context, r *connect.Request[v1.ApproveStepRequest]) (*connect.Response[v1.ApproveStepResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ApproveStepRequest) (*v1.ApproveStepResponse, error) {
		if err := checkDecision(r.InstanceId, r.Step, r.Index, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.ApproveStepResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ApproveStep{ApproveStep: r}})
	})
}

// RejectStep fails a step that waits for an approval.
func (s *service) RejectStep(ctx context.Context, r *connect.Request[v1.RejectStepRequest]) (*connect.Response[v1.RejectStepResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.RejectStepRequest) (*v1.RejectStepResponse, error) {
		if err := checkDecision(r.InstanceId, r.Step, r.Index, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.RejectStepResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_RejectStep{RejectStep: r}})
	})
}
