package client

import (
	"context"
	"fmt"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Report says what a reporter has observed of a run; its namespace is the client's. The same observation again changes nothing, and of two about
// one run the newer by observedAt counts, in whatever order they come: so it can be told again until it is answered. The reply says how it
// differs from what is recorded.
func (c *Client) Report(ctx context.Context, r *v1.ReportObservationRequest) (*v1.ReportObservationResponse, error) {
	r.Namespace = c.namespace
	reply, err := ask(ctx, c.Reconcile.ReportObservation, r)
	if err != nil {
		return nil, fmt.Errorf("report observation %s of step %s: %w", r.ObservationId, r.Step, err)
	}
	return reply, nil
}

// PlanReconcile says what would be done about the drift that r asks for; nothing is done. Without a policy a person is to decide.
func (c *Client) PlanReconcile(ctx context.Context, r *v1.PlanReconcileRequest) (*v1.ReconcilePlan, error) {
	r.Namespace = c.namespace
	plan, err := ask(ctx, c.Reconcile.PlanReconcile, r)
	if err != nil {
		return nil, fmt.Errorf("plan reconciliation: %w", err)
	}
	return plan, nil
}

// ApplyPlan does what a plan says. When what it touches has moved since it was made, it is refused as STALE_PLAN, and nothing is done. Applied
// again it is answered with Duplicate, or refused as stale: nothing is done twice.
func (c *Client) ApplyPlan(ctx context.Context, plan *v1.ReconcilePlan, reason string) (*v1.ApplyPlanResponse, error) {
	reply, err := ask(ctx, c.Reconcile.ApplyPlan, &v1.ApplyPlanRequest{Namespace: c.namespace, Plan: plan, Reason: reason})
	if err != nil {
		return nil, fmt.Errorf("apply plan %s: %w", plan.GetPlanId(), err)
	}
	return reply, nil
}
