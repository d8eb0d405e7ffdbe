package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const (
	bulkAct   = "BULK_ACT_"
	bulkState = "BULK_STATE_"
)

func (c *cli) bulkCommand() *cobra.Command {
	parent := &cobra.Command{Use: "bulk", Short: "Do one thing to all instances that match a filter"}
	parent.AddCommand(c.bulkStart(), c.bulkGet(), c.bulkCancel(), c.bulkList())
	return parent
}

func (c *cli) bulkStart() *cobra.Command {
	r, filter, wait := &v1.StartBulkRequest{}, &instanceFilter{}, false
	cmd := &cobra.Command{
		Use: "start pause|resume|cancel|retry|skip|reset", Short: "Start a bulk operation", Args: cobra.ExactArgs(1),
		Long: `Start a bulk operation: it pauses, resumes or cancels all instances that match a filter, has what stands still of them tried again,
skips a step of them, or sets them back to one. It runs in the cluster and comes once to each instance that there is when it starts, whether anybody waits or not.
With the same --id it is started once.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			act, is := v1.BulkAct_value[bulkAct+strings.ToUpper(args[0])]
			if !is || act == 0 {
				return usage("%q is none: pause, resume, cancel, retry, skip or reset", args[0])
			}
			list, err := filter.request(cmd, c.namespace)
			if err != nil {
				return err
			}
			r.Namespace, r.Act = c.namespace, v1.BulkAct(act)
			r.Filter = &v1.InstanceFilter{
				Workflow: list.Workflow, Version: list.Version, State: list.State, Labels: list.Labels, Keys: list.Keys,
				StartedFrom: list.StartedFrom, StartedTo: list.StartedTo, EndedFrom: list.EndedFrom, EndedTo: list.EndedTo, StuckFor: list.StuckFor,
			}
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.StartBulkRequest]) (*connect.Response[v1.BulkOperation], error) {
				return a.bulks.StartBulk
			}, r)
			if err == nil && wait {
				res, err = c.waitBulk(cmd.Context(), r.BulkId)
			}
			if err != nil {
				return err
			}
			return c.print(res, func() { c.showBulk(res) })
		},
	}
	filter.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&r.BulkId, "id", "", "its id; required, so that it is started once")
	f.StringVar(&r.Step, "step", "", "the step to skip, to set back to, or of which alone what stands still is tried again")
	f.BoolVar(&r.Compensate, "compensate", false, "of a reset: what was completed from the step on is undone first")
	f.BoolVar(&r.All, "all", false, "without a filter: all instances of the namespace are meant")
	f.BoolVar(&wait, "wait", false, "wait until it has come to all, and say how far it is")
	if err := cmd.MarkFlagRequired("id"); err != nil {
		panic(err)
	}
	return withReason(cmd, &r.Reason)
}

func (c *cli) getBulk(ctx context.Context, id string) (*v1.BulkOperation, error) {
	return ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.GetBulkRequest]) (*connect.Response[v1.BulkOperation], error) {
		return a.bulks.GetBulk
	}, &v1.GetBulkRequest{Namespace: c.namespace, BulkId: id})
}

// waitBulk waits for the end of a bulk operation, and says now and then how far it is.
func (c *cli) waitBulk(ctx context.Context, id string) (*v1.BulkOperation, error) {
	const each, say = 200 * time.Millisecond, 2 * time.Second
	for told := time.Now(); ; {
		b, err := c.getBulk(ctx, id)
		if err != nil || b.State != v1.BulkState_BULK_STATE_RUNNING {
			return b, err
		}
		if time.Since(told) >= say {
			told = time.Now()
			fmt.Fprintf(c.stderr, "%s: %s\n", id, bulkProgress(b))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(each):
		}
	}
}

func (c *cli) bulkGet() *cobra.Command {
	wait := false
	cmd := &cobra.Command{Use: "get ID", Short: "Show a bulk operation, and how far it is", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		get := c.getBulk
		if wait {
			get = c.waitBulk
		}
		res, err := get(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return c.print(res, func() { c.showBulk(res) })
	}}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has come to all, and say how far it is")
	return cmd
}

func (c *cli) bulkCancel() *cobra.Command {
	r := &v1.CancelBulkRequest{}
	cmd := &cobra.Command{Use: "cancel ID", Short: "Have a bulk operation come to no more instances; what it has done stays", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		r.Namespace, r.BulkId = c.namespace, args[0]
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.CancelBulkRequest]) (*connect.Response[v1.BulkOperation], error) {
			return a.bulks.CancelBulk
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() { c.showBulk(res) })
	}}
	return withReason(cmd, &r.Reason)
}

func (c *cli) bulkList() *cobra.Command {
	r := &v1.ListBulksRequest{}
	cmd := &cobra.Command{Use: "list", Short: "List the bulk operations that run, and the last that ended", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		r.Namespace = c.namespace
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListBulksRequest]) (*connect.Response[v1.ListBulksResponse], error) {
			return a.bulks.ListBulks
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() {
			var rows [][]string
			for _, b := range res.Bulks {
				rows = append(rows, []string{b.BulkId, actOf(b), bulkStateOf(b), when(b.Started), bulkProgress(b), short(b.Reason, 40)})
			}
			c.table([]string{"bulk", "act", "state", "started", "progress", "reason"}, rows)
			if res.NextPage != "" {
				fmt.Fprintf(c.stdout, "more: --page %q\n", res.NextPage)
			}
		})
	}}
	cmd.Flags().StringVar(&r.Page, "page", "", "go on behind a page")
	cmd.Flags().Int32Var(&r.Limit, "limit", 100, "how many")
	return cmd
}

func actOf(b *v1.BulkOperation) string {
	act := strings.ToLower(strings.TrimPrefix(b.Act.String(), bulkAct))
	if b.Step != "" {
		act += " " + b.Step
	}
	if b.Compensate {
		act += ", compensated"
	}
	return act
}

func bulkStateOf(b *v1.BulkOperation) string { return strings.TrimPrefix(b.State.String(), bulkState) }

// bulkProgress is how far an operation has come.
func bulkProgress(b *v1.BulkOperation) string {
	said := fmt.Sprintf("%d matched of %d looked at: %d changed, %d unchanged, %d refused", b.Matched, b.Looked, b.Changed, b.Unchanged, b.Refused)
	switch {
	case b.LeftMore:
		said += fmt.Sprintf("; more than %d to look at", b.Left)
	case b.Left > 0:
		said += fmt.Sprintf("; at most %d to look at", b.Left)
	}
	return said
}

func (c *cli) showBulk(b *v1.BulkOperation) {
	by := b.Author.GetPrincipal()
	if by == "" {
		by = "somebody"
	}
	fmt.Fprintf(c.stdout, "%s  %s is %s\n", b.BulkId, actOf(b), bulkStateOf(b))
	fmt.Fprintf(c.stdout, "  started by %s: %s\n", by, b.Reason)
	if b.CancelReason != "" {
		fmt.Fprintf(c.stdout, "  cancelled by %s: %s\n", b.CancelledBy.GetPrincipal(), b.CancelReason)
	}
	fmt.Fprintf(c.stdout, "  %s\n", bulkProgress(b))
	for _, r := range b.Refusals {
		of := strings.Join(r.Instances, ", ")
		if r.Count > int64(len(r.Instances)) {
			of += ", ..."
		}
		fmt.Fprintf(c.stdout, "  %d refused with %s: %s\n", r.Count, strings.TrimPrefix(r.Code.String(), "CODE_"), of)
	}
}
