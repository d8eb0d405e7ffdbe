package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) instanceMigrate() *cobra.Command {
	r := &v1.MigrateInstanceRequest{}
	cmd := &cobra.Command{
		Use: "migrate ID", Short: "Have an instance that runs go on under another version of its workflow",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Namespace, r.InstanceId = c.namespace, args[0]
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.MigrateInstanceRequest]) (*connect.Response[v1.MigrateInstanceResponse], error) {
				return a.instances.MigrateInstance
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() { c.showMigration(args[0], r.DryRun, res) })
		},
	}
	f := cmd.Flags()
	f.Int32Var(&r.Version, "version", 0, "under which version it goes on")
	f.StringToStringVar(&r.Steps, "map", nil, "OLD=NEW: a step that has another name in the version; the others keep theirs")
	f.StringVar(&r.Reason, "reason", "", "why")
	f.BoolVar(&r.DryRun, "dry-run", false, "say what would become of each step, and do nothing")
	if err := cmd.MarkFlagRequired("version"); err != nil {
		panic(err) // there is such a flag
	}
	return cmd
}

func (c *cli) showMigration(id string, dry bool, res *v1.MigrateInstanceResponse) {
	if res.Existing {
		fmt.Fprintf(c.stdout, "%s  version %d  %s; it was there already\n", id, res.Version, c.state(res.State))
		return
	}
	would := ""
	if dry {
		would = ", if it is migrated"
	}
	fmt.Fprintf(c.stdout, "%s  version %d from %d  %s; %d steps go on, %d are as the version says, %d are there no more%s\n",
		id, res.Version, res.FromVersion, c.state(res.State), res.Kept, res.Added, res.Gone, would)
	for _, s := range res.Steps {
		switch {
		case s.From == "":
			fmt.Fprintf(c.stdout, "  %s  is new\n", s.To)
		case s.To == "":
			fmt.Fprintf(c.stdout, "  %s  is there no more\n", s.From)
		case s.From != s.To:
			fmt.Fprintf(c.stdout, "  %s  %s, goes on as %s\n", s.From, runState(s.State), s.To)
		default:
			fmt.Fprintf(c.stdout, "  %s  %s\n", s.From, runState(s.State))
		}
	}
}

// showMigrated tells under which version an instance was before.
func (c *cli) showMigrated(i *v1.Instance) {
	if i.MigratedFrom > 0 {
		fmt.Fprintf(c.stdout, "migrated from  version %d\n", i.MigratedFrom)
	}
}
