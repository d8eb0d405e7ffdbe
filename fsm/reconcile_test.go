package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// advance lets time pass on both clocks.
func (r *rig) advance(nanoseconds int64) {
	if r.wall == 0 {
		r.wall = 1_700_000_000 * second
	}
	r.tick(nanoseconds)
}

// sees is an observation of a step of i by the ledger, in a second by the machine's wall clock.
func (r *rig) sees(step, id string, state v1.ObservedState, fn func(*v1.ReportObservationRequest)) *logv1.Command {
	if r.wall == 0 {
		r.advance(0)
	}
	o := &v1.ReportObservationRequest{InstanceId: "i", Step: step, Reporter: "ledger", ObservationId: id, State: state, ObservedAt: stamp(r.wall + second)}
	if fn != nil {
		fn(o)
	}
	return byAnn(&logv1.Command{Body: &logv1.Command_ReportObservation{ReportObservation: o}})
}

const (
	sawNothing = v1.ObservedState_OBSERVED_STATE_ABSENT
	sawRunning = v1.ObservedState_OBSERVED_STATE_RUNNING
	sawDone    = v1.ObservedState_OBSERVED_STATE_COMPLETED
	sawFailed  = v1.ObservedState_OBSERVED_STATE_FAILED
)

func output(json string) func(*v1.ReportObservationRequest) {
	return func(r *v1.ReportObservationRequest) { r.OutputPayload = &v1.Payload{Bytes: []byte(json)} }
}

// report reports an observation, a second later.
func (r *rig) report(c *logv1.Command) *v1.ReportObservationResponse {
	r.t.Helper()
	r.advance(second)
	got := r.tell(c)
	if refusal := got.Outcomes[0].Refusal; refusal != nil {
		r.t.Fatal(refusal)
	}
	return got.Outcomes[0].Reply.(*v1.ReportObservationResponse)
}

// plan plans with one action for all drift.
func (r *rig) plan(action v1.ReconcileAction) *v1.ReconcilePlan {
	r.t.Helper()
	plan, err := r.m.PlanReconcile(&v1.PlanReconcileRequest{Policies: []*v1.ReconcilePolicy{{Action: action}}})
	if err != nil {
		r.t.Fatal(err)
	}
	return plan
}

func applyOf(p *v1.ReconcilePlan) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_ApplyPlan{ApplyPlan: &v1.ApplyPlanRequest{Plan: p, Reason: "as the ledger says"}}})
}

// applies applies a plan, of which all is done, and again, which does nothing.
func (r *rig) applies(p *v1.ReconcilePlan, want ...string) *v1.ApplyPlanResponse {
	r.t.Helper()
	r.midway()
	got := r.tell(applyOf(p))
	r.did(got, append([]string{"plan.applied"}, want...)...)
	if got.Outcomes[0].Refusal != nil {
		r.t.Fatal(got.Outcomes[0].Refusal)
	}
	reply := got.Outcomes[0].Reply.(*v1.ApplyPlanResponse)
	r.midway()
	again := r.tell(applyOf(p))
	r.did(again)
	if dup := again.Outcomes[0].Reply.(*v1.ApplyPlanResponse); !dup.Duplicate || dup.Position != reply.Position || dup.PlanId != p.PlanId {
		r.t.Fatalf("again it is answered %v", dup)
	}
	return reply
}

// actionsOf are the actions of a plan: class, action, step.
func actionsOf(p *v1.ReconcilePlan) (out []string) {
	for _, a := range p.Actions {
		out = append(out, strings.TrimSpace(driftName(a.Drift)+" "+actionName(a.Action)+" "+a.Step))
	}
	return out
}

func (r *rig) would(p *v1.ReconcilePlan, want ...string) *v1.ReconcilePlan {
	r.t.Helper()
	if got := actionsOf(p); !slices.Equal(got, want) {
		r.t.Fatalf("planned is %q, want %q: %v", got, want, p)
	}
	return p
}

