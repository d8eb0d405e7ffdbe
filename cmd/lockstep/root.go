package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// version is set by the build: -ldflags "-X main.version=..."
var version = "dev"

// Exit statuses. `lock run` has three of its own (lockrun.go).
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// cli is one invocation.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	servers             []string
	namespace           string
	json                bool
	principal, credfile string
}

// exitError ends the process with a status of its own, and says nothing more when it has no error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake in the command itself.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the command line: it returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{stdin: stdin, stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit *exitError
	var wrong usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(stderr, "lockstep:", c.explain(exit.err))
		}
		return exit.code
	case errors.As(err, &wrong), isUsage(err):
		fmt.Fprintln(stderr, "lockstep:", err)
		return exitUsage
	}
	fmt.Fprintln(stderr, "lockstep:", c.explain(err))
	return exitFailed
}

// isUsage recognises cobra's own complaints.
func isUsage(err error) bool {
	for _, prefix := range [...]string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires ", "required flag", "invalid argument", "flag needs an argument"} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}

// root is the tree of commands.
func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "lockstep",
		Short:         "Lockstep coordinates workflows: exactly one worker advances each step",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return fromEnvironment(cmd.Flags())
		},
	}
	flags := root.PersistentFlags()
	flags.StringSliceVar(&c.servers, "server", []string{"127.0.0.1:7400"}, "API addresses of the cluster's nodes")
	flags.StringVar(&c.namespace, "namespace", "", "namespace; empty is the default one")
	flags.BoolVar(&c.json, "json", false, "print the reply as JSON")
	flags.StringVar(&c.principal, "principal", os.Getenv("USER"), "who asks, as the history has it")
	flags.StringVar(&c.credfile, "credential-file", "", "reserved; not in effect until there is authentication")
	root.AddCommand(
		c.serverCommand(), c.demoCommand(), c.benchCommand(), c.devCommand(), c.clusterCommand(), c.initCommand(), c.versionCommand(),
		c.namespaceCommand(), c.workflowCommand(), c.instanceCommand(), c.scheduleCommand(), c.stepCommand(), c.workerCommand(),
		c.queueCommand(), c.lockCommand(), c.limitCommand(), c.incidentCommand(), c.bulkCommand(), c.reconcileCommand(), c.reporterCommand(), c.sessionCommand(), c.memberCommand(),
	)
	root.AddCommand(c.demoParts()...)
	return root
}

// fromEnvironment takes flags that were not given from LOCKSTEP_*.
func fromEnvironment(flags *pflag.FlagSet) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "LOCKSTEP_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, set := os.LookupEnv(name)
		if !set || f.Changed || reservedEnvironment[f.Name] {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			failed = usage("%s: %v", name, err)
		}
	})
	return failed
}

// reservedEnvironment are names that the exec contract gives another meaning: a step's environment must not set flags
// of a command that a worker's script runs, other than by intent.
var reservedEnvironment = map[string]bool{"version": true, "input": true, "index": true, "attempt": true}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		fmt.Fprintln(c.stdout, "lockstep", version)
		return nil
	}}
}

// services are clients of every service, on whichever of the servers answers.
type services struct {
	namespaces lockstepv1.NamespaceServiceClient
	workflows  lockstepv1.WorkflowServiceClient
	instances  lockstepv1.InstanceServiceClient
	schedules  lockstepv1.ScheduleServiceClient
	workers    lockstepv1.WorkerServiceClient
	locks      lockstepv1.LockServiceClient
	limits     lockstepv1.LimitServiceClient
	incidents  lockstepv1.IncidentServiceClient
	bulks      lockstepv1.BulkServiceClient
	reconcile  lockstepv1.ReconcileServiceClient
	reporters  lockstepv1.ReporterServiceClient
	events     lockstepv1.EventServiceClient
	cluster    lockstepv1.ClusterServiceClient
	exports    lockstepv1.ExportServiceClient
}

// newHTTPClient speaks HTTP/2 without TLS, and notices soon when a server does not answer.
func newHTTPClient() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		Protocols:   protocols,
		DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		HTTP2:       &http.HTTP2Config{SendPingTimeout: 3 * time.Second, PingTimeout: 3 * time.Second},
	}}
}

func servicesAt(client connect.HTTPClient, address string) *services {
	url := address
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	return &services{
		namespaces: lockstepv1.NewNamespaceServiceClient(client, url),
		workflows:  lockstepv1.NewWorkflowServiceClient(client, url),
		instances:  lockstepv1.NewInstanceServiceClient(client, url),
		schedules:  lockstepv1.NewScheduleServiceClient(client, url),
		workers:    lockstepv1.NewWorkerServiceClient(client, url),
		locks:      lockstepv1.NewLockServiceClient(client, url),
		limits:     lockstepv1.NewLimitServiceClient(client, url),
		incidents:  lockstepv1.NewIncidentServiceClient(client, url),
		bulks:      lockstepv1.NewBulkServiceClient(client, url),
		reconcile:  lockstepv1.NewReconcileServiceClient(client, url),
		reporters:  lockstepv1.NewReporterServiceClient(client, url),
		events:     lockstepv1.NewEventServiceClient(client, url),
		cluster:    lockstepv1.NewClusterServiceClient(client, url),
		exports:    lockstepv1.NewExportServiceClient(client, url),
	}
}

// ask makes a call to the servers in turn, until one can be reached. Every command of the command line may be made
// again: it names an instance, a token, or only reads.
func ask[Req, Res any](ctx context.Context, c *cli, call func(*services) func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), r *Req) (*Res, error) {
	client := newHTTPClient()
	var last error
	for _, server := range c.servers {
		request := connect.NewRequest(r)
		if c.principal != "" {
			request.Header().Set("Lockstep-Principal", c.principal)
		}
		res, err := call(servicesAt(client, server))(ctx, request)
		if err == nil {
			return res.Msg, nil
		}
		last = err
		if refusal(err) != nil || connect.CodeOf(err) != connect.CodeUnavailable {
			return nil, err
		}
	}
	return nil, &unreachable{c.servers, last}
}

// unreachable: no server answered.
type unreachable struct {
	servers []string
	last    error
}

func (e *unreachable) Error() string {
	return fmt.Sprintf("no server answers at %s (%v); start one with `lockstep dev`, or name others with --server", strings.Join(e.servers, ", "), e.last)
}

// refusal finds what a server refused with.
func refusal(err error) *v1.Refusal {
	var remote *connect.Error
	if !errors.As(err, &remote) {
		return nil
	}
	for _, detail := range remote.Details() {
		if value, err := detail.Value(); err == nil {
			if r, ok := value.(*v1.Refusal); ok {
				return r
			}
		}
	}
	return nil
}

// explain says an error to people.
func (c *cli) explain(err error) string {
	if r := refusal(err); r != nil {
		return r.Reason + " (" + strings.TrimPrefix(r.Code.String(), "CODE_") + ")"
	}
	return err.Error()
}
