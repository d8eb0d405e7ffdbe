package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// cluster is a fake served at so many addresses, and a client of it.
func cluster(t *testing.T, servers int) (*fake, *client.Client, []*httptest.Server) {
	t.Helper()
	f := newFake()
	var all []*httptest.Server
	var config client.Config
	for range servers {
		server := f.serve()
		all = append(all, server)
		config.Servers = append(config.Servers, server.URL)
	}
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		for _, server := range all {
			server.CloseClientConnections()
			server.Close()
		}
	})
	return f, c, all
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// work runs a worker until the test's end, or until stop.
func work(t *testing.T, c *client.Client, config client.WorkerConfig) (stop func()) {
	t.Helper()
	w, err := c.Worker(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	var once atomic.Bool
	stop = func() {
		cancel()
		if once.CompareAndSwap(false, true) {
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func start(t *testing.T, c *client.Client, id string, input any) {
	t.Helper()
	if _, err := c.Start(within(t), "default", id, input, client.StartOptions{}); err != nil {
		t.Fatal(err)
	}
}

func ended(t *testing.T, c *client.Client, id string, want v1.InstanceState) *v1.Instance {
	t.Helper()
	i, err := c.Wait(within(t), id)
	if err != nil {
		t.Fatal(err)
	}
	if i.State != want {
		t.Fatalf("instance %s is %s, want %s", id, i.State, want)
	}
	return i
}

func nothing(context.Context, *client.Step) (any, error) { return nil, nil }

const completed = v1.InstanceState_INSTANCE_STATE_COMPLETED

// A worker does what is queued and what comes later, over a stream and by polling.
func TestWorker(t *testing.T) {
	for _, poll := range []bool{false, true} {
		t.Run(fmt.Sprintf("poll=%t", poll), func(t *testing.T) {
			f, c, _ := cluster(t, 1)
			for n := range 50 {
				start(t, c, fmt.Sprint(n), n)
			}
			var now, most atomic.Int64
			stop := work(t, c, client.WorkerConfig{Poll: poll, Concurrency: 4, Handler: func(ctx context.Context, s *client.Step) (any, error) {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				var n int
				err := s.Input(&n)
				return n * 2, err
			}})
			for n := 50; n < 60; n++ {
				start(t, c, fmt.Sprint(n), n)
			}
			for n := range 60 {
				var out int
				if err := client.Output(ended(t, c, fmt.Sprint(n), completed), &out); err != nil || out != n*2 {
					t.Fatalf("output of %d is %d, %v", n, out, err)
				}
			}
			stop()
			if got := most.Load(); got > 4 || got < 1 {
				t.Errorf("%d steps ran at a time", got)
			}
			if streams := f.count("Work"); (streams == 0) != poll {
				t.Errorf("%d streams", streams)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if len(f.sessions) != 0 {
				t.Errorf("%d sessions left open", len(f.sessions))
			}
		})
	}
}

// Through HTTP/1.1 there are no streams: the worker finds out, and polls.
func TestWorkerFallsBackToPolling(t *testing.T) {
	f := newFake()
	server := httptest.NewServer(f.mux)
	defer server.Close()
	c, err := client.New(client.Config{Servers: []string{server.URL}, HTTPClient: server.Client(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	start(t, c, "a", nil)
	defer work(t, c, client.WorkerConfig{Handler: func(context.Context, *client.Step) (any, error) { return "done", nil }})()
	ended(t, c, "a", completed)
}

// The stream breaks while a step runs: it goes on, and is completed over the next stream.
func TestWorkerReconnects(t *testing.T) {
	f, c, servers := cluster(t, 2)
	start(t, c, "a", nil)
	running, goOn := make(chan struct{}), make(chan struct{})
	var runs atomic.Int64
	defer work(t, c, client.WorkerConfig{Handler: func(ctx context.Context, s *client.Step) (any, error) {
		runs.Add(1)
		close(running)
		<-goOn
		return nil, ctx.Err()
	}})()
	<-running
	servers[0].CloseClientConnections()
	servers[0].Close()
	close(goOn)
	ended(t, c, "a", completed)
	if runs.Load() != 1 || f.count("Work") < 2 {
		t.Errorf("%d runs over %d streams, want 1 over 2", runs.Load(), f.count("Work"))
	}
}

// A stream goes to the leader, whichever server was asked first.
func TestWorkerSeeksLeader(t *testing.T) {
	f, c, servers := cluster(t, 3)
	f.mu.Lock()
	f.leader = strings.TrimPrefix(servers[2].URL, "http://")
	f.mu.Unlock()
	start(t, c, "a", nil)
	defer work(t, c, client.WorkerConfig{Handler: nothing})()
	ended(t, c, "a", completed)
	if got := c.Server(); got != servers[2].URL {
		t.Errorf("asks %s first", got)
	}
}

// What a handler returns decides what becomes of its run.
func TestWorkerResults(t *testing.T) {
	_, c, _ := cluster(t, 1)
	var releases atomic.Int64
	refused := make(chan error, 10)
	defer work(t, c, client.WorkerConfig{
		Concurrency: 3,
		Handlers: map[string]client.Handler{"work": func(ctx context.Context, s *client.Step) (any, error) {
			switch s.InstanceID {
			case "panic":
				panic("at the disco")
			case "fail":
				return nil, client.Fail("NO", "never")
			case "large":
				return make([]byte, 300<<10), nil
			case "unencodable":
				return func() {}, nil
			case "release":
				if releases.Add(1) < 3 {
					return nil, client.Release()
				}
			}
			return nil, nil
		}},
		Answered: func(_ *client.Step, err error) {
			if err != nil {
				refused <- err
			}
		},
	})()
	for _, id := range []string{"panic", "fail", "large", "unencodable"} {
		start(t, c, id, nil)
		ended(t, c, id, v1.InstanceState_INSTANCE_STATE_FAILED)
	}
	start(t, c, "release", nil)
	ended(t, c, "release", completed)
	if releases.Load() != 3 {
		t.Errorf("released %d times", releases.Load()-1)
	}
	if len(refused) > 0 {
		t.Errorf("refused: %v", <-refused)
	}
}

// The cluster ends the session: the step's context ends with that cause, the worker opens another and does it again, and
// the late result of the first is refused.
func TestWorkerLosesSession(t *testing.T) {
	f, c, _ := cluster(t, 1)
	start(t, c, "a", nil)
	running, refused := make(chan *client.Step, 2), make(chan error, 10)
	stop := work(t, c, client.WorkerConfig{
		Session: client.SessionConfig{TTL: time.Second},
		Handler: func(ctx context.Context, s *client.Step) (any, error) {
			running <- s
			if s.Attempt == 1 {
				<-ctx.Done()
				if cause := context.Cause(ctx); !errors.Is(cause, client.ErrSessionExpired) {
					t.Errorf("cause is %v", cause)
				}
			}
			return s.Attempt, nil
		},
		Answered: func(s *client.Step, err error) {
			if s.Attempt == 1 {
				refused <- err
			}
		},
	})
	f.expire((<-running).SessionID)
	ended(t, c, "a", completed)
	if second := <-running; second.Attempt != 2 {
		t.Errorf("attempt %d", second.Attempt)
	}
	if err := <-refused; !client.IsFenced(err) {
		t.Errorf("late completion: %v", err)
	}
	stop()
}

// A cancelled instance ends the context of its step.
func TestWorkerIsCancelled(t *testing.T) {
	_, c, _ := cluster(t, 1)
	start(t, c, "a", nil)
	causes := make(chan error, 10)
	running := make(chan struct{}, 10)
	stop := work(t, c, client.WorkerConfig{
		Session: client.SessionConfig{TTL: 6 * time.Second},
		Handler: func(ctx context.Context, s *client.Step) (any, error) {
			running <- struct{}{}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return nil, nil
		},
	})
	<-running
	if _, err := c.Cancel(within(t), "a", "enough"); err != nil {
		t.Fatal(err)
	}
	if cause := <-causes; !errors.Is(cause, client.ErrCancelled) {
		t.Errorf("cause is %v", cause)
	}
	stop()
}

// A worker that is told to stop lets its step finish within its grace, and releases it after that.
func TestWorkerStops(t *testing.T) {
	t.Run("finishes", func(t *testing.T) {
		_, c, _ := cluster(t, 1)
		start(t, c, "a", nil)
		running, goOn := make(chan struct{}), make(chan struct{})
		stop := work(t, c, client.WorkerConfig{Handler: func(ctx context.Context, s *client.Step) (any, error) {
			close(running)
			<-goOn
			return nil, ctx.Err()
		}})
		<-running
		time.AfterFunc(50*time.Millisecond, func() { close(goOn) })
		stop()
		ended(t, c, "a", completed)
	})
	t.Run("releases", func(t *testing.T) {
		f, c, _ := cluster(t, 1)
		start(t, c, "a", nil)
		running := make(chan struct{})
		stop := work(t, c, client.WorkerConfig{Grace: -1, Handler: func(ctx context.Context, s *client.Step) (any, error) {
			close(running)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}})
		<-running
		stop()
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.ready) != 1 || len(f.sessions) != 0 {
			t.Errorf("%d ready, %d sessions", len(f.ready), len(f.sessions))
		}
	})
}

// A worker is refused by name when what it needs is missing.
func TestWorkerConfig(t *testing.T) {
	_, c, _ := cluster(t, 1)
	for _, config := range []client.WorkerConfig{{}, {Concurrency: -1, Handler: nothing}, {Concurrency: 10_001, Handler: nothing}} {
		if _, err := c.Worker(config); err == nil {
			t.Errorf("%+v was taken", config)
		}
	}
	for _, config := range []client.Config{{}, {Servers: []string{"ftp://x"}}, {Servers: []string{""}}} {
		if _, err := client.New(config); err == nil {
			t.Errorf("%+v was taken", config)
		}
	}
}
