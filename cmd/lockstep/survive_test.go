package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/cmd/lockstep/local"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

var (
	surviveWrites = flag.Int("survive.writes", 1500, "acknowledged writes before every node is killed at once")
	surviveNodes  = flag.Int("survive.nodes", 3, "nodes: 3 or 5")
)

// hurt is a cluster of real processes that a test hurts.
type hurt struct {
	t *testing.T
	*local.Cluster
	http  *http.Client
	tasks sync.WaitGroup // what the test runs beside itself
	// hangs is a node that is not asked: its process cannot end and does not answer, and a call to it lasts until its
	// connection is given up, which is no measure of the cluster.
	hangs atomic.Int32
}

// services of a node, by its place in Nodes.
func (h *hurt) services(at int) *services { return servicesAt(h.http, h.Nodes[at].API) }

func newHurt(t *testing.T, size int, args ...string) *hurt {
	t.Helper()
	h := createHurt(t, size, args...)
	for _, n := range h.Nodes {
		h.start(n.Number)
	}
	return h
}

// createHurt makes a cluster and starts nothing.
func createHurt(t *testing.T, size int, args ...string) *hurt {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := local.Create(local.Config{Dir: filepath.Join(t.TempDir(), "c"), Binary: binary, Size: size, Args: append([]string{"--log-level", "warn"}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	h := &hurt{t: t, Cluster: c, http: newHTTPClient()}
	t.Cleanup(func() {
		h.http.CloseIdleConnections()
		if err := c.Down(5 * time.Second); err != nil {
			t.Errorf("down: %v", err)
		}
		if t.Failed() {
			for _, n := range c.Nodes {
				log, err := os.ReadFile(c.Log(n.Number))
				t.Logf("node %d (%v):\n%s", n.Number, err, log[max(0, len(log)-3000):])
			}
		}
	})
	return h
}

func (h *hurt) start(number int) {
	h.t.Helper()
	if err := h.StartAttached(number); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hurt) kill(number int) {
	h.t.Helper()
	if err := h.Kill(number); err != nil {
		h.t.Fatal(err)
	}
}

// leader waits until one of the running nodes says that it leads.
func (h *hurt) leader() int {
	h.t.Helper()
	client := newHTTPClient()
	defer client.CloseIdleConnections()
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) { // polls processes, which have no channel
		for _, n := range h.Nodes {
			ctx, cancel := context.WithTimeout(h.t.Context(), 500*time.Millisecond)
			status, err := servicesAt(client, n.API).cluster.GetStatus(ctx, connect.NewRequest(&v1.GetStatusRequest{}))
			cancel()
			if err == nil && status.Msg.Groups[0].State == "Leader" && status.Msg.Groups[0].LeaderId == status.Msg.NodeId {
				return n.Number
			}
		}
	}
	h.t.Fatal("nobody leads")
	return 0
}

// writer writes to whichever node answers, until it is told to stop, and keeps what was acknowledged: outside of the
// processes that acknowledged it.
type writer struct {
	apis []string
	name string
	rest time.Duration

	mu    sync.Mutex // guards acked
	acked []string
}

const writesAtOnce = 25

func (w *writer) run(ctx context.Context) {
	client := newHTTPClient()
	defer client.CloseIdleConnections()
	for n, at := 0, 0; ctx.Err() == nil; {
		r := &v1.StartInstancesRequest{}
		for i := range writesAtOnce {
			r.Instances = append(r.Instances, &v1.StartInstanceRequest{InstanceId: fmt.Sprintf("%s-%d", w.name, n+i), Workflow: "w"})
		}
		call, cancel := context.WithTimeout(ctx, 2*time.Second)
		res, err := servicesAt(client, w.apis[at%len(w.apis)]).instances.StartInstances(call, connect.NewRequest(r))
		cancel()
		if err != nil {
			at++ // the same again elsewhere: the ids make it safe
			continue
		}
		w.mu.Lock()
		for i, o := range res.Msg.Outcomes {
			if o.Refusal == nil {
				w.acked = append(w.acked, r.Instances[i].InstanceId)
			}
		}
		w.mu.Unlock()
		n += writesAtOnce
		select {
		case <-time.After(w.rest): // the writer's own rate
		case <-ctx.Done():
		}
	}
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

func (h *hurt) until(what string, ok func() bool) {
	h.t.Helper()
	for limit := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) { // polls processes
		if time.Now().After(limit) {
			h.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// more says whether a count has grown by a number from now on.
func (h *hurt) more(count func() int, by int) func() bool {
	from := count()
	return func() bool { return count() > from+by }
}

// A minority is killed and paused, and work goes on; then every node is killed at once and started again, and of what
// was acknowledged nothing is lost, and a lease has what was left of it.
func TestWhatIsAcknowledgedSurvives(t *testing.T) {
	h := newHurt(t, *surviveNodes)
	h.leader()
	c := &cli{servers: h.APIs()}
	if _, err := c.registerSource(t.Context(), []byte("workflow: w\nsteps: {a: {queue: q}}\n"), 0); err != nil {
		t.Fatal(err)
	}
	session := h.openSession(c, 10*time.Minute)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writers, total := h.write(ctx, "w", 0)
	goesOn := func(what string) { h.until(what, h.more(total, 200)) }
	goesOn("writing")
	lead := h.leader()
	h.kill(lead)
	goesOn("after the leader was killed")
	h.start(lead)
	lead = h.leader()
	if err := h.Pause(lead); err != nil {
		t.Fatal(err)
	}
	goesOn("while the leader is paused")
	if err := h.Resume(lead); err != nil {
		t.Fatal(err)
	}
	h.until("writing", func() bool { return total() >= *surviveWrites })
	left := h.remaining(c, session)
	h.allAtOnce(stop)
	h.nothingIsLost(c, writers)
	if now := h.remaining(c, session); now > left || left-now > 30*time.Second {
		t.Errorf("the session had %s left before, and %s after", left, now)
	}
	t.Logf("%d acknowledged writes, all there", total())
}

// Nodes that keep their state in memory come back from their snapshots and logs, all at once and with nobody to ask.
func TestWhatIsAcknowledgedSurvivesInMemory(t *testing.T) {
	h := newHurt(t, 3, "--engine", "memory", "--log-bytes", "65536")
	h.leader()
	c := &cli{servers: h.APIs()}
	if _, err := c.registerSource(t.Context(), []byte("workflow: w\nsteps: {a: {queue: q}}\n"), 0); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writers, total := h.write(ctx, "w", 0)
	h.until("logs are cut", func() bool {
		kept, err := filepath.Glob(filepath.Join(h.Dir, "node-*", "groups", "*", "snapshots", "*-*", "state.bin"))
		return err == nil && len(kept) >= len(h.Nodes) && total() > 1000
	})
	h.allAtOnce(stop)
	h.nothingIsLost(c, writers)
	if states, err := filepath.Glob(filepath.Join(h.Dir, "node-*", "groups", "*", "state")); err != nil || len(states) > 0 {
		t.Errorf("states are on disk: %v, %v", states, err)
	}
}

// allAtOnce kills every node while writers write, stops those, and starts the nodes again.
func (h *hurt) allAtOnce(stop context.CancelFunc) {
	h.t.Helper()
	for _, n := range h.Nodes {
		h.kill(n.Number)
	}
	stop()
	h.tasks.Wait()
	for _, n := range h.Nodes {
		h.start(n.Number)
	}
	h.leader()
}

// write starts four writers, which end with the context. Each rests between its writes; zero saturates the cluster.
func (h *hurt) write(ctx context.Context, name string, rest time.Duration) (writers []*writer, total func() int) {
	for i := range 4 {
		w := &writer{apis: h.APIs(), name: fmt.Sprint(name, i), rest: rest}
		writers = append(writers, w)
		h.tasks.Go(func() { w.run(ctx) })
	}
	return writers, func() (n int) {
		for _, w := range writers {
			n += w.count()
		}
		return n
	}
}

func (h *hurt) openSession(c *cli, ttl time.Duration) string {
	h.t.Helper()
	s, err := ask(h.t.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.OpenSessionRequest]) (*connect.Response[v1.Session], error) {
		return a.workers.OpenSession
	}, &v1.OpenSessionRequest{Ttl: durationpb.New(ttl)})
	if err != nil {
		h.t.Fatal(err)
	}
	return s.SessionId
}

// remaining asks what a session has left, on any node that answers.
func (h *hurt) remaining(c *cli, session string) (left time.Duration) {
	h.t.Helper()
	h.until("list sessions", func() bool {
		res, err := ask(h.t.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListSessionsRequest]) (*connect.Response[v1.ListSessionsResponse], error) {
			return a.workers.ListSessions
		}, &v1.ListSessionsRequest{})
		if err != nil {
			return false
		}
		i := slices.IndexFunc(res.Sessions, func(s *v1.Session) bool { return s.SessionId == session })
		if i < 0 {
			h.t.Fatalf("session %s is gone", session)
		}
		left = res.Sessions[i].Remaining.AsDuration()
		return true
	})
	return left
}

func (h *hurt) nothingIsLost(c *cli, writers []*writer) {
	h.t.Helper()
	there := map[string]bool{}
	for page := ""; ; {
		res, err := ask(h.t.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListInstancesRequest]) (*connect.Response[v1.ListInstancesResponse], error) {
			return a.instances.ListInstances
		}, &v1.ListInstancesRequest{Page: page, Limit: 1000})
		if err != nil {
			h.t.Fatal(err)
		}
		for _, i := range res.Instances {
			there[i.InstanceId] = true
		}
		if page = res.NextPage; page == "" {
			break
		}
	}
	lost := 0
	first := ""
	for _, w := range writers {
		for _, id := range w.acked {
			if !there[id] {
				lost++
				if lost == 1 {
					first = id
				}
			}
		}
	}
	if lost > 0 {
		h.t.Fatalf("%d acknowledged writes are lost of %d there, the first: %s", lost, len(there), first)
	}
}
