package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// ListWaits tells which instances wait for which.
func (s *service) ListWaits(ctx context.Context, r *connect.Request[v1.ListWaitsRequest]) (*connect.Response[v1.ListWaitsResponse], error) {
	return read(s, ctx, r, func(r *v1.ListWaitsRequest) error { return optional("instanceId", r.InstanceId) }, (*fsm.Machine).ListWaits, nil)
}
