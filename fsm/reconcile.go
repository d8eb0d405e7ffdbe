package fsm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A plan says what would be done about drift: one action for each observation that differs. It is made by a read, and kept by whoever asked. It is
// applied by one command, which does all that it says or refuses: each action has the position of the newest event of its instance, and of
// the one that told the observation, and what has moved since makes the plan stale. What it does is what an operator could do by hand, so what is guaranteed of
// that is guaranteed of plans: a run that is adopted is completed under a token of its own, once, and whoever holds it is fenced by the
// same entry.

const (
	maxPlanned = 100 // actions of a plan
	plansKept  = 32  // ids of applied plans that a namespace remembers; one that is forgotten is stale, for it has moved what it touches
)

// policy is what to do about drift: by the first of a plan's policies that matches; then what the step says; then a person decides.
func (d *drifted) policy(policies []*v1.ReconcilePolicy) v1.ReconcileAction {
	for _, p := range policies {
		if p.Drift == 0 || p.Drift == d.class {
			return p.Action
		}
	}
	if d.own.known {
		if action := d.i.step(d.at).Reconcile.Action(strings.ToLower(driftName(d.class))); action != "" {
			return v1.ReconcileAction(v1.ReconcileAction_value["RECONCILE_ACTION_"+strings.ToUpper(action)])
		}
	}
	return v1.ReconcileAction_RECONCILE_ACTION_INCIDENT
}

// planAction is what a plan would do about drift; nil when that has been done.
func (m *Machine) planAction(ns *namespace, d *drifted, policies []*v1.ReconcilePolicy) *v1.PlannedAction {
	action, why := d.policy(policies), d.describe()
	if cannot := d.cannot(action); cannot != "" {
		why += fmt.Sprintf(" It cannot be done to %s: %s.", actionName(action), cannot)
		action = v1.ReconcileAction_RECONCILE_ACTION_INCIDENT
	}
	if action == v1.ReconcileAction_RECONCILE_ACTION_INCIDENT && d.raised() {
		return nil
	}
	a := &v1.PlannedAction{
		InstanceId: d.rec.InstanceId, Key: d.rec.Key, Step: d.rec.Step, Index: d.rec.Index, Reporter: d.rec.Reporter, ObservationId: d.rec.ObservationId,
		Drift: d.class, Action: action, InstancePosition: m.newest(d.i), ObservationPosition: d.rec.Position, Observed: d.rec.State, State: d.own.state, Because: why,
	}
	if d.own.known {
		a.Token = d.i.run(d.at).Token
	}
	return a
}

// newest is the position of the newest event of an instance; zero of none.
func (m *Machine) newest(i *instance) int64 {
	switch {
	case i == nil:
		return 0
	case len(i.history) > 0:
		return i.history[len(i.history)-1]
	}
	return m.lastPosition(i.ns, i.rec.InstanceId)
}

// PlanReconcile says what would be done about the drift there is, the oldest first; of one instance by step and reporter.
func (m *Machine) PlanReconcile(r *v1.PlanReconcileRequest) (*v1.ReconcilePlan, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := m.reconciles(); refusal != nil {
		return nil, refusal
	}
	plan := &v1.ReconcilePlan{Namespace: ns.rec.Namespace, Position: ns.rec.Position}
	take := func(rec *logv1.Observation) bool {
		d := m.compare(ns, m.about(ns, rec), rec)
		if !d.open() || !d.among(r) {
			return true
		}
		if plan.More = len(plan.Actions) == maxPlanned; plan.More {
			return false
		}
		if a := m.planAction(ns, d, r.Policies); a != nil {
			plan.Actions = append(plan.Actions, a)
		}
		return true
	}
	if r.InstanceId != "" {
		m.observations(ns, r.InstanceId, take)
	} else {
		m.drifts(ns, take)
	}
	plan.PlanId = planID(plan)
	return plan, nil
}

// drifts calls fn with what was drift when it was told, the oldest first, until it returns false.
func (m *Machine) drifts(ns *namespace, fn func(*logv1.Observation) bool) {
	prefix := key(tableDrift, ns.rec.Namespace)
	m.scan(prefix, table.End(prefix), func(k, _ []byte) bool {
		return fn(m.observation(append(key(tableObserved, ns.rec.Namespace), k[len(prefix)+8:]...)))
	})
}

// among says whether drift is among what a plan is asked for.
func (d *drifted) among(r *v1.PlanReconcileRequest) bool {
	return (r.Workflow == "" || d.i != nil && d.i.rec.Workflow == r.Workflow) && (r.Step == "" || r.Step == d.rec.Step) &&
		(r.Reporter == "" || r.Reporter == d.rec.Reporter) && (r.Drift == 0 || r.Drift == d.class)
}

