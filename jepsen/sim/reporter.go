package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// reporter reports what it says it has seen of runs: it lies, lags, repeats itself, speaks of what is not, and falls silent for a while. Beside it
// somebody plans what to do about that, and applies the plans, late, and twice.
type reporter struct {
	c     *client
	pace  time.Duration
	told  int
	said  []*v1.ReportObservationRequest // the newest few
	plans []*v1.ReconcilePlan
}

var theReporters = []string{"ledger", "mainframe"}

func (w *world) reporter(d draws) {
	k := &reporter{c: w.client("reporter", d), pace: d.between(5*time.Millisecond, 120*time.Millisecond)}
	k.next()
}

func (k *reporter) next() {
	w, d := k.c.w, k.c.draws
	wait := d.between(0, 2*k.pace)
	if d.one(40) {
		wait += d.between(time.Second, 6*time.Second)
	}
	w.by(k.c.process, wait, func() {
		if w.stopping {
			return
		}
		switch {
		case d.one(3):
			k.plan()
		case d.one(8) && len(k.said) > 0:
			k.report(pick(d, k.said))
		default:
			k.look()
		}
		k.next()
	})
}

// look looks at a run of an instance, and says something of it.
func (k *reporter) look() {
	d := k.c.draws
	if len(k.said) > 0 && d.one(4) {
		last := pick(d, k.said)
		k.say(heard{instance: last.InstanceId, step: last.Step, index: last.Index})
		return
	}
	if run, known := late(d, k.c.w.crew.runs); known && d.one(2) {
		k.say(run)
		return
	}
	list := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.ListInstances(&v1.ListInstancesRequest{State: v1.InstanceState_INSTANCE_STATE_RUNNING, Limit: 100})
	}}
	k.c.call(list, options{kind: "read"}, func(res *response) {
		list, is := res.value.(*v1.ListInstancesResponse)
		if !is || len(list.Instances) == 0 {
			return
		}
		id := pick(d, list.Instances).InstanceId
		show := &request{read: func(m *fsm.Machine) (proto.Message, error) {
			return m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
		}}
		k.c.call(show, options{kind: "read"}, func(res *response) {
			i, is := res.value.(*v1.Instance)
			if !is || i == nil || k.c.w.stopping || len(i.Runs) == 0 {
				return
			}
			run := pick(d, i.Runs)
			k.say(heard{instance: id, step: run.Step, index: run.Index})
		})
	})
}

// say says something of a run: often what may be so.
func (k *reporter) say(run heard) {
	d, w := k.c.draws, k.c.w
	k.told++
	r := &v1.ReportObservationRequest{
		InstanceId: run.instance, Step: run.step, Index: run.index, Reporter: pick(d, theReporters), ObservationId: fmt.Sprint("o", k.told), Evidence: "e",
		State: v1.ObservedState(1 + d.IntN(5)),
	}
	if d.one(3) {
		r.State = v1.ObservedState_OBSERVED_STATE_COMPLETED
	}
	seen := w.history.wall - int64(d.between(0, 2*time.Second))
	switch {
	case d.one(2):
		seen = w.history.wall + int64(d.between(0, 200*time.Millisecond)) // its clock is ahead, or ours behind
	case d.one(4):
		seen -= int64(d.between(0, time.Minute))
	}
	r.ObservedAt = timestamppb.New(time.Unix(0, max(1, seen)))
	switch r.State {
	case v1.ObservedState_OBSERVED_STATE_COMPLETED:
		r.OutputPayload = &v1.Payload{Bytes: []byte(pick(d, []string{"0", "1", "2"}))}
		r.Execution = pick(d, []string{"", "x", "y"})
	case v1.ObservedState_OBSERVED_STATE_FAILED:
		r.Code = pick(d, []string{"", "E", "F"})
	}
	switch {
	case run.instance == "" || d.one(12):
		r.InstanceId = fmt.Sprint("nobody", d.IntN(4))
	case d.one(12):
		r.Step = pick(d, []string{"s0", "s1", "r0", "behind", "nothing", run.step + ".undo"})
	case d.one(12):
		r.InstanceId, r.Key = "", &v1.Key{Name: "group", Value: pick(d, theGroups)}
		if d.one(3) {
			r.Key.Value = fmt.Sprint("none", d.IntN(3))
		}
	}
	if k.said = append(k.said, r); len(k.said) > 8 {
		k.said = k.said[1:]
	}
	k.report(r)
}

func (k *reporter) report(r *v1.ReportObservationRequest) {
	k.c.call(&request{commands: one(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ReportObservation{ReportObservation: r}})}, options{kind: "report"}, func(*response) {})
}

// plan plans what to do about some drift, and applies it soon; now and then it applies one that is older, or the same again.
func (k *reporter) plan() {
	d := k.c.draws
	if len(k.plans) > 0 && d.one(4) {
		k.apply(pick(d, k.plans))
		return
	}
	ask := &v1.PlanReconcileRequest{}
	for range 1 + d.IntN(2) {
		ask.Policies = append(ask.Policies, &v1.ReconcilePolicy{Drift: v1.DriftClass(1 + d.IntN(6)), Action: v1.ReconcileAction(1 + d.IntN(5))})
	}
	ask.Policies = append(ask.Policies, &v1.ReconcilePolicy{Action: pick(d, []v1.ReconcileAction{1, 1, 1, 2, 2, 3, 4, 5})})
	if len(k.said) > 0 && !d.one(4) {
		if said := pick(d, k.said); said.InstanceId != "" {
			ask.InstanceId = said.InstanceId
		}
	}
	if d.one(3) {
		ask.Reporter = pick(d, theReporters)
	}
	k.c.call(&request{read: func(m *fsm.Machine) (proto.Message, error) { return m.PlanReconcile(ask) }}, options{kind: "read"}, func(res *response) {
		plan, is := res.value.(*v1.ReconcilePlan)
		if !is || plan == nil || len(plan.Actions) == 0 || k.c.w.stopping {
			return
		}
		if k.plans = append(k.plans, plan); len(k.plans) > 4 {
			k.plans = k.plans[1:]
		}
		k.c.w.by(k.c.process, d.between(0, 20*time.Millisecond), func() { k.apply(plan) })
	})
}

func (k *reporter) apply(plan *v1.ReconcilePlan) {
	c := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ApplyPlan{ApplyPlan: &v1.ApplyPlanRequest{Plan: plan, Reason: "r"}}}
	k.c.call(&request{commands: one(c)}, options{kind: "apply"}, func(*response) {})
}

// drift compares a plan for all there is, or for one instance, with what the model says differs.
func (k *reader) drift() *request {
	d, h := k.c.draws, k.c.w.history
	ask := &v1.PlanReconcileRequest{Policies: []*v1.ReconcilePolicy{{Action: v1.ReconcileAction_RECONCILE_ACTION_IGNORE}}}
	if run, known := late(d, k.c.w.crew.runs); known && d.one(2) {
		ask.InstanceId = run.instance
	}
	return h.compared(func(m *fsm.Machine) (proto.Message, error) { return m.PlanReconcile(ask) }, func(x proto.Message, err error) string {
		if err != nil {
			return fmt.Sprintf("a plan is refused: %v", err)
		}
		plan := x.(*v1.ReconcilePlan)
		var names []string
		for _, a := range plan.GetActions() {
			names = append(names, sighting(a).Say()+": "+driftName(a.Drift))
		}
		if plan.GetMore() {
			return ""
		}
		return differs(names, h.model, ask.InstanceId)
	})
}
