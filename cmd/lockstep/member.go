package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/lockstep-dev/lockstep/cluster"
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
	parent.AddCommand(list, remove, c.memberRecoverCommand())
	return parent
}

func (c *cli) memberRecoverCommand() *cobra.Command {
	var data, peer string
	var sure bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Make a stopped node the only voter, when the majority of its cluster is lost for good",
		Long: `Make a stopped node the only voter, when the majority of its cluster is lost for good. What only the others had
acknowledged is lost with them: recover the node whose log is the longest (lastLogIndex in GetStatus, or the newest that
ran). The node gets another id, so that members that turn up again do not take it for one of theirs; tokens go on higher
than any that may have been granted. Whoever watches events must start over: positions that were lost are given again.
Wipe the data directories of all others before they start; they join as new nodes.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !sure {
				return usage("this gives up what only the other members have; give --yes if they are lost for good")
			}
			out, err := cluster.Recover(cluster.Config{DataDir: data, Logger: hclog.NewNullLogger()}, peer)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(out)
			}
			fmt.Fprintf(c.stdout, "%s is now %s, the only voter, with everything up to entry %d.\nStart it as before; wipe the others, and they join it.\n", out.Was, out.NodeID, out.Index)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", "lockstep-data", "the node's data directory")
	f.StringVar(&peer, "peer-listen", "127.0.0.1:7401", "the node's address for other nodes, as it is given to the server")
	f.BoolVar(&sure, "yes", false, "the majority is lost for good")
	return cmd
}