// incidents are those of the list that are drift: its class and step.
func (r *rig) driftIncidents(want ...string) {
	r.t.Helper()
	list, err := r.m.ListIncidents(&v1.ListIncidentsRequest{Kind: v1.IncidentKind_INCIDENT_KIND_DRIFT})
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, i := range list.Incidents {
		got = append(got, i.Code+" "+i.Step)
	}
	if !slices.Equal(got, want) {
		r.t.Fatalf("listed are %q, want %q", got, want)
	}
}

const (
	adopt, rerun, undoes = v1.ReconcileAction_RECONCILE_ACTION_ADOPT, v1.ReconcileAction_RECONCILE_ACTION_RERUN, v1.ReconcileAction_RECONCILE_ACTION_COMPENSATE
	toPerson, leaveDrift = v1.ReconcileAction_RECONCILE_ACTION_INCIDENT, v1.ReconcileAction_RECONCILE_ACTION_IGNORE
)

const pays = "workflow: w\nsteps:\n  a: {queue: q, locks: [x], compensate: {queue: q}}\n  b: {needs: [a], queue: q, input: \"${steps.a.output}\"}\n"

// What another system has completed while a worker here holds the run is adopted under a token of its own: the worker is fenced by the same entry,
// and the run is completed once.
func TestAnAdoptedRunIsCompletedOnceAndItsWorkerFenced(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pays)
		r.start("w", "i", `{}`)
		held := r.poll(r.session(60*second), "q", 1)[0]
		if got := r.report(r.sees("a", "o1", sawDone, output(`{"by":"ledger"}`))); got.Drift != v1.DriftClass_DRIFT_CLASS_AHEAD || got.Position == 0 {
			r.t.Fatalf("reported as %v", got)
		}
		r.driftIncidents("AHEAD a")
		p := r.would(r.plan(adopt), "AHEAD ADOPT a")
		if a := p.Actions[0]; a.Token != held.Token || a.State != v1.RunState_RUN_STATE_LEASED || !strings.Contains(a.Because, `"ledger" has seen step "a" of instance "i" as COMPLETED`) {
			r.t.Fatalf("planned is %v", a)
		}
		reply := r.applies(p, "step.resolved a", "step.completed a", "lock.released", "step.ready b", "drift.settled a")
		if a := reply.Applied[0]; !a.Done || a.Token <= held.Token {
			r.t.Fatalf("applied as %v", a)
		}
		if _, refusal := r.complete(held, `{"by":"worker"}`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Fatalf("the worker is answered %v", refusal)
		}
		r.driftIncidents("CONFLICTING a") // what the worker did is not what was adopted
		if got := r.poll(r.session(second), "q", 1)[0]; string(got.InputPayload.Bytes) != `{"by":"ledger"}` {
			r.t.Fatalf("what comes behind has %s", got.InputPayload.Bytes)
		}
		r.would(r.plan(adopt), "CONFLICTING INCIDENT a") // never overwritten
		r.midway()
	})
}

// A plan is refused when its instance has moved, when the observation has, and when it was changed; then nothing is done.
func TestAPlanThatIsStaleIsRefused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pays)
		r.start("w", "i", `{}`)
		r.report(r.sees("a", "o1", sawDone, output(`1`)))
		old := r.plan(adopt)
		held := r.poll(r.session(60*second), "q", 1)[0]
		r.midway()
		r.refuses(v1.Code_CODE_STALE_PLAN, applyOf(old), "has moved since the plan was made")
		p := r.plan(adopt)
		r.report(r.sees("a", "o2", sawDone, output(`2`)))
		r.refuses(v1.Code_CODE_STALE_PLAN, applyOf(p), "has moved")
		p = r.plan(adopt)
		changed := proto.CloneOf(p)
		changed.Actions[0].Action = leaveDrift
		r.refuses(v1.Code_CODE_INVALID, applyOf(changed), "was changed")
		changed.PlanId = planID(changed) // as whoever made it themselves
		changed.Actions[0].Action = undoes
		changed.Actions[0].Step = "b"
		changed.PlanId = planID(changed)
		r.refuses(v1.Code_CODE_STALE_PLAN, applyOf(changed), "not kept any more")
		r.refuses(v1.Code_CODE_INVALID, applyOf(&v1.ReconcilePlan{}), "no actions")
		if _, refusal := r.complete(held, `2`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.refuses(v1.Code_CODE_STALE_PLAN, applyOf(p), "has moved")
		r.would(r.plan(adopt)) // the same output: they agree
		r.driftIncidents()
	})
}

