package client_test

import (
	"context"
	"errors"
	"testing"

	"connectrpc.com/connect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (f *fake) StartBulk(_ context.Context, r *connect.Request[v1.StartBulkRequest]) (*connect.Response[v1.BulkOperation], error) {
	return connect.NewResponse(&v1.BulkOperation{Namespace: r.Msg.Namespace, BulkId: r.Msg.BulkId, State: v1.BulkState_BULK_STATE_RUNNING}), nil
}

// GetBulk is done when it was asked twice.
func (f *fake) GetBulk(_ context.Context, r *connect.Request[v1.GetBulkRequest]) (*connect.Response[v1.BulkOperation], error) {
	b := &v1.BulkOperation{Namespace: r.Msg.Namespace, BulkId: r.Msg.BulkId, State: v1.BulkState_BULK_STATE_RUNNING}
	if f.bulkAsked.Add(1) > 1 {
		b.State = v1.BulkState_BULK_STATE_COMPLETED
	}
	return connect.NewResponse(b), nil
}

func (f *fake) CancelBulk(_ context.Context, r *connect.Request[v1.CancelBulkRequest]) (*connect.Response[v1.BulkOperation], error) {
	return connect.NewResponse(&v1.BulkOperation{Namespace: r.Msg.Namespace, BulkId: r.Msg.BulkId, CancelReason: r.Msg.Reason}), nil
}

func (f *fake) ResolveIncident(_ context.Context, r *connect.Request[v1.ResolveIncidentRequest]) (*connect.Response[v1.ResolveIncidentResponse], error) {
	if r.Msg.Namespace != "default" || r.Msg.InstanceId != "i" || r.Msg.Reason != "why" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New(r.Msg.String()))
	}
	return connect.NewResponse(&v1.ResolveIncidentResponse{}), nil
}

func (f *fake) ReopenIncident(_ context.Context, r *connect.Request[v1.ReopenIncidentRequest]) (*connect.Response[v1.ReopenIncidentResponse], error) {
	if r.Msg.Namespace != "default" || r.Msg.InstanceId != "i" || r.Msg.Reason != "why" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New(r.Msg.String()))
	}
	return connect.NewResponse(&v1.ReopenIncidentResponse{}), nil
}

// A bulk operation is of the client's namespace, and waited for until it is over, with what it has come to meanwhile.
func TestBulk(t *testing.T) {
	_, c, _ := cluster(t, 1)
	ctx := within(t)
	if b, err := c.StartBulk(ctx, &v1.StartBulkRequest{BulkId: "b"}); err != nil || b.Namespace != "default" || b.BulkId != "b" {
		t.Errorf("started: %v, %v", b, err)
	}
	told := 0
	if b, err := c.WaitBulk(ctx, "b", func(*v1.BulkOperation) { told++ }); err != nil || b.State != v1.BulkState_BULK_STATE_COMPLETED || told != 1 {
		t.Errorf("waited for: %v, %v; told %d times", b, err, told)
	}
	if b, err := c.CancelBulk(ctx, "b", "why"); err != nil || b.CancelReason != "why" {
		t.Errorf("cancelled: %v, %v", b, err)
	}
}

// So is the failure of an instance, which is resolved and reopened.
func TestIncidents(t *testing.T) {
	_, c, _ := cluster(t, 1)
	ctx := within(t)
	if err := c.ResolveIncident(ctx, "i", "why"); err != nil {
		t.Error(err)
	}
	if err := c.ReopenIncident(ctx, "i", "why"); err != nil {
		t.Error(err)
	}
	if err := c.ReopenIncident(ctx, "j", "why"); err == nil {
		t.Error("another is reopened")
	}
}
