package api

import (
	"context"
	"encoding/hex"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// maxActions is how many actions, and policies, a plan may have.
const maxActions = 100

// ReportObservation says what a reporter has observed of a run.
func (s *service) ReportObservation(ctx context.Context, r *connect.Request[v1.ReportObservationRequest]) (*connect.Response[v1.ReportObservationResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ReportObservationRequest) (*v1.ReportObservationResponse, error) {
		if err := checkObservation(r); err != nil {
			return nil, err
		}
		return propose[*v1.ReportObservationResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ReportObservation{ReportObservation: r}})
	})
}

func checkObservation(r *v1.ReportObservationRequest) error {
	if err := names("step", r.Step, "reporter", r.Reporter, "observationId", r.ObservationId); err != nil {
		return err
	}
	completed, failed := r.State == v1.ObservedState_OBSERVED_STATE_COMPLETED, r.State == v1.ObservedState_OBSERVED_STATE_FAILED
	switch _, is := v1.ObservedState_name[int32(r.State)]; {
	case !is || r.State == v1.ObservedState_OBSERVED_STATE_UNSPECIFIED:
		return invalid("state %d is none", r.State)
	case (r.InstanceId == "") == (r.Key == nil):
		return invalid("give an instanceId, or a key")
	case r.Index < 0:
		return invalid("index is %d", r.Index)
	case r.ObservedAt != nil && !(r.ObservedAt.IsValid() && r.ObservedAt.AsTime().Unix() > 0):
		return invalid("observedAt is no time after 1970")
	case !completed && (r.Output != nil || r.OutputPayload != nil || r.Execution != ""):
		return invalid("what is not completed has no output, and no execution")
	case !failed && r.Code != "":
		return invalid("what has not failed has no code")
	}
	if r.Key != nil {
		if err := names("key.name", r.Key.Name, "key.value", r.Key.Value); err != nil {
			return err
		}
	}
	for _, x := range [...][2]string{{"instanceId", r.InstanceId}, {"code", r.Code}, {"execution", r.Execution}} {
		if err := optional(x[0], x[1]); err != nil {
			return err
		}
	}
	if err := text("evidence", r.Evidence); err != nil {
		return err
	}
	return payloadOf("output", &r.Output, &r.OutputPayload)
}

// ListObservations lists what is kept of what reporters have observed.
func (s *service) ListObservations(ctx context.Context, r *connect.Request[v1.ListObservationsRequest]) (*connect.Response[v1.ListObservationsResponse], error) {
	return read(s, ctx, r, func(r *v1.ListObservationsRequest) error {
		if err := optional("instanceId", r.InstanceId); err != nil {
			return err
		}
		return page(r.Limit, r.Page)
	}, (*fsm.Machine).ListObservations, nil)
}

// PlanReconcile says what would be done about drift.
func (s *service) PlanReconcile(ctx context.Context, r *connect.Request[v1.PlanReconcileRequest]) (*connect.Response[v1.ReconcilePlan], error) {
	return read(s, ctx, r, checkPlan, (*fsm.Machine).PlanReconcile, nil)
}

func checkPlan(r *v1.PlanReconcileRequest) error {
	for _, x := range [...][2]string{{"instanceId", r.InstanceId}, {"workflow", r.Workflow}, {"step", r.Step}, {"reporter", r.Reporter}} {
		if err := optional(x[0], x[1]); err != nil {
			return err
		}
	}
	if _, is := v1.DriftClass_name[int32(r.Drift)]; !is {
		return invalid("drift %d is no class", r.Drift)
	}
	if n := len(r.Policies); n > maxActions {
		return invalid("there are %d policies, the limit is %d", n, maxActions)
	}
	for _, p := range r.Policies {
		_, class := v1.DriftClass_name[int32(p.Drift)]
		if _, is := v1.ReconcileAction_name[int32(p.Action)]; !class || !is || p.Action == 0 {
			return invalid("a policy has a class of drift, or none for all, and an action")
		}
	}
	return nil
}

// ApplyPlan does what a plan says.
func (s *service) ApplyPlan(ctx context.Context, r *connect.Request[v1.ApplyPlanRequest]) (*connect.Response[v1.ApplyPlanResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.ApplyPlanRequest) (*v1.ApplyPlanResponse, error) {
		if err := checkApply(r); err != nil {
			return nil, err
		}
		return propose[*v1.ApplyPlanResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ApplyPlan{ApplyPlan: r}})
	})
}

// checkApply checks a plan, and takes from it what is for people: it is not in the plan's id, and does not go into the log.
func checkApply(r *v1.ApplyPlanRequest) error {
	if err := why(r.Reason); err != nil {
		return err
	}
	p := r.Plan
	if p == nil {
		return invalid("plan is missing")
	}
	if id, err := hex.DecodeString(p.PlanId); err != nil || len(id) != 32 {
		return invalid("planId is not that of a plan")
	}
	if n := len(p.Actions); n > maxActions {
		return invalid("the plan has %d actions, and may have %d", n, maxActions)
	}
	for _, a := range p.Actions {
		if err := names("step", a.Step, "reporter", a.Reporter, "observationId", a.ObservationId); err != nil {
			return err
		}
		for _, x := range [...][2]string{{"instanceId", a.InstanceId}, {"key.name", a.Key.GetName()}, {"key.value", a.Key.GetValue()}} {
			if err := optional(x[0], x[1]); err != nil {
				return err
			}
		}
		if _, is := v1.ReconcileAction_name[int32(a.Action)]; !is || a.Action == 0 || a.Index < 0 {
			return invalid("action %d of step %q is none", a.Action, a.Step)
		}
		a.Because = ""
	}
	return nil
}