// Every class comes to be by what reporters say: one that lies, lags, repeats itself, and speaks of what is not.
func TestEveryClassOfDrift(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pays)
		r.start("w", "i", `{}`)
		held := r.poll(r.session(3600*second), "q", 1)[0]
		class := func(want string, c *logv1.Command) {
			r.t.Helper()
			if got := r.report(c).Drift; driftName(got) != want {
				r.t.Fatalf("%v is %q, want %q", c.GetReportObservation(), driftName(got), want)
			}
		}
		class("MISSING", r.sees("a", "o1", sawNothing, nil))
		class("", r.sees("a", "o2", sawRunning, nil))
		class("AHEAD", r.sees("b", "o3", sawRunning, nil))
		if _, refusal := r.complete(held, `1`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.midway()
		class("BEHIND", r.sees("a", "o4", sawRunning, nil))
		class("CONFLICTING", r.sees("a", "o5", sawDone, output(`7`)))
		class("CONFLICTING", r.sees("a", "o6", sawFailed, nil))
		class("", r.sees("a", "o7", sawDone, func(o *v1.ReportObservationRequest) {
			o.OutputPayload, o.Execution = &v1.Payload{Bytes: []byte(`1`)}, "tx-1"
		}))
		class("DUPLICATE", r.sees("a", "o8", sawDone, func(o *v1.ReportObservationRequest) {
			o.OutputPayload, o.Execution = &v1.Payload{Bytes: []byte(`1`)}, "tx-2"
		}))
		class("ORPHAN", r.sees("a", "o9", sawRunning, func(o *v1.ReportObservationRequest) { o.InstanceId = "nobody" }))
		class("ORPHAN", r.sees("z", "o10", sawRunning, nil))
		class("ORPHAN", r.sees("a", "o11", sawRunning, func(o *v1.ReportObservationRequest) { o.Index = 4 }))
		class("", r.sees("a", "o12", sawNothing, func(o *v1.ReportObservationRequest) { o.InstanceId = "nothing" }))
		r.midway()
		r.would(r.plan(adopt), "DUPLICATE INCIDENT a", "ORPHAN INCIDENT a", "ORPHAN INCIDENT z", "ORPHAN INCIDENT a")
		r.driftIncidents("ORPHAN a", "ORPHAN z", "ORPHAN a", "DUPLICATE a")
		r.applies(r.plan(toPerson), "drift.raised a", "drift.raised", "drift.raised", "drift.raised")
		r.would(r.plan(toPerson))
		r.driftIncidents("ORPHAN a", "ORPHAN z", "ORPHAN a", "DUPLICATE a")
		r.applies(r.plan(leaveDrift), "drift.settled a", "drift.settled", "drift.settled", "drift.settled")
		r.would(r.plan(adopt))
		r.driftIncidents()
		class("DUPLICATE", r.sees("a", "o13", sawDone, func(o *v1.ReportObservationRequest) {
			o.OutputPayload, o.Execution = &v1.Payload{Bytes: []byte(`1`)}, "tx-3"
		}))
		r.driftIncidents("DUPLICATE a") // what was settled stays so, and one more is one too many
	})
}

