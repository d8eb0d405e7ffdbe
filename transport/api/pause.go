package api

import (
	"context"

	"connectrpc.com/connect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// why checks the reason of who takes the place of what else moves an instance: there must be one.
func why(reason string) error {
	if reason == "" {
		return invalid("reason is missing; who looks at the history wants to know why")
	}
	return text("reason", reason)
}

// checkPause checks what names an instance, and why somebody pauses or resumes it.
func checkPause(instance, reason string) error {
	if err := name("instanceId", instance); err != nil {
		return err
	}
	return why(reason)
}

// PauseInstance has nothing new of an instance begun or leased.
func (s *service) PauseInstance(ctx context.Context, r *connect.Request[v1.PauseInstanceRequest]) (*connect.Response[v1.PauseInstanceResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.PauseInstanceRequest) (*v1.PauseInstanceResponse, error) {
		if err := checkPause(r.InstanceId, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.PauseInstanceResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_PauseInstance{PauseInstance: r}})
	})
}

// ResumeInstance ends a pause.
func (s *service) ResumeInstance(ctx context.Context, r *connect.Request[v1.ResumeInstanceRequest]) (*connect.Response[v1.ResumeInstanceResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ResumeInstanceRequest) (*v1.ResumeInstanceResponse, error) {
		if err := checkPause(r.InstanceId, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.ResumeInstanceResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ResumeInstance{ResumeInstance: r}})
	})
}
