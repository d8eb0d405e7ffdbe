package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) instanceHistory() *cobra.Command {
	return &cobra.Command{Use: "history ID", Short: "List an instance's events", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		all := &v1.GetHistoryResponse{}
		for after := int64(0); ; {
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.GetHistoryRequest]) (*connect.Response[v1.GetHistoryResponse], error) {
				return a.instances.GetHistory
			}, &v1.GetHistoryRequest{Namespace: c.namespace, InstanceId: args[0], After: after, Limit: 1000})
			if err != nil {
				return err
			}
			all.Events = append(all.Events, res.Events...)
			if after = res.NextAfter; after == 0 {
				break
			}
		}
		return c.print(all, func() {
			var rows [][]string
			for _, e := range all.Events {
				rows = append(rows, eventRow(e))
			}
			c.table(eventHead, rows)
		})
	}}
}

var eventHead = []string{"position", "time", "event", "subject", "detail"}

func eventRow(e *v1.Event) []string {
	kind := strings.TrimSuffix(strings.TrimPrefix(e.Type, "lockstep."), ".v1")
	d := e.Data
	var detail []string
	add := func(name, value string) {
		if value != "" && value != "0" {
			detail = append(detail, name+"="+value)
		}
	}
	if strings.HasPrefix(e.Subject, "schedule/") {
		add("instance", d.InstanceId)
		add("count", fmt.Sprint(d.Count))
	}
	if strings.HasPrefix(e.Subject, "barrier/") {
		add("parties", fmt.Sprint(d.Count))
	}
	add("bulk", d.Bulk)
	if strings.HasPrefix(e.Subject, "reporter/") && kind != "observation.reported" {
		add("url", d.Name)
		add("runs", fmt.Sprint(d.Count))
		add("observations", fmt.Sprint(d.Changed))
		add("refused", fmt.Sprint(d.Refused))
	}
	if strings.HasPrefix(e.Subject, "bulk/") {
		if add("act", d.Name); kind != "bulk.applied" {
			add("matched", fmt.Sprint(d.Count))
		}
		add("changed", fmt.Sprint(d.Changed))
		add("refused", fmt.Sprint(d.Refused))
	}
	if add("step", d.Step); d.Index > 0 {
		add("index", fmt.Sprint(d.Index))
	}
	add("lock", d.Lock)
	add("attempt", fmt.Sprint(d.Attempt))
	add("token", fmt.Sprint(d.Token))
	add("session", d.SessionId)
	add("code", d.Code)
	if d.Due != nil {
		add("due", when(d.Due))
	}
	add("other", strings.Trim(d.OtherInstance+" "+d.OtherStep, " "))
	if d.KeyName != "" {
		add("key", d.KeyName+"="+d.KeyValue)
	}
	add("instances", strings.Join(d.Instances, ","))
	add("fairness", d.FairnessKey)
	if d.LimitKey != "" {
		add("limit", fmt.Sprintf("%s %d of %d per %s", d.LimitKey, d.Count, d.Limit, time.Duration(d.Per)))
	}
	if add("forked", d.ForkedFrom); d.ForkedFrom != "" || kind == "instance.forked" {
		add("from", d.Name)
		detail = append(detail, fmt.Sprintf("copied=%d", d.Count))
	}
	if kind == "instance.reset" {
		add("from", d.Name)
		add("steps", fmt.Sprint(d.Count))
	}
	if d.Lag > 0 {
		add("lag", time.Duration(d.Lag).Round(time.Millisecond).String())
	}
	if d.Reason != "" {
		detail = append(detail, short(d.Reason, 60))
	}
	return []string{fmt.Sprint(e.Position), when(e.Time), kind, e.Subject, strings.Join(detail, " ")}
}

func (c *cli) instanceWatch() *cobra.Command {
	var after int64
	cmd := &cobra.Command{Use: "watch [ID]", Short: "Follow events as they happen, of one instance or all", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		r := &v1.WatchEventsRequest{Namespace: c.namespace, After: after}
		if len(args) > 0 {
			r.InstanceId = args[0]
		}
		return c.watch(cmd.Context(), r)
	}}
	cmd.Flags().Int64Var(&after, "after", -1, "events after this position; -1 is now, 0 all that are kept")
	return cmd
}

// watch follows events, and resumes by position on whichever server answers.
func (c *cli) watch(ctx context.Context, r *v1.WatchEventsRequest) error {
	client := newHTTPClient()
	for at := 0; ; at++ {
		stream, err := servicesAt(client, c.servers[at%len(c.servers)]).events.WatchEvents(ctx, connect.NewRequest(r))
		if err == nil {
			for stream.Receive() {
				r.After = stream.Msg().Position
				for _, e := range stream.Msg().Events {
					if err := c.print(e, func() { fmt.Fprintln(c.stdout, strings.Join(eventRow(e), "  ")) }); err != nil {
						return err
					}
				}
			}
			err = stream.Err()
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && refusal(err) != nil && !retryable(err) {
			return err
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}