// What is kept does not hang on the order in which observations come, nor on how often: each order of three, with each told twice, is the same.
func TestObservationsInAnyOrder(t *testing.T) {
	var first string
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		r := newRig(t)
		r.register(pays)
		r.start("w", "i", `{}`)
		all := []*logv1.Command{
			r.sees("a", "o1", sawDone, func(o *v1.ReportObservationRequest) { o.Execution = "tx-1"; o.ObservedAt.Seconds += 1 }),
			r.sees("a", "o2", sawDone, func(o *v1.ReportObservationRequest) { o.Execution = "tx-2"; o.ObservedAt.Seconds += 2 }),
			r.sees("a", "o3", sawDone, func(o *v1.ReportObservationRequest) { o.Execution = "tx-1"; o.ObservedAt.Seconds += 2 }),
		}
		r.advance(10 * second)
		for range 2 {
			for _, n := range order {
				r.report(all[n])
			}
		}
		list, err := r.m.ListObservations(&v1.ListObservationsRequest{})
		if err != nil || len(list.Observations) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		o := list.Observations[0]
		got := fmt.Sprint(o.ObservationId, o.Executions, o.Drift)
		if first == "" {
			first = got
		}
		if got != first || got != "o3[tx-1 tx-2] DRIFT_CLASS_DUPLICATE" {
			t.Errorf("in order %v it is %s, and was %s", order, got, first)
		}
	}
}

// A reporter that says the same again is answered so, one whose word comes too late too, and neither tells anything.
func TestAReporterThatRepeatsAndLags(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pays)
		r.start("w", "i", `{}`)
		lags := r.sees("a", "o1", sawRunning, nil)
		r.advance(5 * second)
		first := r.sees("a", "o2", sawDone, output(`1`))
		r.report(first)
		r.midway()
		got := r.tell(first)
		r.did(got)
		if reply := got.Outcomes[0].Reply.(*v1.ReportObservationResponse); !reply.Duplicate || reply.Drift != v1.DriftClass_DRIFT_CLASS_AHEAD {
			r.t.Fatalf("again it is answered %v", reply)
		}
		got = r.tell(lags)
		r.did(got)
		if reply := got.Outcomes[0].Reply.(*v1.ReportObservationResponse); !reply.Superseded || reply.Duplicate {
			r.t.Fatalf("what comes too late is answered %v", reply)
		}
		for _, bad := range []func(*v1.ReportObservationRequest){
			func(o *v1.ReportObservationRequest) { o.Reporter = "" }, func(o *v1.ReportObservationRequest) { o.Reporter = lateReporter },
			func(o *v1.ReportObservationRequest) { o.InstanceId = "" }, func(o *v1.ReportObservationRequest) { o.Step = "" },
			func(o *v1.ReportObservationRequest) { o.State = 9 }, func(o *v1.ReportObservationRequest) { o.Key = &v1.Key{Name: "k"} },
		} {
			r.refuses(v1.Code_CODE_INVALID, r.sees("a", "o3", sawDone, bad), "")
		}
	})
}

// A run is done again: its lease is revoked, its backoff is over, or what it stood still for.
func TestRerun(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, retry: {attempts: 3, backoff: 1h, maxBackoff: 1h}}\n  b: {queue: q, input: \"${input.n}\"}\n")
		r.start("w", "i", `{}`)
		held := r.poll(r.session(3600*second), "q", 1)[0]
		r.report(r.sees("a", "o1", sawNothing, nil))
		r.report(r.sees("b", "o2", sawFailed, nil))
		r.would(r.plan(rerun), "MISSING RERUN a", "AHEAD RERUN b")
		r.applies(r.plan(rerun), "step.released a", "drift.settled a", "step.resumed b", "step.incident b", "drift.settled b")
		if _, refusal := r.complete(held, `1`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Fatalf("who held it is answered %v", refusal)
		}
		held = r.poll(r.session(3600*second), "q", 1)[0]
		r.fail(held, "BUSY", true)
		r.report(r.sees("a", "o3", sawFailed, nil))
		p, err := r.m.PlanReconcile(&v1.PlanReconcileRequest{InstanceId: "i", Step: "a", Reporter: "ledger", Policies: []*v1.ReconcilePolicy{{Drift: v1.DriftClass_DRIFT_CLASS_AHEAD, Action: rerun}}})
		if err != nil {
			r.t.Fatal(err)
		}
		r.applies(r.would(p, "AHEAD RERUN a"), "step.ready a", "drift.settled a")
		r.poll(r.session(3600*second), "q", 1)
	})
}

