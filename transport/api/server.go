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
	Version string
	Metrics *Metrics
	Logger  hclog.Logger
}

// Server is the API of a node. Serve it, then Close it; Close ends its goroutines.
type Server struct {
	service *service
	http    *http.Server
}

// service has the handlers. Goroutines that drop the waits of callers that left are in tasks.
type service struct {
	config  Config
	cluster Cluster
	http    *http.Client
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
}

const maxRequest = 8 << 20

// New makes a server.
func New(c Config) (*Server, error) {
	if c.Cluster == nil {
		return nil, errors.New("api: Cluster is needed")
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	s := &service{config: c, cluster: c.Cluster, http: newHTTPClient()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           s.handler(),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second, MaxConcurrentStreams: 10_000},
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ErrorLog:          c.Logger.Named("http").StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}),
	}
	return &Server{s, server}, nil
}

// Handler answers every path.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers until Close.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve API: %w", err)
	}
	return nil
}

// Close ends streams and waits, lets short calls finish, and closes the port.
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
		connect.WithInterceptors(s.config.Metrics.interceptor()),
	}
	mux.Handle(lockstepv1.NewNamespaceServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewWorkflowServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewInstanceServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewWorkerServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewLockServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewEventServiceHandler(s, options...))
	mux.Handle(lockstepv1.NewClusterServiceHandler(s, options...))
	services := []string{
		lockstepv1.NamespaceServiceName, lockstepv1.WorkflowServiceName, lockstepv1.InstanceServiceName, lockstepv1.WorkerServiceName,
		lockstepv1.LockServiceName, lockstepv1.EventServiceName, lockstepv1.ClusterServiceName,
	}
	reflector := grpcreflect.NewStaticReflector(services...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	mux.Handle(grpchealth.NewHandler(s))
	mux.Handle("/metrics", s.config.Metrics.handler(s.cluster))
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", s.readyz)
	mux.HandleFunc("/{$}", s.statusPage)
	return mux
}

// leaderHealth is the health service's name for "this node leads and answers".
const leaderHealth = "lockstep.v1.Leader"

// Check implements grpchealth.Checker.
func (s *service) Check(_ context.Context, r *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if r.Service == leaderHealth {
		if _, self := s.cluster.Leader(""); !self {
			return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
		}
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}

// readyz: this node can have a call answered, for it knows a leader.
func (s *service) readyz(w http.ResponseWriter, _ *http.Request) {
	api, self := s.cluster.Leader("")
	if api == "" && !self {
		http.Error(w, "no leader is known", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