// planID is the digest of all that a plan does: so its id says what it is.
func planID(p *v1.ReconcilePlan) string {
	b := appendText(nil, 1, p.Namespace)
	b = appendNumber(b, 2, p.Position)
	for _, a := range p.Actions {
		for n, s := range [...]string{a.InstanceId, a.Key.GetName(), a.Key.GetValue(), a.Step, a.Reporter, a.ObservationId} {
			b = appendText(b, byte(3+n), s)
		}
		for n, v := range [...]int64{int64(a.Index), int64(a.Drift), int64(a.Action), a.InstancePosition, a.ObservationPosition} {
			b = appendNumber(b, byte(9+n), v)
		}
		b = append(b, 0)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// applyPlan does what a plan says, if nothing that it touches has moved.
func (t *turn) applyPlan(r *v1.ApplyPlanRequest) (proto.Message, *Refusal) {
	plan := r.Plan
	for _, p := range t.ns.rec.Plans {
		if p.PlanId == plan.GetPlanId() {
			return &v1.ApplyPlanResponse{PlanId: p.PlanId, Duplicate: true, Position: p.Position}, nil
		}
	}
	switch n := len(plan.GetActions()); {
	case n == 0:
		return nil, Refuse(v1.Code_CODE_INVALID, "the plan has no actions: there is nothing to apply")
	case n > maxPlanned:
		return nil, Refuse(v1.Code_CODE_INVALID, "the plan has %d actions, and may have %d", n, maxPlanned)
	case plan.Namespace != t.ns.rec.Namespace || plan.PlanId != planID(plan):
		return nil, Refuse(v1.Code_CODE_INVALID, "the plan is not as it was made: it is of another namespace, or was changed; plan again, with policies that say what to do")
	}
	all := make([]*drifted, 0, len(plan.Actions))
	for _, a := range plan.Actions {
		d, refusal := t.unmoved(a)
		if refusal != nil {
			return nil, refusal
		}
		all = append(all, d)
	}
	applied := &planApplied{r: r}
	t.emit(applied)
	reply := &v1.ApplyPlanResponse{PlanId: plan.PlanId, Position: t.ns.rec.Position}
	for n, a := range plan.Actions {
		reply.Applied = append(reply.Applied, t.settleDrift(r, a, all[n]))
	}
	return reply, nil
}

// unmoved is the drift that an action is about, if that is as it was planned.
func (t *turn) unmoved(a *v1.PlannedAction) (*drifted, *Refusal) {
	rec := t.m.observation(observedKey(t.ns.rec.Namespace, &logv1.Observation{InstanceId: a.InstanceId, Key: a.Key, Step: a.Step, Index: a.Index, Reporter: a.Reporter}))
	if rec == nil {
		return nil, Refuse(v1.Code_CODE_STALE_PLAN, "what reporter %q has seen of step %q of instance %q is not kept any more; plan again", a.Reporter, a.Step, a.InstanceId)
	}
	var i *instance
	if rec.InstanceId != "" {
		i = t.known(rec.InstanceId)
	}
	d := t.m.compare(t.ns, i, rec)
	moved := t.m.newest(i) != a.InstancePosition && !plant.Is(plant.StalePlanApplied)
	if moved || rec.Position != a.ObservationPosition || rec.ObservationId != a.ObservationId || !plant.Is(plant.StalePlanApplied) && (d.class != a.Drift || !d.open()) {
		refusal := Refuse(v1.Code_CODE_STALE_PLAN, "instance %q, or what reporter %q has seen of its step %q, has moved since the plan was made; plan again", a.InstanceId, a.Reporter, a.Step)
		refusal.Detail.Position = max(t.m.newest(i), rec.Position)
		return nil, refusal
	}
	if cannot := d.cannot(a.Action); a.Action == 0 || cannot != "" && !plant.Is(plant.StalePlanApplied) {
		return nil, Refuse(v1.Code_CODE_INVALID, "the plan cannot %s step %q of instance %q: %s", actionName(a.Action), a.Step, a.InstanceId, cannot)
	}
	return d, nil
}

// settleDrift does what an action says. What an action before it in the plan has moved is left as it is.
func (t *turn) settleDrift(r *v1.ApplyPlanRequest, a *v1.PlannedAction, d *drifted) *v1.AppliedAction {
	done := &v1.AppliedAction{InstanceId: a.InstanceId, Step: a.Step, Index: a.Index, Reporter: a.Reporter, Action: a.Action}
	now := t.m.compare(t.ns, d.i, d.rec)
	if now.class != d.class {
		done.Because = "an action before it has moved the run"
		return done
	}
	if done.Because = now.cannot(a.Action); done.Because != "" {
		return done
	}
	token, refusal := t.takeAction(r.Reason, a.Action, now)
	if refusal != nil {
		done.Because = refusal.Detail.Reason
		return done
	}
	t.emit(&driftSettled{d: now, r: r, action: a.Action})
	done.Done, done.Token = true, token
	return done
}

// takeAction does what an operator would do by hand; what is refused is not done.
func (t *turn) takeAction(reason string, action v1.ReconcileAction, d *drifted) (token int64, refusal *Refusal) {
	id, step, index := d.rec.InstanceId, d.rec.Step, d.rec.Index
	switch action {
	case v1.ReconcileAction_RECONCILE_ACTION_ADOPT:
		resolve := &v1.ResolveStepRequest{InstanceId: id, Step: step, Index: index, Reason: reason, OutputPayload: t.m.observedOutput(t.ns, d.rec)}
		if d.rec.State == v1.ObservedState_OBSERVED_STATE_FAILED {
			if resolve.OutputPayload, resolve.Code = nil, d.rec.Code; resolve.Code == "" {
				resolve.Code = observedFailed
			}
		}
		reply, refusal := t.resolveStep(resolve)
		if refusal != nil {
			return 0, refusal
		}
		return reply.(*v1.ResolveStepResponse).Token, nil
	case v1.ReconcileAction_RECONCILE_ACTION_RERUN:
		return 0, t.rerun(reason, d)
	case v1.ReconcileAction_RECONCILE_ACTION_COMPENSATE:
		_, refusal = t.compensateInstance(&v1.CompensateInstanceRequest{InstanceId: id, FromStep: step, Reason: reason})
	}
	return 0, refusal
}

// observedFailed is the code of a run that failed as it was observed, without a code.
const observedFailed = "OBSERVED_FAILED"

// rerun has a run be done again: whoever holds it is fenced by the next grant, and what it stands still for, or waits for, is over. One that is
// ready, or waits for what it needs, is done in its time.
func (t *turn) rerun(reason string, d *drifted) (refusal *Refusal) {
	id, step, index := d.rec.InstanceId, d.rec.Step, d.rec.Index
	switch d.own.state {
	case v1.RunState_RUN_STATE_LEASED:
		t.giveBack(d.i, d.at, "revoke", reason)
	case v1.RunState_RUN_STATE_INCIDENT:
		_, refusal = t.retryStep(&v1.RetryStepRequest{InstanceId: id, Step: step, Index: index, Reason: reason})
	case v1.RunState_RUN_STATE_BACKOFF:
		_, refusal = t.updateStep(&v1.UpdateStepRequest{InstanceId: id, Step: step, Index: index, Reason: reason, RetryNow: true})
	}
	return refusal
}

// planApplied: what a plan says is done, in the events that follow by the same command.
type planApplied struct{ r *v1.ApplyPlanRequest }

func (e *planApplied) kind() string { return "lockstep.plan.applied.v1" }
func (e *planApplied) fill(d *v1.EventData) string {
	d.Plan, d.Reason, d.Count = e.r.Plan.PlanId, e.r.Reason, int32(len(e.r.Plan.Actions))
	return "plan/" + e.r.Plan.PlanId
}
func (e *planApplied) evolve(t *turn) {
	rec := t.ns.rec
	rec.Plans = append(rec.Plans, &logv1.AppliedPlan{PlanId: e.r.Plan.PlanId, Position: rec.Position + 1})
	if n := len(rec.Plans); n > plansKept {
		rec.Plans = append([]*logv1.AppliedPlan(nil), rec.Plans[n-plansKept:]...)
	}
	t.m.dirtyNamespace(t.ns)
}

// driftSettled: a plan has settled drift, or left it to a person.
type driftSettled struct {
	d      *drifted
	r      *v1.ApplyPlanRequest
	action v1.ReconcileAction
}

func (e *driftSettled) kind() string {
	if e.action == v1.ReconcileAction_RECONCILE_ACTION_INCIDENT {
		return "lockstep.drift.raised.v1"
	}
	return "lockstep.drift.settled.v1"
}
func (e *driftSettled) fill(d *v1.EventData) string {
	subject := e.d.fill(d, e.d.rec)
	d.Plan, d.Reason, d.Name = e.r.Plan.PlanId, e.r.Reason, actionName(e.action)
	return subject
}
func (e *driftSettled) evolve(t *turn) {
	rec := proto.CloneOf(e.d.rec)
	rec.Settled, rec.SettledDrift, rec.PlanId, rec.Position = e.action, e.d.class, e.r.Plan.PlanId, t.ns.rec.Position+1
	if e.action != v1.ReconcileAction_RECONCILE_ACTION_INCIDENT {
		rec.SettledExecutions = int32(len(rec.Executions))
	}
	t.m.putObservation(t.ns, e.d.rec, rec)
}
