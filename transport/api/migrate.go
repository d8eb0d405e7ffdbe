package api

import (
	"context"

	"connectrpc.com/connect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// maxMapped is how many steps a migration maps: as many as a workflow has.
const maxMapped = 10_000

func checkMigrate(r *v1.MigrateInstanceRequest) error {
	if err := names("instanceId", r.InstanceId); err != nil {
		return err
	}
	if r.Version <= 0 {
		return invalid("version is %d; name the version under which the instance is to go on", r.Version)
	}
	if len(r.Steps) > maxMapped {
		return invalid("%d steps are mapped; %d are the most", len(r.Steps), maxMapped)
	}
	for from, to := range r.Steps {
		if err := names("steps", from, "steps["+from+"]", to); err != nil {
			return err
		}
	}
	return text("reason", r.Reason)
}

// MigrateInstance has an instance that runs go on under another version of its workflow.
func (s *service) MigrateInstance(ctx context.Context, r *connect.Request[v1.MigrateInstanceRequest]) (*connect.Response[v1.MigrateInstanceResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.MigrateInstanceRequest) (*v1.MigrateInstanceResponse, error) {
		if err := checkMigrate(r); err != nil {
			return nil, err
		}
		return propose[*v1.MigrateInstanceResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_MigrateInstance{MigrateInstance: r}})
	})
}
