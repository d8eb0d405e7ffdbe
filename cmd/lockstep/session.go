package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) sessionCommand() *cobra.Command {
	parent := &cobra.Command{Use: "session", Short: "List and close sessions"}
	var reason string
	list := &cobra.Command{Use: "list", Short: "List live sessions", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListSessionsRequest]) (*connect.Response[v1.ListSessionsResponse], error) {
			return a.workers.ListSessions
		}, &v1.ListSessionsRequest{Namespace: c.namespace, Limit: 1000})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			var rows [][]string
			for _, s := range res.Sessions {
				rows = append(rows, []string{s.SessionId, s.Worker, s.Ttl.AsDuration().String(), s.Remaining.AsDuration().Round(time.Millisecond).String(), fmt.Sprint(len(s.Tokens)), when(s.Opened)})
			}
			c.table([]string{"session", "worker", "ttl", "remaining", "leases", "opened"}, rows)
		})
	}}
	closing := &cobra.Command{Use: "close ID", Short: "Close a session: its leases are given back", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.CloseSessionRequest]) (*connect.Response[v1.CloseSessionResponse], error) {
			return a.workers.CloseSession
		}, &v1.CloseSessionRequest{Namespace: c.namespace, SessionId: args[0], Reason: reason})
		if err != nil {
			return err
		}
		return c.print(res, func() { fmt.Fprintln(c.stdout, "closed", args[0]) })
	}}
	closing.Flags().StringVar(&reason, "reason", "", "why")
	parent.AddCommand(list, closing)
	return parent
}
