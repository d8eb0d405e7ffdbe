package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// withReason has a command take why it is given, and insist on it.
func withReason(cmd *cobra.Command, reason *string) *cobra.Command {
	cmd.Flags().StringVar(reason, "reason", "", "why; required, for the history")
	if err := cmd.MarkFlagRequired("reason"); err != nil {
		panic(err)
	}
	return cmd
}

func (c *cli) instancePause() *cobra.Command {
	r := &v1.PauseInstanceRequest{}
	cmd := &cobra.Command{Use: "pause ID", Short: "Have nothing new of an instance begun or leased; what is leased goes on", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		r.Namespace, r.InstanceId = c.namespace, args[0]
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.PauseInstanceRequest]) (*connect.Response[v1.PauseInstanceResponse], error) {
			return a.instances.PauseInstance
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() { c.decided("paused", res.Duplicate, args[0], res.State) })
	}}
	return withReason(cmd, &r.Reason)
}

func (c *cli) instanceResume() *cobra.Command {
	r := &v1.ResumeInstanceRequest{}
	cmd := &cobra.Command{Use: "resume ID", Short: "End a pause", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		r.Namespace, r.InstanceId = c.namespace, args[0]
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ResumeInstanceRequest]) (*connect.Response[v1.ResumeInstanceResponse], error) {
			return a.instances.ResumeInstance
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() {
			if res.Duplicate {
				fmt.Fprintf(c.stdout, "not paused; %s is %s\n", args[0], c.state(res.State))
				return
			}
			c.decided("resumed", false, args[0], res.State)
		})
	}}
	return withReason(cmd, &r.Reason)
}

func runState(s v1.RunState) string { return strings.TrimPrefix(s.String(), "RUN_STATE_") }

func (c *cli) stepRetry() *cobra.Command {
	r := &v1.RetryStepRequest{}
	cmd := &cobra.Command{Use: "retry INSTANCE STEP", Short: "Have a step that stands still tried again, with all its attempts", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		r.Namespace, r.InstanceId, r.Step = c.namespace, args[0], args[1]
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.RetryStepRequest]) (*connect.Response[v1.RetryStepResponse], error) {
			return a.instances.RetryStep
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() {
			how := "tried again"
			if res.Duplicate {
				how = "being tried"
			}
			fmt.Fprintf(c.stdout, "%s; %s is %s\n", how, args[1], runState(res.State))
		})
	}}
	ofIndex(cmd, &r.Index)
	return withReason(cmd, &r.Reason)
}

func (c *cli) stepSkip() *cobra.Command {
	r := &v1.SkipStepRequest{}
	cmd := &cobra.Command{Use: "skip INSTANCE STEP", Short: "Skip a step that nobody holds, as if its condition were not met", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		r.Namespace, r.InstanceId, r.Step = c.namespace, args[0], args[1]
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.SkipStepRequest]) (*connect.Response[v1.SkipStepResponse], error) {
			return a.instances.SkipStep
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() { c.decided("skipped", res.Duplicate, args[0], res.InstanceState) })
	}}
	ofIndex(cmd, &r.Index)
	return withReason(cmd, &r.Reason)
}

func (c *cli) stepResolve() *cobra.Command {
	r := &v1.ResolveStepRequest{}
	var output string
	cmd := &cobra.Command{
		Use: "resolve INSTANCE STEP", Short: "Give a step its end by hand: complete it with an output, or fail it with a code", Args: cobra.ExactArgs(2),
		Long: "Give a step its end by hand: complete it with --output, or fail it for good with --code. Whoever holds it is fenced from then on. A step that waits is given what it waits for instead (signal, approve), or skipped.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.OutputPayload, err = c.jsonInput("output", output); err != nil {
				return err
			}
			r.Namespace, r.InstanceId, r.Step = c.namespace, args[0], args[1]
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ResolveStepRequest]) (*connect.Response[v1.ResolveStepResponse], error) {
				return a.instances.ResolveStep
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				how := "completed"
				if r.Code != "" {
					how = "failed"
				}
				if res.Token > 0 {
					how += fmt.Sprintf(" under token %d", res.Token)
				}
				c.decided(how, res.Duplicate, args[0], res.InstanceState)
			})
		},
	}
	cmd.Flags().StringVar(&output, "output", "", "output as JSON, @FILE, or -")
	cmd.Flags().StringVar(&r.Code, "code", "", "fail it with this code, for good")
	ofIndex(cmd, &r.Index)
	return withReason(cmd, &r.Reason)
}

func (c *cli) stepUpdate() *cobra.Command {
	r := &v1.UpdateStepRequest{}
	var total, run, queue time.Duration
	cmd := &cobra.Command{
		Use: "update INSTANCE STEP", Short: "Change what is left of a step's attempts and times; all that is asked for, or nothing", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := func(flag string, d time.Duration) *durationpb.Duration {
				if !cmd.Flags().Changed(flag) {
					return nil
				}
				return durationpb.New(d)
			}
			r.TotalTimeout, r.RunTimeout, r.QueueTimeout = given("total", total), given("run", run), given("queue", queue)
			r.Namespace, r.InstanceId, r.Step = c.namespace, args[0], args[1]
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.UpdateStepRequest]) (*connect.Response[v1.UpdateStepResponse], error) {
				return a.instances.UpdateStep
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				fmt.Fprintf(c.stdout, "updated; %s is %s, with %d attempts used\n", args[1], runState(res.State), res.Used)
			})
		},
	}
	f := cmd.Flags()
	f.Int32Var(&r.AttemptsLeft, "attempts-left", 0, "attempts that are left, the one that goes on counted")
	f.DurationVar(&total, "total", 0, "total timeout, from now on")
	f.DurationVar(&run, "run", 0, "run timeout of the lease, from now on")
	f.DurationVar(&queue, "queue", 0, "queue timeout, from now on")
	f.BoolVar(&r.RetryNow, "retry-now", false, "have the next attempt now")
	ofIndex(cmd, &r.Index)
	return withReason(cmd, &r.Reason)
}
