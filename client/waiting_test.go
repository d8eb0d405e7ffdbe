package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// stoppable is a server in the process that can be stopped, as by SIGSTOP: calls arrive, and no answer leaves.
type stoppable struct {
	inProcess
	stopped atomic.Pointer[string] // its host
}

func (s *stoppable) stop(host string) { s.stopped.Store(&host) }

func (s *stoppable) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.inProcess.RoundTrip(r)
	if stopped := s.stopped.Load(); stopped != nil && *stopped == r.URL.Host {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return res, err
}

// stopFirst runs a test with two servers in virtual time.
func stopFirst(t *testing.T, test func(t *testing.T, f *fake, c *client.Client, s *stoppable)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.setLeader("first")
		s := &stoppable{inProcess: inProcess{f.mux}}
		c, err := client.New(client.Config{Servers: []string{"first", "second"}, HTTPClient: &http.Client{Transport: s}})
		if err != nil {
			t.Fatal(err)
		}
		test(t, f, c, s)
	})
}

// waits are calls that wait for what happens under an instance's or a lock's name, and may be made twice.
var waits = map[string]func(ctx context.Context, c *client.Client, s *client.Session) error{
	"WaitInstance": func(ctx context.Context, c *client.Client, _ *client.Session) error {
		_, err := c.Wait(ctx, "a")
		return err
	},
	"AcquireLock": func(ctx context.Context, _ *client.Client, s *client.Session) error {
		_, err := s.Lock(ctx, "l", client.LockOptions{Wait: time.Minute})
		return err
	},
	"PollSteps": func(ctx context.Context, c *client.Client, s *client.Session) error {
		_, err := c.Workers.PollSteps(ctx, connect.NewRequest(&v1.PollStepsRequest{
			SessionId: s.ID(), Queues: []string{"none"}, Count: 1, Wait: durationpb.New(10 * time.Second), RequestId: 1000,
		}))
		return err
	},
}

