package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// explained asks, when the last fault is healed and before anything is taken to its end, what becomes of each instance that has not ended: it is explained in a
// sentence at least, and each of its runs that stands still is in the list of incidents, with a cause and with what can be done. An operator knows no more.
func (w *world) explained(ctx context.Context) (facts []check.Fact) {
	live, err := w.live(ctx)
	if err != nil {
		return []check.Fact{{Guarantee: "liveness", What: err.Error()}}
	}
	incidents, err := w.incidents(ctx)
	if err != nil {
		return []check.Fact{{Guarantee: "liveness", What: err.Error()}}
	}
	if w.report.Live, w.report.Standing = len(live), len(incidents); len(live) == 0 {
		return []check.Fact{{Guarantee: "liveness", What: "everything has ended before it was asked about: the run shows nothing about that"}}
	}
	for _, id := range live {
		what, err := w.unexplained(ctx, id, incidents)
		for n := 0; n < 5 && err == nil && what != ""; n++ { // workers go on meanwhile: what is of two moments is asked again
			if incidents, err = w.incidents(ctx); err == nil {
				what, err = w.unexplained(ctx, id, incidents)
			}
		}
		if err != nil {
			what = err.Error()
		}
		if what != "" {
			facts = append(facts, check.Fact{Guarantee: "liveness", What: fmt.Sprintf("instance %s: %s", id, what)})
		}
		if len(facts) > 20 {
			break
		}
	}
	return facts
}

// live are the instances that have not ended.
func (w *world) live(ctx context.Context) (ids []string, err error) {
	for _, state := range []v1.InstanceState{
		v1.InstanceState_INSTANCE_STATE_RUNNING, v1.InstanceState_INSTANCE_STATE_FAILING, v1.InstanceState_INSTANCE_STATE_CANCELLING,
		v1.InstanceState_INSTANCE_STATE_COMPENSATING, v1.InstanceState_INSTANCE_STATE_QUEUED,
	} {
		for page := ""; ; {
			list, err := w.client.Instances.ListInstances(ctx, connect.NewRequest(&v1.ListInstancesRequest{Namespace: client.DefaultNamespace, State: state, Page: page, Limit: 1000}))
			if err != nil {
				return nil, fmt.Errorf("list instances that are %s: %w", state, err)
			}
			for _, i := range list.Msg.Instances {
				ids = append(ids, i.InstanceId)
			}
			if page = list.Msg.NextPage; page == "" {
				break
			}
		}
	}
	return ids, nil
}

// incidents are those of runs that stand still, by the run.
func (w *world) incidents(ctx context.Context) (map[string]*v1.Incident, error) {
	all := map[string]*v1.Incident{}
	for page := ""; ; {
		list, err := w.client.Incidents.ListIncidents(ctx, connect.NewRequest(&v1.ListIncidentsRequest{Namespace: client.DefaultNamespace, Standing: true, Page: page}))
		if err != nil {
			return nil, fmt.Errorf("list incidents: %w", err)
		}
		for _, in := range list.Msg.Incidents {
			all[runOf(in.InstanceId, in.Step, in.Index)] = in
		}
		if page = list.Msg.NextPage; page == "" {
			return all, nil
		}
	}
}

func runOf(id, step string, index int32) string { return fmt.Sprint(id, " ", step, " ", index) }

// unexplained says what an operator does not find out of an instance; empty is nothing, also when it has ended meanwhile.
func (w *world) unexplained(ctx context.Context, id string, incidents map[string]*v1.Incident) (what string, err error) {
	said, err := w.client.Explain(ctx, id, "")
	if err != nil {
		return "", err
	}
	i, err := w.client.Get(ctx, id)
	if err != nil || ended(i.State) {
		return "", err
	}
	if len(said) == 0 {
		return fmt.Sprintf("it is %s, and nothing explains why", i.State), nil
	}
	for _, e := range said {
		if e.Sentence == "" {
			return fmt.Sprintf("of step %s there is an explanation without a word", e.Step), nil
		}
	}
	for _, r := range i.Runs {
		if r.State != v1.RunState_RUN_STATE_INCIDENT {
			continue
		}
		switch in := incidents[runOf(id, r.Step, r.Index)]; {
		case in == nil:
			return fmt.Sprintf("step %s (%d) stands still, and is not in the list of incidents", r.Step, r.Index), nil
		case in.Cause == "" || len(in.Commands) == 0:
			return fmt.Sprintf("the incident of step %s (%d) has the cause %q and the commands %q", r.Step, r.Index, in.Cause, in.Commands), nil
		}
	}
	return "", nil
}
