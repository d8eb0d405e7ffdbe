package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// instanceFilter is what instances are to be, as flags say it.
type instanceFilter struct {
	workflow, state                                      string
	version                                              int32
	labels, keys                                         map[string]string
	startedAfter, startedBefore, endedAfter, endedBefore string
	stuckFor                                             time.Duration
}

func (f *instanceFilter) flags(cmd *cobra.Command) {
	at := "a date with time (2026-01-31T09:00:00Z), a day (2026-01-31), or how long ago (2h)"
	flags := cmd.Flags()
	flags.StringVar(&f.workflow, "workflow", "", "only of this workflow")
	flags.Int32Var(&f.version, "version", 0, "only of this version of the workflow")
	flags.StringVar(&f.state, "state", "", "only in this state")
	flags.StringToStringVar(&f.labels, "label", nil, "only with these labels")
	flags.StringToStringVar(&f.keys, "key", nil, "only with these correlation keys")
	flags.StringVar(&f.startedAfter, "started-after", "", "only those whose start was accepted then or later: "+at)
	flags.StringVar(&f.startedBefore, "started-before", "", "only those whose start was accepted before that")
	flags.StringVar(&f.endedAfter, "ended-after", "", "only those that ended then or later")
	flags.StringVar(&f.endedBefore, "ended-before", "", "only those that ended before that")
	flags.DurationVar(&f.stuckFor, "stuck-for", 0, "only those that live, and of which nothing has changed for so long; the longest first")
}

// request is the filter as a list asks for it.
func (f *instanceFilter) request(cmd *cobra.Command, namespace string) (*v1.ListInstancesRequest, error) {
	r := &v1.ListInstancesRequest{Namespace: namespace, Workflow: f.workflow, Version: f.version, Labels: f.labels, Keys: f.keys}
	if f.state != "" {
		value, ok := v1.InstanceState_value["INSTANCE_STATE_"+strings.ToUpper(f.state)]
		if !ok || value == 0 {
			return nil, usage("--state %q is none; there are queued, running, failing, cancelling, compensating, completed, failed and cancelled", f.state)
		}
		r.State = v1.InstanceState(value)
	}
	if cmd.Flags().Changed("stuck-for") {
		r.StuckFor = durationpb.New(f.stuckFor)
	}
	now := time.Now()
	for _, bound := range []struct {
		flag, text string
		into       **timestamppb.Timestamp
	}{
		{"started-after", f.startedAfter, &r.StartedFrom}, {"started-before", f.startedBefore, &r.StartedTo},
		{"ended-after", f.endedAfter, &r.EndedFrom}, {"ended-before", f.endedBefore, &r.EndedTo},
	} {
		if bound.text == "" {
			continue
		}
		at, ok := moment(bound.text, now)
		if !ok {
			return nil, usage("--%s %q is no time: give a date with time (2026-01-31T09:00:00Z), a day (2026-01-31), or how long ago (2h)", bound.flag, bound.text)
		}
		*bound.into = timestamppb.New(at)
	}
	return r, nil
}

// moment reads a time: one that is written out, a day here, or one that is so long ago.
func moment(s string, now time.Time) (time.Time, bool) {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, true
	}
	if at, err := time.ParseInLocation(time.DateOnly, s, now.Location()); err == nil {
		return at, true
	}
	ago, err := time.ParseDuration(s)
	return now.Add(-ago), err == nil && ago >= 0
}

func (c *cli) instanceList() *cobra.Command {
	var page, order string
	var limit int32
	filter := &instanceFilter{}
	cmd := &cobra.Command{Use: "list", Short: "List instances: the newest first, of those that ended in a time the last to end, of those that are stuck the longest", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		r, err := filter.request(cmd, c.namespace)
		if err != nil {
			return err
		}
		value, ok := v1.ListOrder_value["LIST_ORDER_"+strings.ToUpper(order)]
		if order != "" && (!ok || value == 0) {
			return usage("--order %q is none; there are newest and oldest", order)
		}
		r.Order, r.Limit, r.Page = v1.ListOrder(value), limit, page
		res, err := c.findInstances(cmd.Context(), r)
		if err != nil {
			return err
		}
		return c.print(res, func() { c.showFound(res, filter.stuckFor > 0) })
	}}
	filter.flags(cmd)
	cmd.Flags().StringVar(&order, "order", "", "newest or oldest first")
	cmd.Flags().StringVar(&page, "page", "", "go on behind a page")
	cmd.Flags().Int32Var(&limit, "limit", 100, "how many")
	return cmd
}

// findInstances asks for pages until there are as many instances as were asked for: where few of many match, pages are short.
func (c *cli) findInstances(ctx context.Context, r *v1.ListInstancesRequest) (*v1.ListInstancesResponse, error) {
	all, wanted := &v1.ListInstancesResponse{}, int(r.Limit)
	for {
		res, err := ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.ListInstancesRequest]) (*connect.Response[v1.ListInstancesResponse], error) {
			return a.instances.ListInstances
		}, r)
		if err != nil {
			return nil, err
		}
		all.Instances, all.NextPage = append(all.Instances, res.Instances...), res.NextPage
		if res.NextPage == "" || len(all.Instances) >= wanted {
			return all, nil
		}
		r.Page, r.Limit = res.NextPage, int32(wanted-len(all.Instances))
	}
}

func (c *cli) showFound(res *v1.ListInstancesResponse, stuck bool) {
	heads := []string{"instance", "workflow", "state", "started", "reason"}
	if stuck {
		heads[4] = "changed"
	}
	var rows [][]string
	for _, i := range res.Instances {
		last := short(i.Reason, 50)
		if stuck {
			last = when(i.Changed)
		}
		rows = append(rows, []string{i.InstanceId, i.Workflow, c.state(i.State), when(i.Started), last})
	}
	c.table(heads, rows)
	if res.NextPage != "" {
		fmt.Fprintf(c.stdout, "more: --page %q\n", res.NextPage)
	}
}
