package client_test

import (
	"context"
	"testing"

	"connectrpc.com/connect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (f *fake) ReportObservation(_ context.Context, r *connect.Request[v1.ReportObservationRequest]) (*connect.Response[v1.ReportObservationResponse], error) {
	return connect.NewResponse(&v1.ReportObservationResponse{InstanceId: r.Msg.Namespace + "/" + r.Msg.InstanceId}), nil
}

func (f *fake) PlanReconcile(_ context.Context, r *connect.Request[v1.PlanReconcileRequest]) (*connect.Response[v1.ReconcilePlan], error) {
	return connect.NewResponse(&v1.ReconcilePlan{PlanId: "p", Namespace: r.Msg.Namespace}), nil
}

func (f *fake) ApplyPlan(_ context.Context, r *connect.Request[v1.ApplyPlanRequest]) (*connect.Response[v1.ApplyPlanResponse], error) {
	return connect.NewResponse(&v1.ApplyPlanResponse{PlanId: r.Msg.Plan.PlanId, Duplicate: r.Msg.Reason == "why"}), nil
}

// What is reported, planned and applied is of the client's namespace.
func TestReconcile(t *testing.T) {
	_, c, _ := cluster(t, 1)
	ctx := within(t)
	if got, err := c.Report(ctx, &v1.ReportObservationRequest{InstanceId: "i"}); err != nil || got.InstanceId != "default/i" {
		t.Errorf("reported: %v, %v", got, err)
	}
	plan, err := c.PlanReconcile(ctx, &v1.PlanReconcileRequest{})
	if err != nil || plan.PlanId != "p" || plan.Namespace != "default" {
		t.Errorf("planned: %v, %v", plan, err)
	}
	if got, err := c.ApplyPlan(ctx, plan, "why"); err != nil || got.PlanId != "p" || !got.Duplicate {
		t.Errorf("applied: %v, %v", got, err)
	}
}
