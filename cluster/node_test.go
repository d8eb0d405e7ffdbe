package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// trio is a cluster over transports in memory, on disk when dirs are given.
type trio struct {
	t          *testing.T
	nodes      []*Node
	transports []*raft.InmemTransport
	dirs       []string
}

func newTrio(t *testing.T, disk bool) *trio {
	c := &trio{t: t}
	for i := range 3 {
		dir := ""
		if disk {
			dir = filepath.Join(t.TempDir(), fmt.Sprint("n", i))
		}
		c.dirs = append(c.dirs, dir)
		c.nodes = append(c.nodes, nil)
		c.transports = append(c.transports, nil)
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	for i := range c.nodes {
		c.open(i)
	}
	var members []Member
	for i, n := range c.nodes {
		members = append(members, Member{n.ID(), c.address(i)})
	}
	for _, n := range c.nodes {
		if err := n.Bootstrap(members); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *trio) address(i int) string { return fmt.Sprint("peer", i) }

func (c *trio) config(i int) Config {
	return Config{
		DataDir: c.dirs[i], NodeID: fmt.Sprint("n", i),
		Transport:  func(string) raft.Transport { return c.transports[i] },
		APIAddress: func(id string) string { return "api-" + id },
		Heartbeat:  150 * time.Millisecond,
	}
}

func (c *trio) open(i int) {
	c.t.Helper()
	_, c.transports[i] = raft.NewInmemTransport(raft.ServerAddress(c.address(i)))
	for j, other := range c.transports {
		if other != nil && j != i {
			c.transports[i].Connect(raft.ServerAddress(c.address(j)), other)
			other.Connect(raft.ServerAddress(c.address(i)), c.transports[i])
		}
	}
	n, err := Open(c.config(i))
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i] = n
}

func (c *trio) stop(i int) {
	if c.nodes[i] == nil {
		return
	}
	if err := c.nodes[i].Close(); err != nil {
		c.t.Errorf("close node %d: %v", i, err)
	}
	c.nodes[i] = nil
}

// leader waits until a node leads.
func (c *trio) leader() (int, *Node) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		for i, n := range c.nodes {
			if n == nil {
				continue
			}
			changed := n.LeaderChanged()
			if _, self := n.Leader(""); self {
				return i, n
			}
			select {
			case <-changed:
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	c.t.Fatal("nobody leads")
	return 0, nil
}

func create(name string) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{Namespace: name}, Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: name}}}
}

// put creates a namespace, wherever the leader is; a retry that finds it there is fine.
func (c *trio) put(name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		_, n := c.leader()
		out, err := n.Propose(ctx, create(name))
		if err == nil && (out.Refusal == nil || out.Refusal.Code == v1.Code_CODE_NAMESPACE_EXISTS) {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("create %s: %v %v", name, out.Refusal, err)
		}
	}
}

