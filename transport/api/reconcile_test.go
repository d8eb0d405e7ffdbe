package api

import (
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What is observed is planned and applied over the wire; what cannot be said is refused before it is in the log.
func TestReconcile(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps:\n  a: {queue: q}\n"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{Workflow: "w", InstanceId: "i"})
	seen := func(fn func(*v1.ReportObservationRequest)) *v1.ReportObservationRequest {
		r := &v1.ReportObservationRequest{InstanceId: "i", Step: "a", Reporter: "r", ObservationId: "o", State: v1.ObservedState_OBSERVED_STATE_COMPLETED, Output: structpb.NewNumberValue(7)}
		if fn != nil {
			fn(r)
		}
		return r
	}
	if r := must(t, client.ReportObservation, seen(nil)); r.Drift != v1.DriftClass_DRIFT_CLASS_AHEAD {
		t.Errorf("reported as %v", r)
	}
	list := must(t, client.ListObservations, &v1.ListObservationsRequest{}).Observations
	if len(list) != 1 || string(list[0].OutputPayload.GetBytes()) != "7" || list[0].Since == nil {
		t.Errorf("listed are %v", list)
	}
	plan := must(t, client.PlanReconcile, &v1.PlanReconcileRequest{Policies: []*v1.ReconcilePolicy{{Action: v1.ReconcileAction_RECONCILE_ACTION_ADOPT}}})
	if applied := must(t, client.ApplyPlan, &v1.ApplyPlanRequest{Plan: plan, Reason: "why"}); len(applied.Applied) != 1 || !applied.Applied[0].Done {
		t.Errorf("applied as %v", applied)
	}
	if again := must(t, client.ApplyPlan, &v1.ApplyPlanRequest{Plan: plan, Reason: "why"}); !again.Duplicate {
		t.Errorf("again it is answered %v", again)
	}
	if i := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "i"}); i.State != v1.InstanceState_INSTANCE_STATE_COMPLETED {
		t.Errorf("it is %v", i)
	}
	for _, bad := range []func(*v1.ReportObservationRequest){
		func(r *v1.ReportObservationRequest) { r.Step = "" }, func(r *v1.ReportObservationRequest) { r.Reporter = "a\n" },
		func(r *v1.ReportObservationRequest) { r.ObservationId = "" }, func(r *v1.ReportObservationRequest) { r.State = 0 },
		func(r *v1.ReportObservationRequest) { r.State = 9 }, func(r *v1.ReportObservationRequest) { r.InstanceId = "" },
		func(r *v1.ReportObservationRequest) { r.Key = &v1.Key{Name: "k", Value: "v"} }, func(r *v1.ReportObservationRequest) { r.Index = -1 },
		func(r *v1.ReportObservationRequest) { r.Code = "E" }, func(r *v1.ReportObservationRequest) { r.State = v1.ObservedState_OBSERVED_STATE_RUNNING },
		func(r *v1.ReportObservationRequest) { r.InstanceId, r.Key = "", &v1.Key{Value: "v"} },
	} {
		if r := refusal(t, client.ReportObservation, seen(bad)); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v is refused with %v", seen(bad), r)
		}
	}
	for _, bad := range []*v1.PlanReconcileRequest{{Drift: 99}, {Policies: []*v1.ReconcilePolicy{{}}}, {Policies: []*v1.ReconcilePolicy{{Action: 9}}}, {Step: "\n"}} {
		if r := refusal(t, client.PlanReconcile, bad); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v is refused with %v", bad, r)
		}
	}
	for _, bad := range []*v1.ApplyPlanRequest{{Plan: plan}, {Reason: "why"}, {Reason: "why", Plan: &v1.ReconcilePlan{PlanId: "x"}}, {Reason: "why", Plan: &v1.ReconcilePlan{PlanId: plan.PlanId[:62] + "00", Actions: plan.Actions}}} {
		if r := refusal(t, client.ApplyPlan, bad); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v is refused with %v", bad, r)
		}
	}
}
