package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
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

// ResolveIncident says that a failed instance needs nobody any more.
func (s *service) ResolveIncident(ctx context.Context, r *connect.Request[v1.ResolveIncidentRequest]) (*connect.Response[v1.ResolveIncidentResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ResolveIncidentRequest) (*v1.ResolveIncidentResponse, error) {
		if err := checkPause(r.InstanceId, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.ResolveIncidentResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ResolveIncident{ResolveIncident: r}})
	})
}

// ReopenIncident has it be listed again.
func (s *service) ReopenIncident(ctx context.Context, r *connect.Request[v1.ReopenIncidentRequest]) (*connect.Response[v1.ReopenIncidentResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ReopenIncidentRequest) (*v1.ReopenIncidentResponse, error) {
		if err := checkPause(r.InstanceId, r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.ReopenIncidentResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ReopenIncident{ReopenIncident: r}})
	})
}
