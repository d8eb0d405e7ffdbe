package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// book has a step that another engine does: no worker here polls its queue. What is ended as a reporter has seen it ends it badly only where
// nothing takes that.
const book = `
workflow: book
steps:
  take: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  post: {needs: [{step: take, ends: any}], queue: elsewhere}
  file: {needs: [{step: take, ends: any}], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  end: {needs: [{step: post, ends: any}, {step: file, ends: any}], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`

// bookSteps are its steps.
var bookSteps = []string{"take", "post", "file", "end"}

const (
	booksMost = 4
	// SeenBad is the code with which reporters see steps fail.
	SeenBad = "SEEN_BAD"
)

// reporting is a reporter beside somebody who settles what it reports.
type reporting struct {
	r      *Recorder
	c      *client.Client
	chance *rand.Rand
	name   string
	told   int
	last   *v1.ReportObservationRequest
	plans  []*v1.ReconcilePlan
}

// Reconcile starts instances until the context ends, of which another engine does a step, and reports what that has done: lies, of moments that are
// over or have not come, the same again, of instances that are none, and nothing for a while. What differs is planned at random, and each plan
// applied: at once, later, and again.
func (r *Recorder) Reconcile(ctx context.Context, c *client.Client, lane int, seed uint64) {
	k := &reporting{r: r, c: c, chance: rand.New(rand.NewPCG(seed, uint64(16000+lane))), name: fmt.Sprint("engine-", lane)}
	running := backlog{most: booksMost}
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("book-%d-%d", lane, n)
		calling, cancel := call(ctx)
		err := r.Do(check.Op{Kind: "start", Instance: id}, func(*check.Op) error {
			_, err := c.Start(calling, "book", id, map[string]any{}, client.StartOptions{})
			return err
		})
		cancel()
		if err != nil {
			continue
		}
		for range 8 + k.chance.IntN(12) {
			pause(ctx, time.Duration(k.chance.IntN(60))*time.Millisecond)
			k.act(ctx, id)
		}
		if !running.take(ctx, id, func(ctx context.Context, id string) error { return bookOn(ctx, r, c, id) }) {
			return
		}
	}
}

func (k *reporting) act(ctx context.Context, id string) {
	switch n := k.chance.IntN(12); {
	case n == 0:
		pause(ctx, time.Duration(k.chance.IntN(800))*time.Millisecond)
	case n < 2 && k.last != nil:
		k.report(ctx, k.last)
	case n < 7:
		k.report(ctx, k.sees(id))
	case n < 8 && len(k.plans) > 0:
		apply(ctx, k.r, k.c, k.plans[k.chance.IntN(len(k.plans))])
	default:
		k.settle(ctx, id)
	}
}

// sees is what the reporter says of a run.
func (k *reporting) sees(id string) *v1.ReportObservationRequest {
	k.told++
	at := time.Now()
	switch k.chance.IntN(4) {
	case 0:
		at = at.Add(-time.Duration(k.chance.IntN(60_000)) * time.Millisecond)
	case 1:
		at = at.Add(time.Duration(k.chance.IntN(1000)) * time.Millisecond)
	}
	o := &v1.ReportObservationRequest{
		InstanceId: id, Step: bookSteps[k.chance.IntN(len(bookSteps))], Reporter: k.name, ObservationId: fmt.Sprint(k.told),
		State: v1.ObservedState(1 + k.chance.IntN(5)), ObservedAt: timestamppb.New(at), Evidence: "a lie, or not",
	}
	if k.last != nil && k.last.InstanceId == id && k.chance.IntN(2) == 0 { // the same step again
		if o.Step = k.last.Step; k.last.State == v1.ObservedState_OBSERVED_STATE_COMPLETED {
			o.State = k.last.State
		}
	}
	switch o.State {
	case v1.ObservedState_OBSERVED_STATE_COMPLETED:
		o.Output, o.Execution = structpb.NewNumberValue(float64(k.chance.IntN(2))), fmt.Sprint("tx-", k.chance.IntN(2))
	case v1.ObservedState_OBSERVED_STATE_FAILED:
		o.Code = SeenBad
	}
	if k.chance.IntN(10) == 0 {
		o.InstanceId = fmt.Sprint("nobody-", k.chance.IntN(8))
	}
	k.last = o
	return o
}

