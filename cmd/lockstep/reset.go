package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) instanceReset() *cobra.Command {
	r := &v1.ResetInstanceRequest{}
	cmd := &cobra.Command{
		Use: "reset ID", Short: "Have a step of an instance that runs, and all that is behind it, begin anew",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Namespace, r.InstanceId = c.namespace, args[0]
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ResetInstanceRequest]) (*connect.Response[v1.ResetInstanceResponse], error) {
				return a.instances.ResetInstance
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				there := ""
				if res.Existing {
					there = fmt.Sprintf(", %s/%d was set back already", r.FromStep, r.Index)
				} else if res.Undone > 0 {
					there = fmt.Sprintf(" when %d completions are undone", res.Undone)
				}
				fmt.Fprintf(c.stdout, "%s  %s; %d steps begin anew from %s/%d%s\n", args[0], c.state(res.State), res.Steps, r.FromStep, res.Index, there)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.FromStep, "from", "", "the first step that is done anew")
	f.Int32Var(&r.Index, "index", 0, "which activation of the step is set back: the newest")
	f.BoolVar(&r.Compensate, "compensate", false, "undo what was completed from the step on before it begins anew; otherwise it is kept, and undone with the instance")
	f.StringVar(&r.Reason, "reason", "", "why")
	if err := cmd.MarkFlagRequired("from"); err != nil {
		panic(err) // there is such a flag
	}
	return cmd
}
