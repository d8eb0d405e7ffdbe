package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) workflowCommand() *cobra.Command {
	parent := &cobra.Command{Use: "workflow", Short: "Check, register, list, show, drain and import workflows"}
	parent.AddCommand(c.workflowRegister(), c.workflowCheck(), c.workflowList(), c.workflowShow(), c.workflowSchema(), c.workflowGraph(), c.workflowImport(), c.workflowDrain(), c.workflowUndrain())
	return parent
}

// readFile reads a file, or the standard input for "-".
func (c *cli) readFile(path string) ([]byte, error) {
	if path == "-" {
		return readAll(c.stdin)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, usageError{err}
	}
	return b, nil
}

func (c *cli) registerSource(ctx context.Context, text []byte, version int32) (*v1.Workflow, error) {
	return ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.RegisterWorkflowRequest]) (*connect.Response[v1.Workflow], error) {
		return a.workflows.RegisterWorkflow
	}, &v1.RegisterWorkflowRequest{Namespace: c.namespace, Source: string(text), Version: version})
}

func (c *cli) workflowRegister() *cobra.Command {
	var version int32
	cmd := &cobra.Command{Use: "register FILE", Short: "Register a definition; the same again changes nothing", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		text, err := c.readFile(args[0])
		if err != nil {
			return err
		}
		w, err := c.registerSource(cmd.Context(), text, version)
		if err != nil {
			return err
		}
		return c.print(w, func() {
			fmt.Fprintf(c.stdout, "%s version %d, %d steps\n", w.Workflow, w.Version, w.Steps)
			c.printSoundness(w.Soundness)
			fmt.Fprintf(c.stdout, "start it:  lockstep instance start %s --id ID --input '{...}'\n", w.Workflow)
		})
	}}
	cmd.Flags().Int32Var(&version, "version", 0, "version; default: the next, or the one that is equal")
	return cmd
}

func (c *cli) workflowList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List workflows and their versions", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListWorkflowsRequest]) (*connect.Response[v1.ListWorkflowsResponse], error) {
			return a.workflows.ListWorkflows
		}, &v1.ListWorkflowsRequest{Namespace: c.namespace, Limit: 1000})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			var rows [][]string
			for _, w := range res.Workflows {
				state := ""
				if w.Drained {
					state = c.paint(yellow, strings.TrimSpace("drained "+short(w.Reason, 40)))
				}
				rows = append(rows, []string{w.Workflow, strconv.Itoa(int(w.Version)), strconv.Itoa(int(w.Steps)), w.Digest[:12], when(w.Registered), strconv.FormatInt(w.LiveInstances, 10), state})
			}
			c.table([]string{"workflow", "version", "steps", "digest", "registered", "live", ""}, rows)
		})
	}}
}

func (c *cli) getWorkflow(ctx context.Context, name string, version int32) (*v1.Workflow, error) {
	return ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.GetWorkflowRequest]) (*connect.Response[v1.Workflow], error) {
		return a.workflows.GetWorkflow
	}, &v1.GetWorkflowRequest{Namespace: c.namespace, Workflow: name, Version: version})
}

func (c *cli) oneWorkflow(use, short string, show func(*v1.Workflow) error) *cobra.Command {
	var version int32
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		w, err := c.getWorkflow(cmd.Context(), args[0], version)
		if err != nil {
			return err
		}
		return show(w)
	}}
	cmd.Flags().Int32Var(&version, "version", 0, "version; default: the newest")
	return cmd
}

func (c *cli) workflowShow() *cobra.Command {
	return c.oneWorkflow("show NAME", "Show a definition as it was given", func(w *v1.Workflow) error {
		return c.print(w, func() { fmt.Fprintln(c.stdout, strings.TrimSuffix(w.Source, "\n")) })
	})
}

func (c *cli) workflowSchema() *cobra.Command {
	cmd := c.oneWorkflow("schema [NAME]", "Show the schema of definitions, for editors, or of a workflow's input", func(w *v1.Workflow) error {
		schema := w.Definition.GetFields()["inputSchema"]
		if schema == nil {
			return fmt.Errorf("workflow %s declares no inputSchema: any input is taken", w.Workflow)
		}
		return c.printProto(schema)
	})
	ofInput := cmd.RunE
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return ofInput(cmd, args)
		}
		_, err := c.stdout.Write(source.Schema())
		return err
	}
	return cmd
}

func (c *cli) workflowImport() *cobra.Command {
	var format, name, queue string
	var register bool
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Make a workflow of a recorded execution", Args: cobra.ExactArgs(1),
		Long: "Make a workflow of a recorded execution in WfFormat 1.5 or 1.6 (wfcommons.org): its real tasks and dependencies. Prints the YAML, or registers it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "wfcommons" {
				return usage("--format %q is not known; there is wfcommons", format)
			}
			raw, err := c.readFile(args[0])
			if err != nil {
				return err
			}
			if name == "" {
				name = strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0]))
			}
			text, err := source.WfCommons(raw, source.WfCommonsOptions{Name: name, Queue: queue})
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if !register {
				_, err := c.stdout.Write(text)
				return err
			}
			w, err := c.registerSource(cmd.Context(), text, 0)
			if err != nil {
				return err
			}
			return c.print(w, func() { fmt.Fprintf(c.stdout, "%s version %d, %d steps\n", w.Workflow, w.Version, w.Steps) })
		},
	}
	cmd.Flags().StringVar(&format, "format", "wfcommons", "format of the file")
	cmd.Flags().StringVar(&name, "name", "", "name of the workflow; default: the file's")
	cmd.Flags().StringVar(&queue, "queue", "", "queue of the steps")
	cmd.Flags().BoolVar(&register, "register", false, "register it, rather than print it")
	return cmd
}