func (c *trio) names(n *Node) map[string]bool {
	c.t.Helper()
	got := map[string]bool{}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := n.Read(ctx, "", 0, func(m *fsm.Machine) error {
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

func TestWhatIsAcknowledgedIsReadOnTheNextLeader(t *testing.T) {
	c := newTrio(t, false)
	for round := range 2 {
		c.put(fmt.Sprint("a", round))
		i, old := c.leader()
		if got := c.names(old); !got[fmt.Sprint("a", round)] {
			t.Fatalf("the leader has %v", got)
		}
		for _, n := range c.nodes {
			if n == nil || n == old {
				continue
			}
			var refusal *fsm.Refusal
			if _, err := n.Propose(context.Background(), create("x")); !errors.As(err, &refusal) || refusal.Detail.Code != v1.Code_CODE_NO_LEADER {
				t.Fatalf("a follower answered %v", err)
			}
		}
		if round == 0 {
			c.stop(i)
		}
	}
	_, n := c.leader()
	if got := c.names(n); !got["a0"] || !got["a1"] {
		t.Fatalf("the next leader has %v", got)
	}
}

// The scenario of a leader that was cut off while another was elected: its reads must not answer with what it has.
func TestADeposedLeaderAnswersNoRead(t *testing.T) {
	c := newTrio(t, false)
	c.put("a")
	i, old := c.leader()
	for j := range c.nodes {
		if j != i {
			c.transports[j].Disconnect(raft.ServerAddress(c.address(i)))
			c.transports[i].Disconnect(raft.ServerAddress(c.address(j)))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	served := false
	_, err := old.Read(ctx, "", 0, func(m *fsm.Machine) error { served = true; return nil })
	if served || err == nil {
		t.Fatal("a leader without a majority served a read")
	}
}

func TestANodeGoesOnFromItsDisk(t *testing.T) {
	c := newTrio(t, true)
	for i := range 20 {
		c.put(fmt.Sprint("a", i))
	}
	i, n := c.leader()
	if err := n.groups[theGroup].raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	c.put("behind-the-snapshot")
	for j := range c.nodes {
		c.stop(j)
	}
	for j := range c.nodes {
		c.open(j)
	}
	c.put("after")
	_, n = c.leader()
	got := c.names(n)
	for _, want := range []string{"a0", "a19", "behind-the-snapshot", "after"} {
		if !got[want] {
			t.Errorf("%s is gone; there are %d", want, len(got))
		}
	}
	// Another may not open a directory that is in use.
	if _, err := Open(c.config(i)); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("opened twice: %v", err)
	}
	c.stop(i)
	config := c.config(i)
	config.NodeID = "somebody-else"
	if _, err := Open(config); err == nil || !strings.Contains(err.Error(), "belongs to node") {
		t.Errorf("opened as another node: %v", err)
	}
}

// A node that lost its disk is another node, also under the same name: it has forgotten its votes.
func TestAWipedDiskIsANewNode(t *testing.T) {
	c := newTrio(t, true)
	was := c.nodes[0].ID()
	c.stop(0)
	if err := os.RemoveAll(c.dirs[0]); err != nil {
		t.Fatal(err)
	}
	c.open(0)
	if now := c.nodes[0].ID(); now == was {
		t.Fatalf("the node is %s again", now)
	}
}

// A node whose log was cut away behind its back must not go on from its state alone.
func TestALostLogIsRefused(t *testing.T) {
	c := newTrio(t, true)
	c.put("a")
	i, n := c.leader()
	if err := n.groups[theGroup].machine.current.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := n.groups[theGroup].machine.current.Sync(); err != nil {
		t.Fatal(err)
	}
	c.stop(i)
	if err := os.Remove(filepath.Join(c.dirs[i], "groups", "0", "log.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c.config(i)); err == nil || !strings.Contains(err.Error(), "join again") {
		t.Fatalf("opened without its log: %v", err)
	}
}

func TestLeadershipIsHandedOver(t *testing.T) {
	c := newTrio(t, false)
	c.put("a")
	_, n := c.leader()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	to, err := n.TransferLeadership(ctx, "")
	if err != nil || to == n.ID() {
		t.Fatalf("handed over to %q: %v", to, err)
	}
	c.put("b")
}

// A follower that was away while the log was cut gets a snapshot, and has everything.
func TestASnapshotReachesALaggingFollower(t *testing.T) {
	c := newTrio(t, true)
	c.put("a")
	lead, n := c.leader()
	away := (lead + 1) % 3
	c.stop(away)
	for i := range 30 {
		c.put(fmt.Sprint("b", i))
	}
	rc := n.groups[theGroup].raft.ReloadableConfig()
	rc.TrailingLogs = 1
	if err := n.groups[theGroup].raft.ReloadConfig(rc); err != nil {
		t.Fatal(err)
	}
	if err := n.groups[theGroup].raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	c.put("last")
	c.open(away)
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := c.nodes[away].groups[theGroup].read(context.Background(), v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) error {
			_, err := m.GetNamespace(&v1.GetNamespaceRequest{Namespace: "last"})
			return err
		})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the follower never caught up: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
	_, want := n.groups[theGroup].machine.current.Digest()
	_, got := c.nodes[away].groups[theGroup].machine.current.Digest()
	if string(want) != string(got) {
		t.Fatal("the digests differ")
	}
}