// Calls that wait leave a silent server with the calls that find out that another leads, and go on there.
func TestCallsThatWaitLeaveASilentServer(t *testing.T) {
	for method, wait := range waits {
		t.Run(method, func(t *testing.T) {
			stopFirst(t, func(t *testing.T, f *fake, c *client.Client, stopped *stoppable) {
				start(t, c, "a", nil)
				session, err := c.OpenSession(t.Context(), client.SessionConfig{TTL: time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				held, err := session.Lock(t.Context(), "l", client.LockOptions{})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				before := f.count(method)
				go func() { done <- wait(within(t), c, session) }()
				synctest.Wait()
				stopped.stop("first")
				f.setLeader("second")
				began := time.Now()
				if _, err := c.Get(within(t), "nobody"); !client.IsNotFound(err) {
					t.Fatal(err)
				}
				synctest.Wait()
				if asked, took := f.count(method)-before, time.Since(began); asked != 2 || took > time.Second {
					t.Errorf("asked %d times, %s after the first was stopped", asked, took)
				}
				if err := held.Release(t.Context()); err != nil {
					t.Error(err)
				}
				finishes(f, "a")
				if err := <-done; err != nil {
					t.Error(err)
				}
				if err := session.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// finishes ends an instance as by a worker that nobody sees.
func finishes(f *fake, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instances[id].State = completed
	f.event("instance.completed", id)
}

// A call that waits, and may not be made twice, stays.
func TestAWaitThatMayNotBeRepeatedStays(t *testing.T) {
	stopFirst(t, func(t *testing.T, f *fake, c *client.Client, stopped *stoppable) {
		session, err := c.OpenSession(t.Context(), client.SessionConfig{TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := c.Locks.AcquireLock(ctx, connect.NewRequest(&v1.AcquireLockRequest{SessionId: session.ID(), Lock: "l", Wait: durationpb.New(time.Minute)}))
			done <- err
		}()
		stopped.stop("first")
		f.setLeader("second")
		if _, err := c.Get(within(t), "nobody"); !client.IsNotFound(err) {
			t.Fatal(err)
		}
		if err := <-done; ctx.Err() == nil || f.count("AcquireLock") != 1 {
			t.Errorf("asked %d times: %v", f.count("AcquireLock"), err)
		}
		if err := session.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// relay carries connections to a server until it is stopped: then they stay up, and nothing comes through.
type relay struct {
	net.Listener
	to      string
	stopped chan struct{}
	end     chan struct{}
	tasks   sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: to, stopped: make(chan struct{}), end: make(chan struct{})}
	r.tasks.Go(r.run)
	t.Cleanup(func() {
		close(r.end)
		_ = l.Close()
		r.tasks.Wait()
	})
	return r
}

func (r *relay) run() {
	for {
		in, err := r.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		r.tasks.Go(func() { <-r.end; _, _ = in.Close(), out.Close() })
		r.tasks.Go(func() { r.carry(out, in) })
		r.tasks.Go(func() { r.carry(in, out) })
	}
}

func (r *relay) carry(to io.Writer, from io.Reader) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		select {
		case <-r.stopped:
			return
		default:
		}
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// relayed is a client whose first server, which leads, can be stopped, and whose connections stay up for ever.
func relayed(t *testing.T) (f *fake, c *client.Client, stop func(), well string) {
	t.Helper()
	f = newFake()
	server := f.serve()
	well = strings.TrimPrefix(server.URL, "http://")
	first := newRelay(t, well)
	f.setLeader(first.Addr().String())
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	c, err := client.New(client.Config{Servers: []string{first.Addr().String(), well}, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	return f, c, func() { f.setLeader(well); close(first.stopped) }, "http://" + well
}

// A stream that owes an answer to a result is left when its server is silent and another leads; the result is told there.
func TestAStreamThatOwesAnAnswerIsLeft(t *testing.T) {
	f, c, stop, well := relayed(t)
	start(t, c, "a", nil)
	var runs atomic.Int64
	answered := make(chan error, 1)
	began := make(chan time.Time, 1)
	end := work(t, c, client.WorkerConfig{
		Session: client.SessionConfig{TTL: time.Minute},
		Handler: func(context.Context, *client.Step) (any, error) {
			runs.Add(1)
			stop()
			began <- time.Now()
			return nil, nil
		},
		Answered: func(_ *client.Step, err error) { answered <- err },
	})
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if took := time.Since(<-began); took > 10*time.Second {
		t.Errorf("the answer took %s", took)
	}
	end()
	if runs.Load() != 1 || f.count("Work") != 2 || c.Server() != well {
		t.Errorf("%d runs over %d streams; asks %s first", runs.Load(), f.count("Work"), c.Server())
	}
}

// A stream that nothing is asked of is left with the calls that find out, and so is a watch: what happens elsewhere comes
// through at once.
func TestIdleStreamsAreLeft(t *testing.T) {
	f, c, stop, well := relayed(t)
	ran := make(chan struct{})
	end := work(t, c, client.WorkerConfig{
		Queues:  []string{"default"},
		Session: client.SessionConfig{TTL: time.Minute},
		Handler: func(context.Context, *client.Step) (any, error) { close(ran); return nil, nil },
	})
	seen := make(chan error, 1)
	watching, enough := context.WithCancel(within(t))
	defer enough()
	go func() {
		for e, err := range c.Watch(watching, client.WatchOptions{Types: []string{"lockstep.instance.started.v1"}}) {
			if err == nil && e.Data.InstanceId == "" {
				err = errors.New("an event of no instance")
			}
			seen <- err
			return
		}
	}()
	if !f.await(within(t), time.Minute, func() bool { return f.calls["Work"] > 0 }) {
		t.Fatal("no stream was opened")
	}
	stop()
	start(t, c, "a", nil)
	<-ran
	if err := <-seen; err != nil {
		t.Error(err)
	}
	end()
	if f.count("Work") != 2 || c.Server() != well {
		t.Errorf("%d streams; asks %s first", f.count("Work"), c.Server())
	}
}
