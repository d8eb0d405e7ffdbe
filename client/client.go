// Package client is the Go client of Lockstep: workers that run steps, sessions that hold leases and locks, and everything
// else that the API offers, with fail-over between the servers of a cluster.
//
// A call is tried until it is answered or its context ends. Calls that may be done twice without harm are tried again also
// when it is unknown whether they were done; others then return a *Refusal with UNKNOWN_OUTCOME. Give each call a context
// with a deadline, or it waits for as long as no server answers.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// DefaultNamespace is where calls go unless told otherwise.
const DefaultNamespace = "default"

// Config says which cluster to talk to.
type Config struct {
	// Servers are API addresses: "host:port", or "http://" or "https://" before it. At least one; the first is asked first.
	Servers []string
	// Namespace of all calls; empty means DefaultNamespace.
	Namespace string
	// HTTPClient carries the calls. Nil means one that speaks HTTP/2, over http:// without TLS, and notices within three
	// seconds when a server stops answering. Calls that may be made twice, and workers' streams that owe an answer, leave it
	// sooner, once another says that it leads, and what waits leaves with them. With a client that speaks HTTP/1.1, where a
	// proxy lets nothing else through, workers poll instead of holding a stream open.
	HTTPClient *http.Client
	// Logger is told of retries, reconnects and lost leases. Nil means silence.
	Logger *slog.Logger
	// Author is the name sent with each call, for the history. Until servers authenticate it is taken at its word.
	Author string
}

// Validate says what is wrong with a configuration.
func (c *Config) Validate() error {
	if len(c.Servers) == 0 {
		return errors.New("client: no server given; name at least one, as in 127.0.0.1:7400")
	}
	for _, server := range c.Servers {
		if _, err := address(server, "http"); err != nil {
			return err
		}
	}
	return nil
}

// address is a server's base URL without a slash at its end.
func address(server, scheme string) (string, error) {
	if !strings.Contains(server, "://") {
		server = scheme + "://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("client: server %q is not host:port, http://host:port or https://host:port", server)
	}
	return strings.TrimSuffix(u.Scheme+"://"+u.Host+u.Path, "/"), nil
}

// Client talks to one cluster. It is safe for concurrent use, and runs no goroutine of its own.
//
// Its fields are the generated services: every call of the API, with fail-over and with refusals as *Refusal. Requests to
// them name their namespace themselves. The methods are what is more convenient than that.
type Client struct {
	Namespaces lockstepv1connect.NamespaceServiceClient
	Workflows  lockstepv1connect.WorkflowServiceClient
	Instances  lockstepv1connect.InstanceServiceClient
	Schedules  lockstepv1connect.ScheduleServiceClient
	Workers    lockstepv1connect.WorkerServiceClient
	Locks      lockstepv1connect.LockServiceClient
	Limits     lockstepv1connect.LimitServiceClient
	Incidents  lockstepv1connect.IncidentServiceClient
	Bulks      lockstepv1connect.BulkServiceClient
	Reconcile  lockstepv1connect.ReconcileServiceClient
	Reporters  lockstepv1connect.ReporterServiceClient
	Events     lockstepv1connect.EventServiceClient
	Cluster    lockstepv1connect.ClusterServiceClient
	Exports    lockstepv1connect.ExportServiceClient

	namespace string
	logger    *slog.Logger
	router    *router
	http      *http.Client
	own       bool
}

// New makes a client. It connects when it is first used.
func New(config Config) (*Client, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	c := &Client{namespace: config.Namespace, logger: config.Logger, http: config.HTTPClient}
	if c.namespace == "" {
		c.namespace = DefaultNamespace
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.http == nil {
		c.http, c.own = newHTTPClient(), true
	}
	c.router = newRouter(config.Servers, config.Author, c.logger)
	carrier, base := &carrier{c.http}, "http://lockstep"
	option := connect.WithInterceptors(c.router)
	c.Namespaces = lockstepv1connect.NewNamespaceServiceClient(carrier, base, option)
	c.Workflows = lockstepv1connect.NewWorkflowServiceClient(carrier, base, option)
	c.Instances = lockstepv1connect.NewInstanceServiceClient(carrier, base, option)
	c.Schedules = lockstepv1connect.NewScheduleServiceClient(carrier, base, option)
	c.Workers = lockstepv1connect.NewWorkerServiceClient(carrier, base, option)
	c.Locks = lockstepv1connect.NewLockServiceClient(carrier, base, option)
	c.Limits = lockstepv1connect.NewLimitServiceClient(carrier, base, option)
	c.Incidents = lockstepv1connect.NewIncidentServiceClient(carrier, base, option)
	c.Bulks = lockstepv1connect.NewBulkServiceClient(carrier, base, option)
	c.Reconcile = lockstepv1connect.NewReconcileServiceClient(carrier, base, option)
	c.Reporters = lockstepv1connect.NewReporterServiceClient(carrier, base, option)
	c.Events = lockstepv1connect.NewEventServiceClient(carrier, base, option)
	c.Cluster = lockstepv1connect.NewClusterServiceClient(carrier, base, option)
	c.Exports = lockstepv1connect.NewExportServiceClient(carrier, base, option)
	c.router.leaderOf = asker(lockstepv1connect.NewClusterServiceClient(carrier, base))
	return c, nil
}

// Namespace is where the client's methods work.
func (c *Client) Namespace() string { return c.namespace }

// Server is the base URL of the server that is asked first now.
func (c *Client) Server() string { return c.router.server() }

// seek asks who leads, and has it be asked first from now on. Every server takes every call, and passes it on if it must: what
// lasts long is worth not being passed on. A server that does not know is none the worse.
func (c *Client) seek(ctx context.Context, patience time.Duration) {
	status, err := ask(once(ctx, patience), c.Cluster.GetStatus, &v1.GetStatusRequest{Local: true})
	if err == nil && len(status.Groups) == 1 {
		c.router.led(status.Groups[0].LeaderApi)
	}
}

// Close closes connections that are idle. Close sessions and end workers before.
func (c *Client) Close() {
	if c.own {
		c.http.CloseIdleConnections()
	}
}

// ask makes a unary call with plain messages.
func ask[Req, Res any](ctx context.Context, call func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), req *Req) (*Res, error) {
	res, err := call(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}
