package main

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) instanceCompensate() *cobra.Command {
	r := &v1.CompensateInstanceRequest{}
	cmd := &cobra.Command{
		Use: "compensate ID", Short: "Cancel an instance and undo what it completed; or try again what stands still of that",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Namespace, r.InstanceId = c.namespace, args[0]
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.CompensateInstanceRequest]) (*connect.Response[v1.CompensateInstanceResponse], error) {
				return a.instances.CompensateInstance
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				fmt.Fprintf(c.stdout, "%s  %s\n", args[0], c.state(res.State))
				if what := strings.Join(res.Steps, ", "); what != "" && r.Skip {
					fmt.Fprintf(c.stdout, "skipped  %s\n", what)
				} else if what != "" {
					fmt.Fprintf(c.stdout, "tried again  %s\n", what)
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Reason, "reason", "", "why")
	f.StringVar(&r.FromStep, "from", "", "undo this step and those behind it; default: all")
	f.BoolVar(&r.Skip, "skip", false, "count what stands still as done")
	return cmd
}
