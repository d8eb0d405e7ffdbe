package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) instanceFork() *cobra.Command {
	r := &v1.ForkInstanceRequest{}
	cmd := &cobra.Command{
		Use: "fork ID", Short: "Start an instance in which everything before a step is done already, as ID did it",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Namespace, r.InstanceId = c.namespace, args[0]
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ForkInstanceRequest]) (*connect.Response[v1.ForkInstanceResponse], error) {
				return a.instances.ForkInstance
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				there := ""
				if res.Existing {
					there = ", was there already"
				}
				fmt.Fprintf(c.stdout, "%s  version %d  %s; %d copied of %s%s\n", res.InstanceId, res.Version, c.state(res.State), res.Copied, args[0], there)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.FromStep, "from", "", "the first step that is done anew")
	f.StringVar(&r.NewInstanceId, "id", "", "the id of the new instance")
	f.Int32Var(&r.Version, "version", 0, "of which version it is; default: that of ID")
	f.StringToStringVar(&r.Keys, "key", nil, "correlation keys of the new instance")
	f.StringVar(&r.Reason, "reason", "", "why")
	for _, flag := range []string{"from", "id"} {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // there is such a flag
		}
	}
	return cmd
}

// showFork tells what an instance was forked from.
func (c *cli) showFork(i *v1.Instance) {
	if f := i.ForkedFrom; f != nil {
		fmt.Fprintf(c.stdout, "forked from  %s of %s\n", f.Step, f.InstanceId)
	}
}
