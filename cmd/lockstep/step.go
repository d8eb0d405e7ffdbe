package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// heldRun names a run that is held: from flags, or from the environment that a worker gives its commands.
type heldRun struct {
	instance, step string
	index          int32
	token          int64
}

func (r *heldRun) flags(cmd *cobra.Command) {
	number := func(name string) int64 {
		n, err := strconv.ParseInt(os.Getenv(name), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	f := cmd.Flags()
	f.StringVar(&r.instance, "instance", os.Getenv("LOCKSTEP_INSTANCE"), "instance; default: $LOCKSTEP_INSTANCE")
	f.StringVar(&r.step, "step", os.Getenv("LOCKSTEP_STEP"), "step; default: $LOCKSTEP_STEP")
	f.Int32Var(&r.index, "index", int32(number("LOCKSTEP_INDEX")), "index; default: $LOCKSTEP_INDEX")
	f.Int64Var(&r.token, "token", number("LOCKSTEP_TOKEN"), "token of the lease; default: $LOCKSTEP_TOKEN")
}

func (c *cli) stepCommand() *cobra.Command {
	parent := &cobra.Command{Use: "step", Short: "Lease a named step, and complete, fail or release what is held; or take a step in hand as an operator"}
	parent.AddCommand(c.stepLease(), c.stepComplete(), c.stepFail(), c.stepProgress(), c.stepRelease(),
		c.stepRetry(), c.stepSkip(), c.stepResolve(), c.stepUpdate())
	return parent
}

func (c *cli) stepLease() *cobra.Command {
	var session string
	var index int32
	var wait, ttl time.Duration
	cmd := &cobra.Command{
		Use: "lease INSTANCE STEP", Short: "Lease one named step, as a session", Args: cobra.ExactArgs(2),
		Long: "Lease one named step of an instance. Without --session a session is opened with --ttl: complete the step, or renew the session, before it ends.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if session == "" {
				s, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.OpenSessionRequest]) (*connect.Response[v1.Session], error) {
					return a.workers.OpenSession
				}, &v1.OpenSessionRequest{Namespace: c.namespace, Ttl: durationpb.New(ttl), Worker: "lockstep step lease"})
				if err != nil {
					return err
				}
				session = s.SessionId
			}
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.LeaseStepRequest]) (*connect.Response[v1.LeaseStepResponse], error) {
				return a.workers.LeaseStep
			}, &v1.LeaseStepRequest{Namespace: c.namespace, SessionId: session, InstanceId: args[0], Step: args[1], Index: index, Wait: durationpb.New(wait)})
			if err != nil {
				return err
			}
			return c.print(res.Run, func() {
				fmt.Fprintf(c.stdout, "leased  attempt %d under token %d, session %s\ncomplete it:  lockstep step complete --instance %s --step %s%s --token %d --output '{}'\n",
					res.Run.Attempt, res.Run.Token, session, args[0], args[1], indexFlag(index), res.Run.Token)
			})
		},
	}
	cmd.Flags().StringVar(&session, "session", "", "session; default: a new one")
	cmd.Flags().Int32Var(&index, "index", 0, "which activation of the step: of a body's, or of one that was set back")
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait for it to be ready, and for its locks, up to 60s")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Minute, "ttl of a new session")
	return cmd
}

// indexFlag is what names an activation, unless it is the first.
func indexFlag(index int32) string {
	if index == 0 {
		return ""
	}
	return fmt.Sprintf(" --index %d", index)
}

func (c *cli) stepComplete() *cobra.Command {
	var r heldRun
	var output string
	cmd := &cobra.Command{Use: "complete", Short: "Complete a held step", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		payload, err := c.jsonInput("output", output)
		if err != nil {
			return err
		}
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.CompleteStepRequest]) (*connect.Response[v1.CompleteStepResponse], error) {
			return a.workers.CompleteStep
		}, &v1.CompleteStepRequest{Namespace: c.namespace, InstanceId: r.instance, Step: r.step, Index: r.index, Token: r.token, OutputPayload: payload})
		if err != nil {
			return err
		}
		return c.print(res, func() { fmt.Fprintf(c.stdout, "completed; the instance is %s\n", c.state(res.InstanceState)) })
	}}
	r.flags(cmd)
	cmd.Flags().StringVar(&output, "output", "", "output as JSON, @FILE, or -")
	return cmd
}

func (c *cli) stepFail() *cobra.Command {
	var r heldRun
	var code, reason string
	var retryable bool
	cmd := &cobra.Command{Use: "fail", Short: "Fail a held step", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.FailStepRequest]) (*connect.Response[v1.FailStepResponse], error) {
			return a.workers.FailStep
		}, &v1.FailStepRequest{Namespace: c.namespace, InstanceId: r.instance, Step: r.step, Index: r.index, Token: r.token, Code: code, Reason: reason, Retryable: retryable})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			if res.RetryIn != nil {
				fmt.Fprintf(c.stdout, "failed; tried again in %s\n", res.RetryIn.AsDuration().Round(time.Millisecond))
				return
			}
			fmt.Fprintln(c.stdout, "failed for good")
		})
	}}
	r.flags(cmd)
	cmd.Flags().StringVar(&code, "code", "FAILED", "code of the failure")
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	cmd.Flags().BoolVar(&retryable, "retryable", true, "another attempt may do better")
	return cmd
}

func (c *cli) stepProgress() *cobra.Command {
	var r heldRun
	var progress string
	cmd := &cobra.Command{Use: "progress", Short: "Tell how far a held step is; status 1 when it is asked to stop", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		payload, err := c.jsonInput("progress", progress)
		if err != nil {
			return err
		}
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ReportProgressRequest]) (*connect.Response[v1.ReportProgressResponse], error) {
			return a.workers.ReportProgress
		}, &v1.ReportProgressRequest{Namespace: c.namespace, InstanceId: r.instance, Step: r.step, Index: r.index, Token: r.token, ProgressPayload: payload})
		if err != nil {
			return err
		}
		if res.Cancelled {
			return fmt.Errorf("the step is asked to stop: its instance is being cancelled, or has failed")
		}
		return c.print(res, func() {})
	}}
	r.flags(cmd)
	cmd.Flags().StringVar(&progress, "progress", "", "anything, as JSON")
	return cmd
}

func (c *cli) stepRelease() *cobra.Command {
	var r heldRun
	var reason string
	cmd := &cobra.Command{Use: "release", Short: "Give a held step back, without using an attempt", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ReleaseStepRequest]) (*connect.Response[v1.ReleaseStepResponse], error) {
			return a.workers.ReleaseStep
		}, &v1.ReleaseStepRequest{Namespace: c.namespace, InstanceId: r.instance, Step: r.step, Index: r.index, Token: r.token, Reason: reason})
		if err != nil {
			return err
		}
		return c.print(res, func() { fmt.Fprintln(c.stdout, "released") })
	}}
	r.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}
