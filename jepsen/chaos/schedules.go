package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	"github.com/lockstep-dev/lockstep/jepsen/workload"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// plans are what the workloads' schedules say.
func plans() map[string]check.Plan {
	out := map[string]check.Plan{}
	for _, b := range workload.Beats {
		out["beat-"+b.Name] = check.Plan{Every: b.Every, Overlap: strings.TrimPrefix(b.Overlap.String(), "OVERLAP_"), Limit: int(b.Limit), CatchUp: b.CatchUp}
	}
	return out
}

// settle has schedules come to their end, and what they have started.
func (w *world) settle(ctx, moving context.Context) (facts []check.Fact) {
	if err := workload.Settle(moving, w.client, w.wall); err != nil {
		facts = append(facts, check.Fact{Guarantee: "liveness", What: "schedules: " + err.Error()})
	}
	ids, err := w.fired(ctx)
	if err != nil {
		return append(facts, check.Fact{Guarantee: "liveness", What: "what schedules have started is not known: " + err.Error()})
	}
	for _, id := range ids {
		workload.End(moving, w.client, id)
	}
	for _, id := range ids {
		i, err := w.client.Get(ctx, id)
		if err == nil && (i.State == v1.InstanceState_INSTANCE_STATE_COMPLETED || i.State == v1.InstanceState_INSTANCE_STATE_CANCELLED) {
			continue
		}
		facts = append(facts, check.Fact{Guarantee: "liveness", What: fmt.Sprintf("instance %s is %s: %v; %s", id, i.GetState(), err, w.explain(ctx, id))})
		if len(facts) > 20 {
			break
		}
	}
	return facts
}

// fired are the instances that schedules have started, as the feed tells.
func (w *world) fired(ctx context.Context) (ids []string, err error) {
	until, err := w.position(ctx)
	if err != nil {
		return nil, err
	}
	events, err := feed(ctx, w.client, until)
	for _, e := range events {
		if e.Type == "lockstep.schedule.fired.v1" {
			ids = append(ids, e.Data.InstanceId)
		}
	}
	return ids, err
}

// wall is the wall time of the feed's newest event.
func (w *world) wall(ctx context.Context) (at time.Time, err error) {
	newest, err := w.position(ctx)
	if err != nil {
		return at, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for e, err := range w.client.Watch(ctx, client.WatchOptions{After: newest - 1}) {
		if err != nil {
			return at, fmt.Errorf("read event %d: %w", newest, err)
		}
		return e.Time.AsTime(), nil
	}
	return at, ctx.Err()
}

// scheduled counts the times of schedules that started an instance, and those that did not, or not at once.
func (r *report) scheduled(events []check.Event) {
	for _, e := range events {
		switch e.Type {
		case "schedule.fired":
			r.Fired++
		case "schedule.queued", "schedule.skipped":
			r.Overlapped++
		case "schedule.missed":
			r.Missed += int(e.Count)
		}
	}
	var notFired, notBusy []check.Fact
	if r.Fired == 0 {
		notFired = []check.Fact{{Guarantee: "schedule", What: "no schedule fired: the run shows nothing about schedules"}}
	}
	if r.Overlapped == 0 {
		notBusy = []check.Fact{{Guarantee: "schedule", What: "no time of a schedule came while an earlier one's instance ran: the run shows nothing about that"}}
	}
	r.check("a schedule fired", "schedule", notFired)
	r.check("a time came while an earlier one's instance ran", "schedule", notBusy)
}
