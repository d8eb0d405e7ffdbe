package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// bubble is a cluster over transports in memory, whose time is virtual: timers cost nothing, and what a test measures
// does not depend on the machine's load.
type bubble struct {
	t          *testing.T
	nodes      []*Node // nil: stopped
	transports []raft.Transport
	inner      []*raft.InmemTransport
	dirs       []string // empty: in memory
	away       map[int]bool
	tweak      func(i int, c *Config)

	mu       sync.Mutex          // guards what follows
	up       map[string]*Node    // those that exchange checkpoints, by address
	diverged map[int]*divergence // those that would have stopped; a test that wants one takes it out
}

type options struct {
	voters, others int // others are opened and not bootstrapped
	disk           bool
	tweak          func(i int, c *Config)
	wrap           func(i int, t *raft.InmemTransport) raft.Transport
}

// wrapped is a log store of ours within one of a test.
type wrapped struct{ raftLog }

func (w wrapped) Seal(log *raft.Log) error {
	return w.raftLog.(interface{ Seal(*raft.Log) error }).Seal(log)
}

// IsMonotonic implements raft.MonotonicLogStore.
func (w wrapped) IsMonotonic() bool { return w.raftLog.(raft.MonotonicLogStore).IsMonotonic() }

func inBubble(t *testing.T, o options, fn func(t *testing.T, c *bubble)) {
	t.Helper()
	root := scratch(t)
	synctest.Test(t, func(t *testing.T) {
		c := &bubble{t: t, away: map[int]bool{}, tweak: o.tweak, up: map[string]*Node{}, diverged: map[int]*divergence{}}
		size := o.voters + o.others
		c.nodes, c.dirs = make([]*Node, size), make([]string, size)
		c.transports, c.inner = make([]raft.Transport, size), make([]*raft.InmemTransport, size)
		for i := range size {
			if o.disk {
				c.dirs[i] = filepath.Join(root, fmt.Sprint("n", i))
			}
			_, c.inner[i] = raft.NewInmemTransport(raft.ServerAddress(c.address(i)))
			c.transports[i] = c.inner[i]
			if o.wrap != nil {
				c.transports[i] = o.wrap(i, c.inner[i])
			}
		}
		defer func() {
			for i := range c.nodes {
				c.stop(i)
			}
			for i, d := range c.diverged {
				t.Errorf("node %d would have stopped: %v", i, d)
			}
		}()
		var members []Member
		for i := range size {
			c.open(i)
			if i < o.voters {
				members = append(members, Member{c.nodes[i].ID(), c.address(i)})
			}
		}
		for i := range o.voters {
			if err := c.nodes[i].Bootstrap(members); err != nil {
				t.Fatal(err)
			}
		}
		fn(t, c)
	})
}

// scratch is a directory for files whose syncs cost nothing, where there is one with room: time that is virtual does not know what they
// cost. A container often has 64 MiB of it, which are fewer than the logs of a few nodes take.
func scratch(t *testing.T) string {
	const memory, room = "/dev/shm", 1 << 30
	var has syscall.Statfs_t
	if syscall.Statfs(memory, &has) != nil || has.Bavail*uint64(has.Bsize) < room {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "lockstep-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (c *bubble) indices() (all []int) {
	for i := range c.nodes {
		all = append(all, i)
	}
	return all
}

func (c *bubble) address(i int) string { return fmt.Sprint("peer", i) }

func (c *bubble) config(i int) Config {
	config := Config{
		DataDir: c.dirs[i], NodeID: fmt.Sprint("n", i),
		Transport:  func(string) raft.Transport { return c.transports[i] },
		APIAddress: func(id string) string { return "api-" + id },
		Exchange: func(_ context.Context, address string, request []byte) ([]byte, error) {
			return c.exchange(c.address(i), address, request)
		},
		diverged: func(d *divergence) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.diverged[i] = d
		},
	}
	if c.tweak != nil {
		c.tweak(i, &config)
	}
	return config
}

func (c *bubble) open(i int) *Node {
	c.t.Helper()
	n, err := Open(c.config(i))
	if err != nil {
		c.t.Fatalf("open node %d: %v", i, err)
	}
	c.nodes[i] = n
	c.heal(i)
	return n
}