// A conflict can be undone from its step on; and what failed elsewhere fails here, with its code.
func TestCompensateAndAFailureAdopted(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pays)
		r.start("w", "i", `{}`)
		if _, refusal := r.complete(r.poll(r.session(3600*second), "q", 1)[0], `1`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.report(r.sees("a", "o1", sawDone, output(`2`)))
		r.applies(r.would(r.plan(undoes), "CONFLICTING COMPENSATE a"), "instance.cancelling", "step.cancelled b", "instance.compensating", "step.ready a.compensate", "drift.settled a")
		r.is("i", "COMPENSATING a=COMPLETED b=CANCELLED a.compensate=READY")
		r.start("w", "j", `{}`)
		r.report(r.sees("a", "o1", sawFailed, func(o *v1.ReportObservationRequest) { o.InstanceId, o.Code = "j", "NO_MONEY" }))
		r.applies(r.would(r.plan(adopt), "AHEAD ADOPT a"), "step.resolved a", "step.failed a", "instance.failing", "step.cancelled b", "instance.failed", "drift.settled a")
		r.is("j", "FAILED(NO_MONEY) a=FAILED b=CANCELLED")
	})
}

// Of two that have observed one run the first is adopted, and what the other says is left as it is.
func TestAPlanWhoseActionsMeet(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pays)
		r.start("w", "i", `{}`)
		r.report(r.sees("a", "o1", sawDone, output(`1`)))
		r.report(r.sees("a", "o2", sawDone, func(o *v1.ReportObservationRequest) {
			o.OutputPayload, o.Reporter = &v1.Payload{Bytes: []byte(`2`)}, "mainframe"
		}))
		reply := r.applies(r.would(r.plan(adopt), "AHEAD ADOPT a", "AHEAD ADOPT a"), "step.resolved a", "step.completed a", "step.ready b", "drift.settled a")
		if !reply.Applied[0].Done || reply.Applied[1].Done || reply.Applied[1].Because == "" {
			r.t.Fatalf("applied as %v", reply.Applied)
		}
		r.driftIncidents("CONFLICTING a")
	})
}

// An observation by key is of the one live instance that has it. Without one it is an orphan for a week, as is one by an id that is not
// known; when the instance comes it is that's.
func TestOrphans(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pays)
		byKey := func(id string) *logv1.Command {
			return r.sees("a", id, sawDone, func(o *v1.ReportObservationRequest) { o.InstanceId, o.Key = "", &v1.Key{Name: "order", Value: "7"} })
		}
		if got := r.report(byKey("o1")); got.Drift != v1.DriftClass_DRIFT_CLASS_ORPHAN || got.InstanceId != "" {
			r.t.Fatalf("%v", got)
		}
		r.report(r.sees("a", "o1", sawRunning, func(o *v1.ReportObservationRequest) { o.InstanceId = "j" }))
		start := startOf("w", "i", `{}`)
		start.GetStartInstance().Keys = map[string]string{"order": "7"}
		r.tell(start)
		if got := r.report(byKey("o2")); got.Drift != v1.DriftClass_DRIFT_CLASS_AHEAD || got.InstanceId != "i" {
			r.t.Fatalf("%v", got)
		}
		r.start("w", "j", `{}`)
		r.would(r.plan(adopt), "ORPHAN INCIDENT a", "AHEAD ADOPT a") // that j ran before it was started here says nothing of it
		r.midway()
		rec := r.m.namespaces[DefaultNamespace].rec
		if rec.Observations != 3 || rec.Orphans != 2 {
			r.t.Fatalf("%d observations are kept, and %d are orphans", rec.Observations, rec.Orphans)
		}
		r.m.group.Uptime += orphanTTL // nobody waits that long here
		got := r.tell(r.sees("a", "o3", sawRunning, func(o *v1.ReportObservationRequest) { o.InstanceId = "j" }))
		if got.Events()[1].Data.Removed != 1 || rec.Observations != 2 || rec.Orphans != 0 {
			r.t.Fatalf("%v; %d observations are kept, and %d are orphans", got.Events()[1], rec.Observations, rec.Orphans)
		}
	})
}

