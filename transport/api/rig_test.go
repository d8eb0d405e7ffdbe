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

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// one is a cluster of one that applies what is proposed at once: the state machine is the real one. leader, when set,
// is where it says that the leader is.
type one struct {
	start time.Time

	mu      sync.Mutex // guards what follows
	machine *fsm.Machine
	index   uint64
	waits   map[uint64]chan fsm.Settlement
	changed chan struct{}
	leader  string
}

func newOne(t *testing.T) *one {
	m, err := fsm.Open(table.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	c := &one{start: time.Now(), machine: m, waits: map[uint64]chan fsm.Settlement{}, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.apply(&logv1.Entry{Tick: true})
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return c
}

func (c *one) apply(e *logv1.Entry) fsm.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	e.Header = &logv1.Header{Term: 1, Elapsed: int64(time.Since(c.start)), Wall: time.Now().UnixNano(), Level: 1}
	r := c.machine.Apply(c.index, 1, e)
	for _, s := range r.Settled {
		if w := c.waits[s.WaitID]; w != nil {
			w <- s
		}
	}
	if len(r.Events) > 0 {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	return r
}

func (c *one) ProposeAll(_ context.Context, commands []*logv1.Command) ([]fsm.Outcome, error) {
	if _, self := c.Leader(""); !self {
		return nil, fsm.Refuse(v1.Code_CODE_NO_LEADER, "another leads")
	}
	return c.apply(&logv1.Entry{Commands: commands}).Outcomes, nil
}

func (c *one) Renew(_ context.Context, r *logv1.Renewal) (fsm.RenewalOutcome, error) {
	return c.apply(&logv1.Entry{Renewals: []*logv1.Renewal{r}}).Renewals[0], nil
}

func (c *one) Await(id uint64) (<-chan fsm.Settlement, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := make(chan fsm.Settlement, 1000)
	c.waits[id] = w
	return w, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waits, id)
	}
}

func (c *one) Read(_ context.Context, _ string, consistency v1.Consistency, fn func(*fsm.Machine) error) (time.Duration, error) {
	if _, self := c.Leader(""); !self && consistency != v1.Consistency_CONSISTENCY_STALE {
		return 0, fsm.Refuse(v1.Code_CODE_NO_LEADER, "another leads")
	}
	return 5 * time.Millisecond, fn(c.machine)
}

func (c *one) Changed(string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *one) Leader(string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader, c.leader == ""
}

func (c *one) follow(leader string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = leader
}

func (c *one) LeaderChanged() <-chan struct{} { return make(chan struct{}) }
func (c *one) Status(uint64) *v1.GetStatusResponse {
	return &v1.GetStatusResponse{NodeId: "n1", Groups: []*v1.GroupStatus{{Group: "0", State: "Leader"}}}
}
func (c *one) AddMember(context.Context, *v1.AddMemberRequest) error { return nil }
func (c *one) RemoveMember(context.Context, string) error            { return nil }
func (c *one) TransferLeadership(context.Context, string) (string, error) {
	return "n2", nil
}

// serve opens a server on a cluster, and returns its address.
func serve(t *testing.T, c Cluster) string {
	t.Helper()
	s, err := New(Config{Cluster: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
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
