package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// checkBulk checks names and sizes; what an operation is to be beyond that, the state machine checks.
func checkBulk(r *v1.StartBulkRequest) error {
	if err := name("bulkId", r.BulkId); err != nil {
		return err
	}
	if err := optional("step", r.Step); err != nil {
		return err
	}
	f := r.Filter
	err := checkList(&v1.ListInstancesRequest{State: f.GetState(), Workflow: f.GetWorkflow(), Labels: f.GetLabels(), Keys: f.GetKeys()})
	if err != nil {
		return err
	}
	return why(r.Reason)
}

// StartBulk starts a bulk operation.
func (s *service) StartBulk(ctx context.Context, r *connect.Request[v1.StartBulkRequest]) (*connect.Response[v1.BulkOperation], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.StartBulkRequest) (*v1.BulkOperation, error) {
		if err := checkBulk(r); err != nil {
			return nil, err
		}
		return propose[*v1.BulkOperation](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_StartBulk{StartBulk: r}})
	})
}

// CancelBulk has a bulk operation come to no more instances.
func (s *service) CancelBulk(ctx context.Context, r *connect.Request[v1.CancelBulkRequest]) (*connect.Response[v1.BulkOperation], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CancelBulkRequest) (*v1.BulkOperation, error) {
		if err := name("bulkId", r.BulkId); err != nil {
			return nil, err
		}
		if err := why(r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.BulkOperation](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_CancelBulk{CancelBulk: r}})
	})
}

// GetBulk says how far a bulk operation has come.
func (s *service) GetBulk(ctx context.Context, r *connect.Request[v1.GetBulkRequest]) (*connect.Response[v1.BulkOperation], error) {
	return read(s, ctx, r, func(r *v1.GetBulkRequest) error { return name("bulkId", r.BulkId) }, (*fsm.Machine).GetBulk, nil)
}

// ListBulks lists bulk operations.
func (s *service) ListBulks(ctx context.Context, r *connect.Request[v1.ListBulksRequest]) (*connect.Response[v1.ListBulksResponse], error) {
	return read(s, ctx, r, func(r *v1.ListBulksRequest) error { return page(r.Limit, r.Page) }, (*fsm.Machine).ListBulks, nil)
}
