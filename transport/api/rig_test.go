package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// running is a server on a cluster.
type running struct {
	address string
	close   func() // once; the test's end does it otherwise
}

func run(t *testing.T, config Config) *running {
	t.Helper()
	config.Version, config.Patience = "test", 300*time.Millisecond
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	r := &running{address: l.Addr().String()}
	r.close = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(r.close)
	return r
}

// serve opens a server on a cluster, and returns its address.
func serve(t *testing.T, c Cluster) string {
	t.Helper()
	return run(t, Config{Cluster: c}).address
}

// clients are the generated ones, for a server.
type clients struct {
	lockstepv1.NamespaceServiceClient
	lockstepv1.WorkflowServiceClient
	lockstepv1.InstanceServiceClient
	lockstepv1.ScheduleServiceClient
	lockstepv1.WorkerServiceClient
	lockstepv1.LockServiceClient
	lockstepv1.LimitServiceClient
	lockstepv1.IncidentServiceClient
	lockstepv1.BulkServiceClient
	lockstepv1.ReconcileServiceClient
	lockstepv1.ReporterServiceClient
	lockstepv1.EventServiceClient
	lockstepv1.ClusterServiceClient
	lockstepv1.ExportServiceClient
}

func dial(t *testing.T, address string, options ...connect.ClientOption) *clients {
	http, url := hasty(t), "http://"+address
	return &clients{
		lockstepv1.NewNamespaceServiceClient(http, url, options...), lockstepv1.NewWorkflowServiceClient(http, url, options...),
		lockstepv1.NewInstanceServiceClient(http, url, options...), lockstepv1.NewScheduleServiceClient(http, url, options...), lockstepv1.NewWorkerServiceClient(http, url, options...),
		lockstepv1.NewLockServiceClient(http, url, options...), lockstepv1.NewLimitServiceClient(http, url, options...), lockstepv1.NewIncidentServiceClient(http, url, options...), lockstepv1.NewBulkServiceClient(http, url, options...), lockstepv1.NewReconcileServiceClient(http, url, options...), lockstepv1.NewReporterServiceClient(http, url, options...), lockstepv1.NewEventServiceClient(http, url, options...),
		lockstepv1.NewClusterServiceClient(http, url, options...), lockstepv1.NewExportServiceClient(http, url, options...),
	}
}

// hasty is a client that breaks its connections off when the test ends: a server that closes waits a second for those
// that are idle.
func hasty(t *testing.T) *http.Client {
	client := newHTTPClient()
	transport := client.Transport.(*http.Transport)
	dial := transport.DialContext
	var mu sync.Mutex // guards open
	var open []net.Conn
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err == nil {
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
		}
		return c, err
	}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	})
	return client
}

// must makes a call that is answered.
func must[Req, Res any](t *testing.T, method func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), r *Req) *Res {
	t.Helper()
	res, err := method(t.Context(), connect.NewRequest(r))
	if err != nil {
		t.Fatalf("%T: %v", r, err)
	}
	return res.Msg
}

// refusal makes a call that is refused.
func refusal[Req, Res any](t *testing.T, method func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), r *Req) *v1.Refusal {
	t.Helper()
	res, err := method(t.Context(), connect.NewRequest(r))
	if err == nil {
		t.Fatalf("%T was answered: %v", r, res.Msg)
	}
	return refusedBy(t, err)
}

// refusedBy is the refusal that an error brings, whose code must be its row's.
func refusedBy(t *testing.T, err error) *v1.Refusal {
	t.Helper()
	r := refusalOf(err)
	if r == nil {
		t.Fatalf("refused without a refusal: %v", err)
	}
	if connect.CodeOf(err) != codes[r.Code] {
		t.Errorf("%v came as %v", r.Code, connect.CodeOf(err))
	}
	return r
}

type answered[Res any] struct {
	msg *Res
	err error
}

// begun calls in a goroutine, and returns where the answer comes.
func begun[Req, Res any](t *testing.T, ctx context.Context, method func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), r *Req) <-chan answered[Res] {
	out := make(chan answered[Res], 1)
	var running sync.WaitGroup
	running.Go(func() {
		res, err := method(ctx, connect.NewRequest(r))
		a := answered[Res]{err: err}
		if err == nil {
			a.msg = res.Msg
		}
		out <- a
	})
	t.Cleanup(running.Wait)
	return out
}

// eventually looks until something is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// curl posts JSON over HTTP/1.1, as curl does.
func curl(t *testing.T, address, method, body string) (status int, reply map[string]any) {
	t.Helper()
	res, err := http.Post("http://"+address+"/lockstep.v1."+method, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&reply); err != nil {
		t.Fatalf("%s answered %s: %v", method, b, err)
	}
	return res.StatusCode, reply
}

// refused posts and returns the code of the refusal; empty when it was not refused.
func refused(t *testing.T, address, method, body string) string {
	t.Helper()
	status, reply := curl(t, address, method, body)
	if status == http.StatusOK {
		return ""
	}
	details, _ := reply["details"].([]any)
	for _, d := range details {
		debug, _ := d.(map[string]any)["debug"].(map[string]any)
		if code, ok := debug["code"].(string); ok {
			return strings.TrimPrefix(code, "CODE_")
		}
	}
	t.Fatalf("%s answered %d without a refusal: %v", method, status, reply)
	return ""
}
