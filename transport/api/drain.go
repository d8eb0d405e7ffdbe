package api

import (
	"context"

	"connectrpc.com/connect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// checkDrain checks what names a version, and why.
func checkDrain(workflow string, number int32, reason string) error {
	if err := name("workflow", workflow); err != nil {
		return err
	}
	if number < 1 {
		return invalid("version is %d; say which: the newest is another one soon", number)
	}
	return text("reason", reason)
}

// DrainVersion has a version start nothing any more.
func (s *service) DrainVersion(ctx context.Context, r *connect.Request[v1.DrainVersionRequest]) (*connect.Response[v1.Workflow], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.DrainVersionRequest) (*v1.Workflow, error) {
		if err := checkDrain(r.Workflow, r.Version, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.Workflow](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_DrainVersion{DrainVersion: r}})
	})
}

// UndrainVersion has it start again.
func (s *service) UndrainVersion(ctx context.Context, r *connect.Request[v1.UndrainVersionRequest]) (*connect.Response[v1.Workflow], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.UndrainVersionRequest) (*v1.Workflow, error) {
		if err := checkDrain(r.Workflow, r.Version, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.Workflow](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_UndrainVersion{UndrainVersion: r}})
	})
}
