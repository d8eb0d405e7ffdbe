package main

import (
	"context"
	"fmt"
	"strconv"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) namespaceCommand() *cobra.Command {
	parent := &cobra.Command{Use: "namespace", Short: "Create, list, show, update and delete namespaces"}
	var description, reason string
	var force bool
	var keep retentionFlags
	create := &cobra.Command{Use: "create NAME", Short: "Create a namespace", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		ns, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.CreateNamespaceRequest]) (*connect.Response[v1.Namespace], error) {
			return a.namespaces.CreateNamespace
		}, &v1.CreateNamespaceRequest{Namespace: args[0], Description: description, Retention: keep.over(cmd, nil)})
		return c.showNamespace(ns, err)
	}}
	create.Flags().StringVar(&description, "description", "", "what it is for")
	keep.add(create)
	update := &cobra.Command{Use: "update NAME", Short: "Change a namespace's description, and how long it keeps what is over", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		ns, err := c.updateNamespace(cmd, args[0], description, &keep)
		return c.showNamespace(ns, err)
	}}
	update.Flags().StringVar(&description, "description", "", "what it is for")
	keep.add(update)
	show := &cobra.Command{Use: "show [NAME]", Short: "Show a namespace and its counters", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		name := c.namespace
		if len(args) > 0 {
			name = args[0]
		}
		ns, err := c.getNamespace(cmd.Context(), name)
		return c.showNamespace(ns, err)
	}}
	remove := &cobra.Command{Use: "delete NAME", Short: "Delete a namespace and everything in it", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.DeleteNamespaceRequest]) (*connect.Response[v1.DeleteNamespaceResponse], error) {
			return a.namespaces.DeleteNamespace
		}, &v1.DeleteNamespaceRequest{Namespace: args[0], Force: force, Reason: reason})
		if err != nil {
			return err
		}
		return c.print(res, func() { fmt.Fprintln(c.stdout, "deleted", args[0]) })
	}}
	remove.Flags().BoolVar(&force, "force", false, "although instances are live")
	remove.Flags().StringVar(&reason, "reason", "", "why")
	parent.AddCommand(create, c.namespaceList(), show, update, remove)
	return parent
}

func (c *cli) namespaceList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List namespaces", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListNamespacesRequest]) (*connect.Response[v1.ListNamespacesResponse], error) {
			return a.namespaces.ListNamespaces
		}, &v1.ListNamespacesRequest{Limit: 1000})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			var rows [][]string
			for _, ns := range res.Namespaces {
				rows = append(rows, []string{ns.Namespace, strconv.FormatInt(ns.LiveInstances, 10), strconv.FormatInt(ns.Position, 10), ns.Description})
			}
			c.table([]string{"namespace", "live", "position", "description"}, rows)
		})
	}}
}

func (c *cli) showNamespace(ns *v1.Namespace, err error) error {
	if err != nil {
		return err
	}
	return c.print(ns, func() {
		fmt.Fprintf(c.stdout, "namespace  %s\nlive       %d\nposition   %d\ntoken      %d\n", ns.Namespace, ns.LiveInstances, ns.Position, ns.Token)
		if ns.Description != "" {
			fmt.Fprintf(c.stdout, "for        %s\n", ns.Description)
		}
		c.showRetention(ns)
	})
}
