package api

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// checkOperation checks what names a run that an operator does something to, and why.
func checkOperation(instance, step string, index int32, reason string) error {
	if err := checkDecision(instance, step, index, reason); err != nil {
		return err
	}
	return why(reason)
}

// RetryStep has a run that stands still tried again.
func (s *service) RetryStep(ctx context.Context, r *connect.Request[v1.RetryStepRequest]) (*connect.Response[v1.RetryStepResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.RetryStepRequest) (*v1.RetryStepResponse, error) {
		if err := checkOperation(r.InstanceId, r.Step, r.Index, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.RetryStepResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_RetryStep{RetryStep: r}})
	})
}

// SkipStep skips a run that nobody holds.
func (s *service) SkipStep(ctx context.Context, r *connect.Request[v1.SkipStepRequest]) (*connect.Response[v1.SkipStepResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.SkipStepRequest) (*v1.SkipStepResponse, error) {
		if err := checkOperation(r.InstanceId, r.Step, r.Index, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.SkipStepResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_SkipStep{SkipStep: r}})
	})
}

// ResolveStep gives a run its end by hand.
func (s *service) ResolveStep(ctx context.Context, r *connect.Request[v1.ResolveStepRequest]) (*connect.Response[v1.ResolveStepResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ResolveStepRequest) (*v1.ResolveStepResponse, error) {
		if err := checkOperation(r.InstanceId, r.Step, r.Index, r.Reason); err != nil {
			return nil, err
		}
		if err := optional("code", r.Code); err != nil {
			return nil, err
		}
		if r.Code != "" && (r.Output != nil || r.OutputPayload != nil) {
			return nil, invalid("give an output, or a code to fail with, not both")
		}
		if err := payloadOf("output", &r.Output, &r.OutputPayload); err != nil {
			return nil, err
		}
		return propose[*v1.ResolveStepResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ResolveStep{ResolveStep: r}})
	})
}

// UpdateStep changes what is left of a run's attempts and times.
func (s *service) UpdateStep(ctx context.Context, r *connect.Request[v1.UpdateStepRequest]) (*connect.Response[v1.UpdateStepResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.UpdateStepRequest) (*v1.UpdateStepResponse, error) {
		if err := checkOperation(r.InstanceId, r.Step, r.Index, r.Reason); err != nil {
			return nil, err
		}
		for _, x := range [...]struct {
			field string
			d     *durationpb.Duration
		}{{"totalTimeout", r.TotalTimeout}, {"runTimeout", r.RunTimeout}, {"queueTimeout", r.QueueTimeout}} {
			if d := x.d.AsDuration(); x.d != nil && (!x.d.IsValid() || d <= 0 || d > maxTTL) {
				return nil, invalid("%s is %s, and must be more than nothing and at most %s", x.field, d, maxTTL)
			}
		}
		return propose[*v1.UpdateStepResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_UpdateStep{UpdateStep: r}})
	})
}
