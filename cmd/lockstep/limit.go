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

func (c *cli) limitCommand() *cobra.Command {
	parent := &cobra.Command{Use: "limit", Short: "See rate limits, and who waits for them"}
	r := &v1.ListLimitsRequest{}
	list := &cobra.Command{
		Use: "list", Short: "List the rate limits of which slots are taken, or that runs wait for", Args: cobra.NoArgs,
		Long: "List the rate limits that are in use, by key. One of which no slot is taken, and that nobody waits for, is not known: it begins again with the next lease that needs it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.Namespace, r.Limit = c.namespace, 1000
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListLimitsRequest]) (*connect.Response[v1.ListLimitsResponse], error) {
				return a.limits.ListLimits
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				var rows [][]string
				for _, l := range res.Limits {
					rows = append(rows, limitRow(l))
				}
				c.table([]string{"limit", "per", "taken", "waiting", "next"}, rows)
				if res.NextPage != "" {
					fmt.Fprintf(c.stdout, "and more: --page %s\n", res.NextPage)
				}
			})
		},
	}
	list.Flags().StringVar(&r.Prefix, "prefix", "", "only keys that begin so")
	list.Flags().StringVar(&r.Page, "page", "", "only keys behind this one")
	parent.AddCommand(list)
	return parent
}

func limitRow(l *v1.Limit) []string {
	next := "now"
	if l.Used >= l.Limit {
		next = "in " + l.NextIn.AsDuration().Round(time.Millisecond).String()
	}
	return []string{l.Key, l.Per.AsDuration().String(), fmt.Sprintf("%d of %d", l.Used, l.Limit), strconv.FormatInt(l.Waiting, 10), next}
}
