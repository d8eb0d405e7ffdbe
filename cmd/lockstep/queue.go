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
			if only != "" {
				c.printKeys(res.Queues[0])
			}
		})
	}
	parent.AddCommand(
		&cobra.Command{Use: "list", Short: "List queues", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return list(cmd, "") }},
		&cobra.Command{Use: "show QUEUE", Short: "Show a queue", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error { return list(cmd, args[0]) }},
	)
	return parent
}

// printKeys lists the keys that take turns in a queue, the next first.
func (c *cli) printKeys(q *v1.Queue) {
	if len(q.Keys) == 0 {
		return
	}
	var rows [][]string
	for n, k := range q.Keys {
		rows = append(rows, []string{strconv.Itoa(n + 1), strconv.Quote(k.Key), strconv.FormatInt(k.Ready, 10), k.Oldest.AsDuration().Round(time.Millisecond).String()})
	}
	c.table([]string{"turn", "key", "ready", "oldest"}, rows)
	if more := q.KeyCount - int64(len(q.Keys)); more > 0 {
		fmt.Fprintf(c.stdout, "and %d more\n", more)
	}
}