func (c *bubble) stop(i int) {
	if c.nodes[i] == nil {
		return
	}
	c.heal(i)
	if err := c.nodes[i].Close(); err != nil {
		c.t.Errorf("close node %d: %v", i, err)
	}
	c.nodes[i] = nil
	c.cut(i)
}

func (c *bubble) exchange(from, to string, request []byte) ([]byte, error) {
	c.mu.Lock()
	here, there := c.up[from], c.up[to]
	c.mu.Unlock()
	if here == nil || there == nil {
		return nil, errors.New("cut off")
	}
	return there.Exchange(request)
}

func (c *bubble) setUp(i int, n *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up[c.address(i)] = n
}

// cut takes a node off the net; heal puts it back.
func (c *bubble) cut(i int) {
	c.setUp(i, nil)
	c.away[i] = true
	for j := range c.inner {
		if j != i {
			c.inner[i].Disconnect(raft.ServerAddress(c.address(j)))
			c.inner[j].Disconnect(raft.ServerAddress(c.address(i)))
		}
	}
}

func (c *bubble) heal(i int) {
	c.setUp(i, c.nodes[i])
	delete(c.away, i)
	for j := range c.inner {
		if j != i && !c.away[j] {
			c.inner[i].Connect(raft.ServerAddress(c.address(j)), c.inner[j])
			c.inner[j].Connect(raft.ServerAddress(c.address(i)), c.inner[i])
		}
	}
}

func (c *bubble) group(i int) *group { return c.nodes[i].groups[theGroup] }

// until waits for a condition.
func (c *bubble) until(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("never happened: %s", what)
		}
	}
}

// leader waits until a node that is on the net leads. One that was cut off may think so too, for a while: it is not meant.
func (c *bubble) leader() (i int, n *Node) {
	c.t.Helper()
	c.until("a node leads", func() bool {
		var newest uint64
		for j, other := range c.nodes {
			if other == nil || c.away[j] {
				continue
			}
			if _, self := other.Leader(""); self && c.group(j).raft.CurrentTerm() > newest {
				i, n, newest = j, other, c.group(j).raft.CurrentTerm()
			}
		}
		return n != nil
	})
	return i, n
}

func create(name string) *logv1.Command { return described(name, "") }

func described(name, description string) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{Namespace: name}, Body: &logv1.Command_CreateNamespace{
		CreateNamespace: &v1.CreateNamespaceRequest{Namespace: name, Description: description},
	}}
}

// put has a command applied, wherever the leader is; a retry that finds it done is fine.
func (c *bubble) put(command *logv1.Command) {
	c.t.Helper()
	c.until("a command is acknowledged", func() bool {
		_, n := c.leader()
		out, err := n.Propose(c.soon(time.Minute), command)
		return err == nil && (out.Refusal == nil || out.Refusal.Code == v1.Code_CODE_NAMESPACE_EXISTS)
	})
}

// soon is a context that ends by itself, at the latest with the test.
func (c *bubble) soon(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), d)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *bubble) names(n *Node) map[string]bool {
	c.t.Helper()
	got := map[string]bool{}
	_, err := n.Read(c.soon(time.Minute), "", 0, func(m *fsm.Machine) error {
		list, err := m.ListNamespaces(&v1.ListNamespacesRequest{Limit: 1000})
		for _, ns := range list.GetNamespaces() {
			got[ns.Namespace] = true
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// agree waits until all nodes that are on the net have applied the same, and compares their digests.
func (c *bubble) agree() {
	c.t.Helper()
	_, n := c.leader()
	want, digest := n.groups[theGroup].machine.current.Digest()
	for i, other := range c.nodes {
		if other == nil || c.away[i] {
			continue
		}
		var got []byte
		c.until(fmt.Sprintf("node %d applies entry %d", i, want), func() (ok bool) {
			_ = c.group(i).machine.view(func(m *fsm.Machine) error {
				for _, d := range m.Digests() {
					if d.Index >= want {
						ok = true
					}
				}
				_, got = m.Digest()
				return nil
			})
			return ok
		})
		if string(got) != string(digest) {
			c.t.Fatalf("node %d has digest %x, the leader %x", i, got, digest)
		}
	}
}

// code is the refusal that an error is.
func code(err error) v1.Code {
	var refusal *fsm.Refusal
	if errors.As(err, &refusal) {
		return refusal.Detail.Code
	}
	return v1.Code_CODE_UNSPECIFIED
}
