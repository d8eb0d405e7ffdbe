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

const incidentKind = "INCIDENT_KIND_"

func (c *cli) incidentCommand() *cobra.Command {
	parent := &cobra.Command{Use: "incident", Short: "See what needs a person, and say what was done about it"}
	r := &v1.ListIncidentsRequest{}
	var kind string
	list := &cobra.Command{
		Use: "list", Short: "List what needs a person, the newest first", Args: cobra.NoArgs,
		Long: "List steps that stand still until somebody says what is to become of them, instances that have failed, and drift that nobody has settled, the newest first: each with why, what else is known, and what can be done.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Namespace = c.namespace; kind != "" {
				number, is := v1.IncidentKind_value[incidentKind+strings.ToUpper(kind)]
				if !is || number == 0 {
					return usage("kind %q is none: expression, differs, compensation, deadlock, exhausted, failed or drift", kind)
				}
				r.Kind = v1.IncidentKind(number)
			}
			res, err := c.incidents(cmd.Context(), r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				for _, i := range res.Incidents {
					c.sayIncident(i)
				}
				switch {
				case res.NextPage != "":
					fmt.Fprintf(c.stdout, "and more: --page %s\n", res.NextPage)
				case len(res.Incidents) == 0:
					fmt.Fprintln(c.stdout, "none")
				}
			})
		},
	}
	f := list.Flags()
	f.StringVar(&kind, "kind", "", "only those: expression, differs, compensation, deadlock, exhausted, failed or drift")
	f.StringVar(&r.Workflow, "workflow", "", "only those of instances of a workflow")
	f.BoolVar(&r.Standing, "standing", false, "only steps that stand still, and no instances that have failed")
	f.Int32Var(&r.Limit, "limit", 100, "how many, up to 1000")
	f.StringVar(&r.Page, "page", "", "go on behind a page")
	f.BoolVar(&r.Resolved, "resolved", false, "also instances that have failed and were resolved")
	parent.AddCommand(list, c.incidentResolve(), c.incidentReopen())
	return parent
}

func (c *cli) incidentResolve() *cobra.Command {
	r := &v1.ResolveIncidentRequest{}
	cmd := &cobra.Command{Use: "resolve INSTANCE", Short: "Say that an instance which has failed needs nobody any more", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		r.Namespace, r.InstanceId = c.namespace, args[0]
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ResolveIncidentRequest]) (*connect.Response[v1.ResolveIncidentResponse], error) {
			return a.incidents.ResolveIncident
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() { c.settled(res.Duplicate, "resolved", args[0]) })
	}}
	return withReason(cmd, &r.Reason)
}

func (c *cli) incidentReopen() *cobra.Command {
	r := &v1.ReopenIncidentRequest{}
	cmd := &cobra.Command{Use: "reopen INSTANCE", Short: "Have it be listed again", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		r.Namespace, r.InstanceId = c.namespace, args[0]
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ReopenIncidentRequest]) (*connect.Response[v1.ReopenIncidentResponse], error) {
			return a.incidents.ReopenIncident
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() { c.settled(res.Duplicate, "open", args[0]) })
	}}
	return withReason(cmd, &r.Reason)
}

func (c *cli) settled(before bool, what, id string) {
	if before {
		what += " already"
	}
	fmt.Fprintf(c.stdout, "%s: %s\n", id, what)
}

// incidents follows short pages until there are as many as were asked for.
func (c *cli) incidents(ctx context.Context, r *v1.ListIncidentsRequest) (*v1.ListIncidentsResponse, error) {
	all, most := &v1.ListIncidentsResponse{}, r.Limit
	for {
		r.Limit = most - int32(len(all.Incidents))
		res, err := ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.ListIncidentsRequest]) (*connect.Response[v1.ListIncidentsResponse], error) {
			return a.incidents.ListIncidents
		}, r)
		if err != nil {
			return nil, err
		}
		all.Incidents = append(all.Incidents, res.Incidents...)
		if r.Page = res.NextPage; r.Page == "" || int32(len(all.Incidents)) >= most {
			all.NextPage = r.Page
			return all, nil
		}
	}
}

func (c *cli) sayIncident(i *v1.Incident) {
	of := i.InstanceId
	if i.Step != "" {
		of += "  " + i.Step
	}
	if i.Index > 0 {
		of += fmt.Sprint("#", i.Index)
	}
	fmt.Fprintf(c.stdout, "%s  %s  %s (%s)\n  %s\n", i.Since.AsTime().Local().Format(time.DateTime), of, strings.TrimPrefix(i.Kind.String(), incidentKind), i.Code, i.Cause)
	for _, line := range i.Evidence {
		fmt.Fprintf(c.stdout, "  %s\n", line)
	}
	if s := i.Resolution; s != nil {
		by := ""
		if s.By != "" {
			by = " by " + s.By
		}
		fmt.Fprintf(c.stdout, "  Resolved%s, %s: %s\n", by, s.At.AsTime().Local().Format(time.DateTime), s.Reason)
	}
	for _, line := range i.Commands {
		fmt.Fprintf(c.stdout, "    %s\n", line)
	}
}
