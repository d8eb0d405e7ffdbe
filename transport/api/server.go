// Package api answers Lockstep's clients: Connect, gRPC and JSON over HTTP on one port, and beside it health,
// reflection, metrics and a status page. It sees the cluster through the interface in cluster.go.
//
// A call's path: the handler (one file per noun) checks its shape and makes a command of it, or reads; forward.go
// has the leader answer what this node cannot; codes.go gives a refusal its code and detail.
package api

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"github.com/hashicorp/go-hclog"

	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// Config of a server.
type Config struct {
	Cluster Cluster
	// Version of this binary, for those who ask for the status.
	Version string
	// Metrics are told of calls; default: new ones.
	Metrics *Metrics
	// Patience is how long a call waits for a leader to be known, before it is refused; default 3 s.
	Patience time.Duration
	// Debug answers what is asked below /debug/; nil: nobody does.
	Debug  http.Handler
	Logger hclog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Cluster == nil {
		return c, errors.New("api: Cluster is needed")
	}
	if c.Patience < 0 {
		return c, fmt.Errorf("api: Patience is %s", c.Patience)
	}
	if c.Patience == 0 {
		c.Patience = 3 * time.Second
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	return c, nil
}

// Server is the API of a node. Serve it, then Close it. One goroutine (leavers) runs from New until Close.
type Server struct {
	service *service
	http    *http.Server
}

// service has the handlers.
type service struct {
	config  Config
	cluster Cluster
	http    *http.Client
	page    *template.Template
	leavers *leavers
	ctx     context.Context // ends when the server closes, and with it what would go on for long
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
}

// maxRequest bounds what one message may hold in all; each thing in it has a limit of its own.
const maxRequest = 8 << 20

// minCompressed is the size from which an answer is compressed for who takes it so: below it, compressing costs more time
// than sending does.
const minCompressed = 16 << 10

// New makes a server.
func New(c Config) (*Server, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &service{config: c, cluster: c.Cluster, http: newHTTPClient()}
	if s.page, err = parsePage(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.leavers = newLeavers(s)
	s.tasks.Go(s.leavers.run)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	// Neither reading nor writing has a time limit: streams last.
	server := &http.Server{
		Handler:           s.handler(),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second, MaxConcurrentStreams: 10_000},
		ErrorLog:          c.Logger.Named("http").StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}),
	}
	return &Server{s, server}, nil
}

// Handler answers every path.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers until Close.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(metered{l, s.service.config.Metrics}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve API: %w", err)
	}
	return nil
}

// Close ends streams and waits, lets short calls finish until the context ends, and closes the port.
func (s *Server) Close(ctx context.Context) error {
	s.service.cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.service.tasks.Wait()
	s.service.http.CloseIdleConnections()
	return err
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(maxRequest),
		connect.WithCompressMinBytes(minCompressed),
		withJSON(),
		connect.WithInterceptors(s.config.Metrics),
	}
	mux.Handle(lockstepv1.NewNamespaceServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewWorkflowServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewInstanceServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewScheduleServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewExportServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewWorkerServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewLockServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewLimitServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewIncidentServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewBulkServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewReconcileServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewReporterServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewEventServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewClusterServiceHandler(s, options...))
	reflector := grpcreflect.NewStaticReflector(services()...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	mux.Handle(grpchealth.NewHandler(s))
	mux.Handle("/metrics", s.config.Metrics.handler(s.cluster))
	if s.config.Debug != nil {
		mux.Handle("/debug/", s.config.Debug)
	}
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", s.readyz)
	mux.HandleFunc("/{$}", s.statusPage)
	return withCork(mux)
}

func services() []string {
	return []string{
		lockstepv1.NamespaceServiceName, lockstepv1.WorkflowServiceName, lockstepv1.InstanceServiceName, lockstepv1.ScheduleServiceName, lockstepv1.WorkerServiceName,
		lockstepv1.LockServiceName, lockstepv1.LimitServiceName, lockstepv1.IncidentServiceName, lockstepv1.BulkServiceName, lockstepv1.ReconcileServiceName, lockstepv1.ReporterServiceName, lockstepv1.EventServiceName, lockstepv1.ClusterServiceName, lockstepv1.ExportServiceName,
	}
}
