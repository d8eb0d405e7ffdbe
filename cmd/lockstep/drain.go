package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// ofVersion is a command about a version of a workflow, which it has to name.
func (c *cli) ofVersion(use, short string, run func(ctx context.Context, name string, version int32, reason string) (*v1.Workflow, error)) *cobra.Command {
	var version int32
	var reason string
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		w, err := run(cmd.Context(), args[0], version, reason)
		if err != nil {
			return err
		}
		return c.print(w, func() {
			is := "starts instances"
			if w.Drained {
				is = c.paint(yellow, "drained") + ", starts nothing any more"
			}
			fmt.Fprintf(c.stdout, "%s version %d  %s; %d live\n", w.Workflow, w.Version, is, w.LiveInstances)
		})
	}}
	cmd.Flags().Int32Var(&version, "version", 0, "which version")
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	if err := cmd.MarkFlagRequired("version"); err != nil {
		panic(err) // there is such a flag
	}
	return cmd
}

func (c *cli) workflowDrain() *cobra.Command {
	return c.ofVersion("drain NAME", "Have a version start nothing any more; what it started runs on", func(ctx context.Context, name string, version int32, reason string) (*v1.Workflow, error) {
		return ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.DrainVersionRequest]) (*connect.Response[v1.Workflow], error) {
			return a.workflows.DrainVersion
		}, &v1.DrainVersionRequest{Namespace: c.namespace, Workflow: name, Version: version, Reason: reason})
	})
}

func (c *cli) workflowUndrain() *cobra.Command {
	return c.ofVersion("undrain NAME", "Have a drained version start instances again", func(ctx context.Context, name string, version int32, reason string) (*v1.Workflow, error) {
		return ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.UndrainVersionRequest]) (*connect.Response[v1.Workflow], error) {
			return a.workflows.UndrainVersion
		}, &v1.UndrainVersionRequest{Namespace: c.namespace, Workflow: name, Version: version, Reason: reason})
	})
}