// What a step says is done where a plan says nothing; what it ignores is not listed.
func TestAStepSaysWhatToDoAboutDrift(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, reconcile: {ahead: adopt, conflicting: ignore}}\n  b: {queue: q, reconcile: rerun}\n")
		r.start("w", "i", `{}`)
		r.report(r.sees("a", "o1", sawDone, output(`1`)))
		r.report(r.sees("b", "o2", sawRunning, nil))
		r.driftIncidents("AHEAD b", "AHEAD a")
		none, err := r.m.PlanReconcile(&v1.PlanReconcileRequest{})
		if err != nil {
			r.t.Fatal(err)
		}
		r.applies(r.would(none, "AHEAD ADOPT a", "AHEAD RERUN b"), "step.resolved a", "step.completed a", "drift.settled a", "drift.settled b")
		r.report(r.sees("a", "o3", sawDone, output(`2`)))
		r.driftIncidents()
		r.would(r.plan(undoes), "CONFLICTING INCIDENT a") // the plan's word is before the step's, and there is nothing that undoes it
		none, err = r.m.PlanReconcile(&v1.PlanReconcileRequest{})
		if err != nil {
			r.t.Fatal(err)
		}
		r.applies(r.would(none, "CONFLICTING IGNORE a"), "drift.settled a")
	})
}

// There is a limit to what is kept of an instance, and what is kept already can still be replaced.
func TestObservationsAreBounded(t *testing.T) {
	r := newRig(t)
	r.register(pays)
	r.start("w", "i", `{}`)
	for n := range maxObservedOf {
		r.report(r.sees("a", "o", sawRunning, func(o *v1.ReportObservationRequest) { o.Reporter = fmt.Sprint("r", n) }))
	}
	r.advance(second)
	r.refuses(v1.Code_CODE_OBSERVATIONS_FULL, r.sees("a", "o", sawRunning, func(o *v1.ReportObservationRequest) { o.Reporter = "one more" }), "64 observations")
	r.report(r.sees("a", "p", sawDone, func(o *v1.ReportObservationRequest) { o.Reporter = "r0" }))
	for n := range maxOrphans {
		r.tell(r.sees("a", "o", sawRunning, func(o *v1.ReportObservationRequest) { o.InstanceId = fmt.Sprint("x", n) }))
	}
	r.refuses(v1.Code_CODE_OBSERVATIONS_FULL, r.sees("a", "o", sawRunning, func(o *v1.ReportObservationRequest) { o.InstanceId = "y" }), "of which there is no instance")
	if p := r.plan(leaveDrift); len(p.Actions) != maxPlanned || !p.More {
		t.Errorf("a plan has %d actions, and more: %v", len(p.Actions), p.More)
	}
}

// A result that came too late is an observation: what the worker did may not be what counts.
func TestALateResultIsAnObservation(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(pays)
		r.start("w", "i", `{}`)
		late := r.poll(r.session(second), "q", 1)[0]
		r.advance(5 * second)
		held := r.poll(r.session(3600*second), "q", 1)[0]
		if _, refusal := r.complete(late, `1`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Fatal(refusal)
		}
		r.midway()
		r.applies(r.would(r.plan(adopt), "AHEAD ADOPT a"), "step.resolved a", "step.completed a", "lock.released", "step.ready b", "drift.settled a")
		if _, refusal := r.complete(held, `2`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Fatal(refusal)
		}
		r.driftIncidents("CONFLICTING a")
		list, err := r.m.ListObservations(&v1.ListObservationsRequest{InstanceId: "i"})
		if err != nil || len(list.Observations) != 1 || string(list.Observations[0].OutputPayload.Bytes) != `2` || list.Observations[0].Reporter != lateReporter {
			r.t.Fatalf("%v, %v", list, err)
		}
	})
}
