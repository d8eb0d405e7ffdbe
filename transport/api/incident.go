package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// ListIncidents lists what needs a person.
func (s *service) ListIncidents(ctx context.Context, r *connect.Request[v1.ListIncidentsRequest]) (*connect.Response[v1.ListIncidentsResponse], error) {
	return read(s, ctx, r, func(r *v1.ListIncidentsRequest) error {
		if err := optional("workflow", r.Workflow); err != nil {
			return err
		}
		if _, is := v1.IncidentKind_name[int32(r.Kind)]; !is {
			return invalid("kind %d is none", r.Kind)
		}
		return page(r.Limit, r.Page)
	}, (*fsm.Machine).ListIncidents, nil)
}
