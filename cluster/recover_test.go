package cluster

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func token(t *testing.T, n *Node) (token int64) {
	t.Helper()
	_, err := n.Read(t.Context(), "", v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) error {
		ns, err := m.GetNamespace(&v1.GetNamespaceRequest{Namespace: fsm.DefaultNamespace})
		token = ns.GetToken()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Of three nodes two are lost for good. The third goes on alone: everything is there, tokens are higher than any before,
// its id is a new one, and new nodes join it.
func TestOneNodeGoesOnAfterTheLossOfAMajority(t *testing.T) {
	inBubble(t, options{voters: 3, others: 1, disk: true}, func(t *testing.T, c *bubble) {
		c.stop(3) // it comes later
		c.put(create("a"))
		session := c.command(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: int64(3600e9)}}}).(*v1.Session)
		var id int64
		for _, digit := range session.SessionId {
			id = 10*id + int64(digit-'0')
		}
		granted := c.command(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: id, Lock: "l"}}}).(*v1.AcquireLockResponse)
		c.agree()
		was := c.nodes[0].ID()
		for i := range 4 {
			c.stop(i)
		}
		out, err := Recover(Config{DataDir: c.dirs[0]}, c.address(0))
		if err != nil {
			t.Fatal(err)
		}
		if out.Was != was || out.NodeID == was || out.Index == 0 {
			t.Errorf("recovered %+v of %s", out, was)
		}
		n := c.open(0)
		c.leader()
		if !c.names(n)["a"] {
			t.Error("what was acknowledged is gone")
		}
		if got := token(t, n); got < granted.Token+raised {
			t.Errorf("tokens go on from %d; %d was granted", got, granted.Token)
		}
		c.put(create("b"))
		c.open(3)
		if err := n.AddMember(t.Context(), &v1.AddMemberRequest{NodeId: c.nodes[3].ID(), PeerAddress: c.address(3)}); err != nil {
			t.Fatal(err)
		}
		c.until("the new node has it all", func() bool { return token(t, c.nodes[3]) == token(t, n) })
		c.agree()
		// And again on what was recovered.
		c.stop(0)
		c.open(0)
		c.leader()
		c.agree()
	})
}

func TestThereMustBeSomethingToRecover(t *testing.T) {
	if _, err := Recover(Config{DataDir: filepath.Join(t.TempDir(), "none")}, "peer"); err == nil || !strings.Contains(err.Error(), "nothing to recover") {
		t.Errorf("recovered an empty directory: %v", err)
	}
	inBubble(t, options{voters: 1, disk: true}, func(t *testing.T, c *bubble) {
		c.leader()
		if _, err := Recover(Config{DataDir: c.dirs[0]}, c.address(0)); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("recovered a node that runs: %v", err)
		}
	})
}

// command has a command applied, and returns its answer.
func (c *bubble) command(command *logv1.Command) any {
	c.t.Helper()
	_, n := c.leader()
	out, err := n.Propose(c.soon(time.Minute), command)
	if err != nil || out.Refusal != nil {
		c.t.Fatal(err, out.Refusal)
	}
	return out.Reply
}
