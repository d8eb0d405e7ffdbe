package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) memberCommand() *cobra.Command {
	parent := &cobra.Command{Use: "member", Short: "List and remove members of the cluster"}
	list := &cobra.Command{Use: "list", Short: "List members, as the first server that answers sees them", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.GetStatusRequest]) (*connect.Response[v1.GetStatusResponse], error) {
			return a.cluster.GetStatus
		}, &v1.GetStatusRequest{})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			var rows [][]string
			for _, g := range res.Groups {
				for _, m := range g.Members {
					role := "voter"
					switch {
					case m.Leader:
						role = c.paint(green, "leader")
					case !m.Voter:
						role = "arriving"
					}
					rows = append(rows, []string{m.NodeId, role, m.ApiAddress, m.PeerAddress})
				}
			}
			c.table([]string{"member", "role", "api", "peers"}, rows)
		})
	}}
	remove := &cobra.Command{Use: "remove ID", Short: "Remove a member for good; its data directory must be wiped before it joins again", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.RemoveMemberRequest]) (*connect.Response[v1.RemoveMemberResponse], error) {
			return a.cluster.RemoveMember
		}, &v1.RemoveMemberRequest{NodeId: args[0]})
		if err != nil {
			return err
		}
		return c.print(res, func() { fmt.Fprintln(c.stdout, "removed", args[0]) })
	}}
	parent.AddCommand(list, remove)
	return parent
}
