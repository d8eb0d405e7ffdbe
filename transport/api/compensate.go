package api

import (
	"context"

	"connectrpc.com/connect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// CompensateInstance stops an instance and has it undone, or what stands still of that tried again.
func (s *service) CompensateInstance(ctx context.Context, r *connect.Request[v1.CompensateInstanceRequest]) (*connect.Response[v1.CompensateInstanceResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CompensateInstanceRequest) (*v1.CompensateInstanceResponse, error) {
		if err := name("instanceId", r.InstanceId); err != nil {
			return nil, err
		}
		if err := optional("fromStep", r.FromStep); err != nil {
			return nil, err
		}
		if err := text("reason", r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.CompensateInstanceResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_CompensateInstance{CompensateInstance: r}})
	})
}