func (k *reporting) report(ctx context.Context, o *v1.ReportObservationRequest) {
	calling, cancel := call(ctx)
	defer cancel()
	_ = k.r.Do(check.Op{Kind: "report", Instance: o.InstanceId, Step: o.Step}, func(*check.Op) error {
		_, err := k.c.Report(calling, o)
		return err
	}) // its outcome is on record
}

// settle plans what to do about drift, and applies it soon, or now.
func (k *reporting) settle(ctx context.Context, id string) {
	ask := &v1.PlanReconcileRequest{Reporter: k.name, Policies: []*v1.ReconcilePolicy{
		{Drift: v1.DriftClass_DRIFT_CLASS_AHEAD, Action: []v1.ReconcileAction{v1.ReconcileAction_RECONCILE_ACTION_ADOPT, v1.ReconcileAction_RECONCILE_ACTION_ADOPT, v1.ReconcileAction_RECONCILE_ACTION_RERUN}[k.chance.IntN(3)]},
		{Drift: v1.DriftClass_DRIFT_CLASS_MISSING, Action: v1.ReconcileAction_RECONCILE_ACTION_RERUN},
		{Action: []v1.ReconcileAction{v1.ReconcileAction_RECONCILE_ACTION_INCIDENT, v1.ReconcileAction_RECONCILE_ACTION_IGNORE}[k.chance.IntN(2)]},
	}}
	if k.chance.IntN(3) > 0 {
		ask.InstanceId = id
	}
	if k.chance.IntN(4) == 0 { // what others have said too, as who was asked
		ask.Reporter, ask.Workflow = "", "book"
	}
	calling, cancel := call(ctx)
	defer cancel()
	plan, err := k.c.PlanReconcile(calling, ask)
	if err != nil || len(plan.Actions) == 0 {
		return
	}
	if k.plans = append(k.plans, plan); len(k.plans) > 4 {
		k.plans = k.plans[1:]
	}
	if k.chance.IntN(3) == 0 {
		pause(ctx, time.Duration(k.chance.IntN(100))*time.Millisecond)
	}
	apply(ctx, k.r, k.c, plan)
}

// apply applies a plan, and has what it touches be on record.
func apply(ctx context.Context, r *Recorder, c *client.Client, plan *v1.ReconcilePlan) error {
	calling, cancel := call(ctx)
	defer cancel()
	op := check.Op{Kind: "apply", Plan: plan.PlanId}
	for _, a := range plan.Actions {
		if a.InstancePosition > 0 {
			op.Touches = append(op.Touches, check.Touch{Instance: a.InstanceId, Position: a.InstancePosition})
		}
	}
	return r.Do(op, func(*check.Op) error {
		_, err := c.ApplyPlan(calling, plan, "plan "+plan.PlanId)
		return err
	})
}

// bookOn takes an instance on that waits for the other engine, and waits a little for its end: what the engine has done is told, and adopted.
func bookOn(ctx context.Context, r *Recorder, c *client.Client, id string) error {
	i, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	for _, run := range i.Runs {
		if run.Step != "post" || run.State != v1.RunState_RUN_STATE_READY {
			continue
		}
		_, err := c.Report(ctx, &v1.ReportObservationRequest{
			InstanceId: id, Step: "post", Reporter: "engine", ObservationId: fmt.Sprint(time.Now().UnixNano()), State: v1.ObservedState_OBSERVED_STATE_COMPLETED, Output: structpb.NewBoolValue(true),
		})
		if err != nil {
			return err
		}
		plan, err := c.PlanReconcile(ctx, &v1.PlanReconcileRequest{InstanceId: id, Step: "post", Reporter: "engine", Policies: []*v1.ReconcilePolicy{{Action: v1.ReconcileAction_RECONCILE_ACTION_ADOPT}}})
		if err != nil {
			return err
		}
		if err := apply(ctx, r, c, plan); err != nil {
			return err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = c.Wait(waiting, id)
	return err
}

// BookRest takes instances on that wait for the other engine until each has ended, or the context has.
func (r *Recorder) BookRest(ctx context.Context, c *client.Client, ids []string) {
	for _, id := range ids {
		for ctx.Err() == nil && !over(bookOn(ctx, r, c, id)) {
			pause(ctx, 50*time.Millisecond)
		}
	}
}
