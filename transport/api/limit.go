package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// ListLimits lists rate limits.
func (s *service) ListLimits(ctx context.Context, r *connect.Request[v1.ListLimitsRequest]) (*connect.Response[v1.ListLimitsResponse], error) {
	return read(s, ctx, r, func(r *v1.ListLimitsRequest) error {
		if err := optional("prefix", r.Prefix); err != nil {
			return err
		}
		return page(r.Limit, r.Page)
	}, (*fsm.Machine).ListLimits, nil)
}
