package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) reporterCommand() *cobra.Command {
	parent := &cobra.Command{Use: "reporter", Short: "Have other systems be asked about runs of which nothing is heard"}
	parent.AddCommand(c.reporterRegister(), c.reporterList(), c.reporterRemove(), c.reporterRuns())
	return parent
}

func (c *cli) reporterRegister() *cobra.Command {
	r := &v1.RegisterReporterRequest{}
	var every, silent time.Duration
	cmd := &cobra.Command{
		Use: "register NAME URL", Short: "Have another system be asked about runs of which nothing is heard", Args: cobra.ExactArgs(2),
		Long: "Have another system be asked, by HTTP POST of JSON, about runs of which nothing is heard: by the node that leads, if the servers may ask that host (--reporter-hosts). What it answers is reported as what it has observed; nothing is done about it by itself.",
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Namespace, r.Reporter, r.Url = c.namespace, args[0], args[1]
			if every != 0 {
				r.Every = durationpb.New(every)
			}
			if silent != 0 {
				r.OutOfContact = durationpb.New(silent)
			}
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.RegisterReporterRequest]) (*connect.Response[v1.Reporter], error) {
				return a.reporters.RegisterReporter
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				how := "registered"
				if res.Existing {
					how = "registered before"
				}
				fmt.Fprintf(c.stdout, "%s  %s: asked at %s, each %s at most, about runs of which nothing is heard for %s\n", res.Reporter, how, res.Url, res.Every.AsDuration(), res.OutOfContact.AsDuration())
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&r.Workflows, "workflow", nil, "only about runs of this workflow; may be repeated")
	f.StringSliceVar(&r.Steps, "step", nil, "only about runs of this step; may be repeated")
	f.DurationVar(&every, "every", 0, "how often it is asked at most (1m)")
	f.DurationVar(&silent, "out-of-contact", 0, "for how long nothing must have been heard of a run (5m)")
	return withReason(cmd, &r.Reason)
}

func (c *cli) reporterList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the reporters, and what became of asking them", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListReportersRequest]) (*connect.Response[v1.ListReportersResponse], error) {
			return a.reporters.ListReporters
		}, &v1.ListReportersRequest{Namespace: c.namespace})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "REPORTER\tURL\tOF\tASKED\tANSWERED\tRUNS\tOBSERVATIONS\tREFUSED\tFAILURES\tERROR")
			for _, p := range res.Reporters {
				of := strings.Join(append(append([]string{}, p.Workflows...), p.Steps...), ",")
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\n", p.Reporter, p.Url, cmp.Or(of, "-"), when(p.Asked), when(p.Answered), p.Runs, p.Observations, p.Refused, p.Failures, cmp.Or(p.Error, "-"))
			}
			w.Flush()
		})
	}}
}

func (c *cli) reporterRemove() *cobra.Command {
	r := &v1.RemoveReporterRequest{}
	cmd := &cobra.Command{Use: "remove NAME", Short: "Have a reporter be asked no more", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		r.Namespace, r.Reporter = c.namespace, args[0]
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.RemoveReporterRequest]) (*connect.Response[v1.RemoveReporterResponse], error) {
			return a.reporters.RemoveReporter
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() { fmt.Fprintf(c.stdout, "%s  is asked no more\n", r.Reporter) })
	}}
	return withReason(cmd, &r.Reason)
}

func (c *cli) reporterRuns() *cobra.Command {
	r := &v1.ListOutOfContactRequest{}
	cmd := &cobra.Command{Use: "runs NAME", Short: "List the runs that a reporter would be asked about now", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		r.Namespace, r.Reporter = c.namespace, args[0]
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListOutOfContactRequest]) (*connect.Response[v1.ListOutOfContactResponse], error) {
			return a.reporters.ListOutOfContact
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() {
			w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "INSTANCE\tSTEP\tSTATE\tTOKEN\tSINCE")
			for _, run := range res.Runs {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", run.InstanceId, runOf(run.Step, run.Index), strings.TrimPrefix(run.State.String(), "RUN_STATE_"), run.Token, when(run.Since))
			}
			w.Flush()
			if res.NextPage != "" {
				fmt.Fprintf(c.stdout, "and perhaps more: --page %s\n", res.NextPage)
			}
		})
	}}
	f := cmd.Flags()
	f.Int32Var(&r.Limit, "limit", 100, "how many, up to 1000")
	f.StringVar(&r.Page, "page", "", "go on behind a page")
	return cmd
}
