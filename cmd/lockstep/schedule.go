package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) scheduleCommand() *cobra.Command {
	parent := &cobra.Command{Use: "schedule", Short: "Start instances at the times of a cron expression"}
	parent.AddCommand(c.scheduleCreate(), c.scheduleList(), c.scheduleShow(), c.schedulePause(), c.scheduleResume(), c.scheduleTrigger(), c.scheduleDelete())
	return parent
}

// overlaps are what --overlap takes.
var overlaps = map[string]v1.Overlap{
	"skip": v1.Overlap_OVERLAP_SKIP, "queue": v1.Overlap_OVERLAP_QUEUE, "cancel-previous": v1.Overlap_OVERLAP_CANCEL_PREVIOUS, "allow": v1.Overlap_OVERLAP_ALLOW,
}

func overlapName(o v1.Overlap) string {
	for name, is := range overlaps {
		if is == o {
			return name
		}
	}
	return o.String()
}

func (c *cli) scheduleCreate() *cobra.Command {
	r := &v1.CreateScheduleRequest{}
	var input, overlap string
	var catchUp time.Duration
	cmd := &cobra.Command{
		Use: "create NAME WORKFLOW --cron EXPRESSION", Short: "Make a schedule; the same again finds it", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var known bool
			if r.Overlap, known = overlaps[overlap]; !known {
				return usage("--overlap is %q, and must be skip, queue, cancel-previous or allow", overlap)
			}
			if r.InputPayload, err = c.jsonInput("input", input); err != nil {
				return err
			}
			if catchUp != 0 {
				r.CatchUp = durationpb.New(catchUp)
			}
			r.Namespace, r.Schedule, r.Workflow = c.namespace, args[0], args[1]
			s, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.CreateScheduleRequest]) (*connect.Response[v1.Schedule], error) {
				return a.schedules.CreateSchedule
			}, r)
			return c.showSchedule(s, err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Cron, "cron", "", "minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly, @yearly, or @every TIME")
	f.StringVar(&r.Zone, "zone", "", "time zone, as Europe/Berlin; default: UTC")
	f.Int32Var(&r.Version, "version", 0, "version of the workflow; default: the newest at each time")
	f.StringVar(&input, "input", "", "input of each instance, as JSON, @FILE, or -")
	f.StringVar(&r.TimeKey, "time-key", "", "field of the input under which each instance gets its time")
	f.StringToStringVar(&r.Labels, "label", nil, "labels of each instance, name=value")
	f.StringVar(&overlap, "overlap", "skip", "while the instance of an earlier time runs: skip, queue, cancel-previous or allow")
	f.Int32Var(&r.QueueLimit, "queue-limit", 0, "with --overlap queue, how many times wait at most; default: 10")
	f.DurationVar(&catchUp, "catch-up", 0, "how old a time may be that is still fired; default: 1h")
	return cmd
}

func (c *cli) scheduleList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List schedules", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListSchedulesRequest]) (*connect.Response[v1.ListSchedulesResponse], error) {
			return a.schedules.ListSchedules
		}, &v1.ListSchedulesRequest{Namespace: c.namespace, Limit: 1000})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			var rows [][]string
			for _, s := range res.Schedules {
				rows = append(rows, []string{s.Schedule, s.Cron, s.Zone, s.Workflow, overlapName(s.Overlap), nextTime(s), strconv.FormatInt(s.Started, 10), strconv.FormatInt(s.Skipped+s.Missed+s.Failed, 10)})
			}
			c.table([]string{"schedule", "cron", "zone", "workflow", "overlap", "next", "started", "not started"}, rows)
		})
	}}
}

func nextTime(s *v1.Schedule) string {
	switch {
	case s.Paused:
		return "paused"
	case len(s.Next) == 0:
		return "never"
	}
	return utc(s.Next[0])
}

func utc(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339) }

func (c *cli) scheduleShow() *cobra.Command {
	return &cobra.Command{Use: "show NAME", Aliases: []string{"get"}, Short: "Show a schedule, its next times, and what became of the newest", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		s, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.GetScheduleRequest]) (*connect.Response[v1.Schedule], error) {
			return a.schedules.GetSchedule
		}, &v1.GetScheduleRequest{Namespace: c.namespace, Schedule: args[0]})
		return c.showSchedule(s, err)
	}}
}

