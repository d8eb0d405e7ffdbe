package api

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// log is a log of one copy, applied to the real state machine. Nodes share it, or catch up with it.
type log struct {
	start time.Time

	mu      sync.Mutex // guards what follows
	machine *fsm.Machine
	entries [][]byte
	waits   map[uint64]chan []fsm.Settlement
	changed chan struct{}
}

// newLog makes a log whose time passes by ticks.
func newLog(t *testing.T) *log {
	l := emptyLog(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				l.apply(&logv1.Entry{})
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return l
}

func emptyLog(t *testing.T) *log {
	m, err := fsm.Open(table.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	return &log{start: time.Now(), machine: m, waits: map[uint64]chan []fsm.Settlement{}, changed: make(chan struct{})}
}

// apply appends an entry. What the machine gets has been through the encoding, as in a cluster.
func (l *log) apply(e *logv1.Entry) fsm.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	elapsed := int64(time.Since(l.start))
	e.Header = &logv1.Header{Term: 1, Elapsed: elapsed, Due: elapsed, Wall: time.Now().UnixNano(), Level: fsm.Level}
	b, err := proto.Marshal(e)
	if err != nil {
		panic(err)
	}
	return l.add(b)
}

func (l *log) add(b []byte) fsm.Result {
	e := &logv1.Entry{}
	if err := proto.Unmarshal(b, e); err != nil {
		panic(err)
	}
	l.entries = append(l.entries, b)
	r := l.machine.Apply(uint64(len(l.entries)), 1, e)
	for _, s := range r.Settled {
		if w := l.waits[s.WaitID]; w != nil {
			var before []fsm.Settlement
			select {
			case before = <-w:
			default:
			}
			w <- append(before, s)
		}
	}
	if len(r.Kinds) > 0 {
		close(l.changed)
		l.changed = make(chan struct{})
	}
	return r
}

// catchUp applies what another log has more.
func (l *log) catchUp(from *log) {
	from.mu.Lock()
	entries := from.entries
	from.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range entries[len(l.entries):] {
		l.add(b)
	}
}

// waiting counts the runs that are waited for in a queue.
func (l *log) waiting(queue string) (n int64) {
	list, err := l.machine.ListQueues(&v1.ListQueuesRequest{})
	if err != nil {
		panic(err)
	}
	for _, q := range list.Queues {
		if q.Queue == queue {
			n = q.Waiting
		}
	}
	return n
}

// node is a Cluster: it leads, or follows, or knows no leader.
type node struct {
	*log

	lead    sync.Mutex // guards what follows
	leads   bool
	leader  string // its address, when another leads
	term    uint64 // that its status tells
	changes chan struct{}
	refusal error                  // of every proposal, when set
	propose func([]*logv1.Command) // told of every proposal before it is applied, when set
}

// newNode makes a node that leads.
func newNode(l *log) *node { return &node{log: l, leads: true, changes: make(chan struct{})} }

// newOne makes a cluster of one.
func newOne(t *testing.T) *node { return newNode(newLog(t)) }

// set changes who leads: this node, or the one at an address, or nobody.
func (c *node) set(leads bool, leader string) {
	c.lead.Lock()
	defer c.lead.Unlock()
	c.leads, c.leader = leads, leader
	close(c.changes)
	c.changes = make(chan struct{})
}

func (c *node) follow(leader string) { c.set(false, leader) }

// inject has every proposal fail, or be watched.
func (c *node) inject(refusal error, propose func([]*logv1.Command)) {
	c.lead.Lock()
	defer c.lead.Unlock()
	c.refusal, c.propose = refusal, propose
}

func (c *node) ProposeAll(_ context.Context, commands []*logv1.Command) ([]fsm.Outcome, error) {
	if address, self := c.Leader(""); !self {
		return nil, noLeader(address)
	}
	c.lead.Lock()
	refusal, propose := c.refusal, c.propose
	c.lead.Unlock()
	if propose != nil {
		propose(commands)
	}
	if refusal != nil {
		return nil, refusal
	}
	return c.apply(&logv1.Entry{Commands: commands}).Outcomes, nil
}

func (c *node) Renew(_ context.Context, r *logv1.Renewal) (fsm.RenewalOutcome, error) {
	return c.apply(&logv1.Entry{Renewals: []*logv1.Renewal{r}}).Renewals[0], nil
}

func (c *node) Await(id uint64) (<-chan []fsm.Settlement, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := make(chan []fsm.Settlement, 1)
	c.waits[id] = w
	return w, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waits, id)
	}
}

func (c *node) Read(_ context.Context, _ string, consistency v1.Consistency, fn func(*fsm.Machine) error) (time.Duration, error) {
	if address, self := c.Leader(""); !self && consistency != v1.Consistency_CONSISTENCY_STALE {
		return 0, noLeader(address)
	}
	return 5 * time.Millisecond, fn(c.machine)
}

func (c *node) Changed(string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *node) Leader(string) (string, bool) {
	c.lead.Lock()
	defer c.lead.Unlock()
	return c.leader, c.leads
}

func (c *node) LeaderChanged() <-chan struct{} {
	c.lead.Lock()
	defer c.lead.Unlock()
	return c.changes
}

func (c *node) Status(uint64) *v1.GetStatusResponse {
	c.lead.Lock()
	defer c.lead.Unlock()
	g := &v1.GroupStatus{Group: "0", State: "Follower", Term: c.term}
	if c.leads {
		g.State = "Leader"
	}
	g.AppliedIndex, _ = c.machine.Applied()
	return &v1.GetStatusResponse{NodeId: "n1", Groups: []*v1.GroupStatus{g}}
}

func (c *node) AddMember(context.Context, *v1.AddMemberRequest) error { return nil }

func (c *node) RemoveMember(_ context.Context, id string) error {
	if id != "n2" {
		return fsm.Refuse(v1.Code_CODE_MEMBER_NOT_FOUND, "there is no member %q", id)
	}
	return nil
}

func (c *node) TransferLeadership(context.Context, string) (string, error) { return "n2", nil }
