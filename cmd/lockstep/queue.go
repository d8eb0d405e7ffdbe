package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) queueCommand() *cobra.Command {
	parent := &cobra.Command{Use: "queue", Short: "List queues, and show one"}
	list := func(cmd *cobra.Command, only string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListQueuesRequest]) (*connect.Response[v1.ListQueuesResponse], error) {
			return a.workers.ListQueues
		}, &v1.ListQueuesRequest{Namespace: c.namespace})
		if err != nil {
			return err
		}
		if only != "" {
			kept := res.Queues[:0]
			for _, q := range res.Queues {
				if q.Queue == only {
					kept = append(kept, q)
				}
			}
			if res.Queues = kept; len(kept) == 0 {
				return fmt.Errorf("queue %q has had no run and no worker", only)
			}
		}
		return c.print(res, func() {
			var rows [][]string
			for _, q := range res.Queues {
				waiting := strconv.FormatInt(q.Waiting, 10)
				if q.Waiting == 0 && q.Ready > 0 {
					waiting = c.paint(yellow, "0 (no worker)")
				}
				rows = append(rows, []string{q.Queue, strconv.FormatInt(q.Ready, 10), strconv.FormatInt(q.Leased, 10), waiting, q.Oldest.AsDuration().Round(time.Millisecond).String()})
			}
			c.table([]string{"queue", "ready", "leased", "workers wait for", "oldest"}, rows)
		})
	}
	parent.AddCommand(
		&cobra.Command{Use: "list", Short: "List queues", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return list(cmd, "") }},
		&cobra.Command{Use: "show QUEUE", Short: "Show a queue", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error { return list(cmd, args[0]) }},
	)
	return parent
}
