package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) instanceApprove() *cobra.Command {
	var reason string
	var index int32
	cmd := &cobra.Command{Use: "approve ID STEP", Short: "Approve a step that waits for it", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ApproveStepRequest]) (*connect.Response[v1.ApproveStepResponse], error) {
			return a.instances.ApproveStep
		}, &v1.ApproveStepRequest{Namespace: c.namespace, InstanceId: args[0], Step: args[1], Index: index, Reason: reason})
		if err != nil {
			return err
		}
		return c.print(res, func() { c.decided("approved", res.Duplicate, args[0], res.InstanceState) })
	}}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	ofIndex(cmd, &index)
	return cmd
}

func (c *cli) instanceReject() *cobra.Command {
	var reason string
	var index int32
	cmd := &cobra.Command{Use: "reject ID STEP", Short: "Reject a step that waits for an approval; it fails", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.RejectStepRequest]) (*connect.Response[v1.RejectStepResponse], error) {
			return a.instances.RejectStep
		}, &v1.RejectStepRequest{Namespace: c.namespace, InstanceId: args[0], Step: args[1], Index: index, Reason: reason})
		if err != nil {
			return err
		}
		return c.print(res, func() { c.decided("rejected", res.Duplicate, args[0], res.InstanceState) })
	}}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	ofIndex(cmd, &index)
	return cmd
}

// ofIndex has a command take which run of a step it is about.
func ofIndex(cmd *cobra.Command, index *int32) {
	cmd.Flags().Int32Var(index, "index", 0, "which run of a step inside another, as instance show has them")
}

func (c *cli) decided(how string, before bool, id string, state v1.InstanceState) {
	if before {
		how += " before"
	}
	fmt.Fprintf(c.stdout, "%s; %s is %s\n", how, id, c.state(state))
}
