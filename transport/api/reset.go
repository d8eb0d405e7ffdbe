package api

import (
	"context"

	"connectrpc.com/connect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func checkReset(r *v1.ResetInstanceRequest) error {
	if err := names("instanceId", r.InstanceId, "fromStep", r.FromStep); err != nil {
		return err
	}
	if r.Index < 0 {
		return invalid("index is %d; activations of a step count from 0", r.Index)
	}
	return text("reason", r.Reason)
}

// ResetInstance has a step of an instance, and all that is behind it, begin anew.
func (s *service) ResetInstance(ctx context.Context, r *connect.Request[v1.ResetInstanceRequest]) (*connect.Response[v1.ResetInstanceResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ResetInstanceRequest) (*v1.ResetInstanceResponse, error) {
		if err := checkReset(r); err != nil {
			return nil, err
		}
		return propose[*v1.ResetInstanceResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ResetInstance{ResetInstance: r}})
	})
}
