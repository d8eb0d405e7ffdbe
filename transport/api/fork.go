package api

import (
	"context"

	"connectrpc.com/connect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func checkFork(r *v1.ForkInstanceRequest) error {
	if err := names("instanceId", r.InstanceId, "fromStep", r.FromStep, "newInstanceId", r.NewInstanceId); err != nil {
		return err
	}
	if r.Version < 0 {
		return invalid("version is %d; versions count from 1, and 0 is that of the instance", r.Version)
	}
	if err := pairs("keys", r.Keys, maxKeys); err != nil {
		return err
	}
	return text("reason", r.Reason)
}

// ForkInstance starts an instance in which everything before a step is done already, as another did it.
func (s *service) ForkInstance(ctx context.Context, r *connect.Request[v1.ForkInstanceRequest]) (*connect.Response[v1.ForkInstanceResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ForkInstanceRequest) (*v1.ForkInstanceResponse, error) {
		if err := checkFork(r); err != nil {
			return nil, err
		}
		return propose[*v1.ForkInstanceResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ForkInstance{ForkInstance: r}})
	})
}
