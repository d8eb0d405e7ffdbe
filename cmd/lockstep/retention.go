package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// retentionFlags say how long a namespace keeps what is over.
type retentionFlags struct {
	finished, events time.Duration
	exportFirst      bool
}

func (f *retentionFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.finished, "retention", 0, "how long finished instances are kept, as 720h; 0 is for ever")
	cmd.Flags().DurationVar(&f.events, "event-retention", 0, "how long events are kept in the feed, as 720h; 0 is for ever; histories stay as long as their instances")
	cmd.Flags().BoolVar(&f.exportFirst, "export-first", false, "remove no instance before it was exported: see instance export --ack")
}

// over is what is kept for how long when the flags that were given change what was; nil when none was.
func (f *retentionFlags) over(cmd *cobra.Command, was *v1.Retention) *v1.Retention {
	out := &v1.Retention{Finished: was.GetFinished(), Events: was.GetEvents(), ExportFirst: was.GetExportFirst()}
	changed := false
	for flag, set := range map[string]func(){
		"retention":       func() { out.Finished = durationpb.New(f.finished) },
		"event-retention": func() { out.Events = durationpb.New(f.events) },
		"export-first":    func() { out.ExportFirst = f.exportFirst },
	} {
		if cmd.Flags().Changed(flag) {
			set()
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return out
}

// updateNamespace changes what the flags say, and leaves the rest as it is.
func (c *cli) updateNamespace(cmd *cobra.Command, name, description string, f *retentionFlags) (*v1.Namespace, error) {
	was, err := c.getNamespace(cmd.Context(), name)
	if err != nil {
		return nil, err
	}
	if !cmd.Flags().Changed("description") {
		description = was.Description
	}
	return ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.UpdateNamespaceRequest]) (*connect.Response[v1.Namespace], error) {
		return a.namespaces.UpdateNamespace
	}, &v1.UpdateNamespaceRequest{Namespace: name, Description: description, Retention: f.over(cmd, was.Retention)})
}

func (c *cli) getNamespace(ctx context.Context, name string) (*v1.Namespace, error) {
	return ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.GetNamespaceRequest]) (*connect.Response[v1.Namespace], error) {
		return a.namespaces.GetNamespace
	}, &v1.GetNamespaceRequest{Namespace: name})
}

// showRetention tells how long what is over is kept, and what is left.
func (c *cli) showRetention(ns *v1.Namespace) {
	keeps := func(d *durationpb.Duration) string {
		if d.AsDuration() == 0 {
			return "for ever"
		}
		return d.AsDuration().String()
	}
	if r := ns.Retention; r != nil {
		fmt.Fprintf(c.stdout, "finished   kept %s", keeps(r.Finished))
		if r.ExportFirst {
			fmt.Fprintf(c.stdout, ", and until exported")
		}
		fmt.Fprintf(c.stdout, "\nevents     kept %s\n", keeps(r.Events))
	}
	k := ns.Kept
	if k == nil {
		return
	}
	if k.Ordering {
		fmt.Fprintln(c.stdout, "ordering   what ended before the cluster was of this version")
	}
	if k.Removed > 0 {
		fmt.Fprintf(c.stdout, "removed    %d instances\n", k.Removed)
	}
	if k.Exported > 0 {
		fmt.Fprintf(c.stdout, "exported   up to position %d\n", k.Exported)
	}
	if k.FirstPosition > 1 {
		fmt.Fprintf(c.stdout, "feed       from position %d on\n", k.FirstPosition)
	}
	if k.OldestEnded != nil {
		fmt.Fprintf(c.stdout, "oldest     ended %s, position %d", k.OldestEnded.AsTime().Format(time.RFC3339), k.OldestPosition)
		if k.Behind.AsDuration() > 0 {
			fmt.Fprintf(c.stdout, ", %s over its time", k.Behind.AsDuration().Round(time.Second))
		}
		fmt.Fprintln(c.stdout)
	}
}