func (c *cli) schedulePause() *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "pause NAME", Short: "Have a schedule start nothing by itself", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		s, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.PauseScheduleRequest]) (*connect.Response[v1.Schedule], error) {
			return a.schedules.PauseSchedule
		}, &v1.PauseScheduleRequest{Namespace: c.namespace, Schedule: args[0], Reason: reason})
		return c.showSchedule(s, err)
	}}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func (c *cli) scheduleResume() *cobra.Command {
	var reason string
	var catchUp bool
	cmd := &cobra.Command{Use: "resume NAME", Short: "End a pause", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		s, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ResumeScheduleRequest]) (*connect.Response[v1.Schedule], error) {
			return a.schedules.ResumeSchedule
		}, &v1.ResumeScheduleRequest{Namespace: c.namespace, Schedule: args[0], CatchUp: catchUp, Reason: reason})
		return c.showSchedule(s, err)
	}}
	cmd.Flags().BoolVar(&catchUp, "catch-up", false, "fire also what fell into the pause, as far as it is not too old")
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func (c *cli) scheduleTrigger() *cobra.Command {
	var at, reason string
	cmd := &cobra.Command{Use: "trigger NAME", Short: "Have a schedule fire by hand; the same time again finds what it came to", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		when := time.Now().Truncate(time.Second)
		if at != "" {
			var err error
			if when, err = time.Parse(time.RFC3339, at); err != nil {
				return usage("--at is %q, and must be as 2026-03-29T01:30:00Z", at)
			}
		}
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.TriggerScheduleRequest]) (*connect.Response[v1.TriggerScheduleResponse], error) {
			return a.schedules.TriggerSchedule
		}, &v1.TriggerScheduleRequest{Namespace: c.namespace, Schedule: args[0], At: timestamppb.New(when), Reason: reason})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			what := outcomeName(res.Outcome)
			if res.Existing {
				what += " before"
			}
			fmt.Fprintln(c.stdout, strings.TrimSpace(strings.Join([]string{res.InstanceId, what, res.Code, res.Reason}, " ")))
		})
	}}
	cmd.Flags().StringVar(&at, "at", "", "for this time, as 2026-03-29T01:30:00Z; default: now")
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func (c *cli) scheduleDelete() *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "delete NAME", Short: "Drop a schedule; what it has started goes on", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.DeleteScheduleRequest]) (*connect.Response[v1.DeleteScheduleResponse], error) {
			return a.schedules.DeleteSchedule
		}, &v1.DeleteScheduleRequest{Namespace: c.namespace, Schedule: args[0], Reason: reason})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			fmt.Fprintln(c.stdout, "deleted", args[0])
			if res.Dropped > 0 {
				fmt.Fprintf(c.stdout, "%d times that waited are not started\n", res.Dropped)
			}
		})
	}}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func outcomeName(o v1.FiringOutcome) string {
	return strings.ToLower(strings.TrimPrefix(o.String(), "FIRING_OUTCOME_"))
}

func (c *cli) showSchedule(s *v1.Schedule, err error) error {
	if err != nil {
		return err
	}
	return c.print(s, func() {
		fmt.Fprintf(c.stdout, "schedule  %s\ncron      %s, %s\nworkflow  %s\noverlap   %s\ncatch up  %s\n", s.Schedule, s.Cron, s.Zone, s.Workflow, overlapName(s.Overlap), s.CatchUp.AsDuration())
		if s.Paused {
			fmt.Fprintln(c.stdout, strings.TrimSpace("paused    "+s.Reason))
		}
		for _, at := range s.Next {
			fmt.Fprintln(c.stdout, "next     ", utc(at))
		}
		if s.Running != "" {
			fmt.Fprintln(c.stdout, "running  ", s.Running)
		}
		for _, at := range s.Queued {
			fmt.Fprintln(c.stdout, "queued   ", utc(at))
		}
		fmt.Fprintf(c.stdout, "so far    %d started, %d skipped, %d missed, %d failed\n", s.Started, s.Skipped, s.Missed, s.Failed)
		c.showFirings(s.Recent)
	})
}

func (c *cli) showFirings(recent []*v1.Firing) {
	if len(recent) == 0 {
		return
	}
	var rows [][]string
	for _, f := range recent {
		what := strings.TrimSpace(strings.Join([]string{f.InstanceId, f.Code, f.Reason}, " "))
		if f.Count > 1 {
			what = fmt.Sprintf("with %d before it", f.Count-1)
		}
		rows = append(rows, []string{utc(f.At), outcomeName(f.Outcome), f.Lag.AsDuration().Round(time.Millisecond).String(), what})
	}
	c.table([]string{"time", "outcome", "lag", ""}, rows)
}
