package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A member that cannot be reached does not vote, so that nobody waits for it; once it has the log, it does.
func TestAMemberVotesOnceItHasTheLog(t *testing.T) {
	inBubble(t, options{voters: 3, others: 1}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		i, n := c.leader()
		c.cut(3)
		add := &v1.AddMemberRequest{NodeId: "n3", PeerAddress: c.address(3)}
		if err := n.AddMember(c.soon(3*time.Second), add); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("added a member that is not there: %v", err)
		}
		follower := (i + 1) % 3
		c.cut(follower)
		// Two of three voters are left; were the new one a voter, two of four would be no majority.
		if out, err := n.Propose(c.soon(time.Second), create("b")); err != nil || out.Refusal != nil {
			t.Fatalf("a member that has no log keeps others from going on: %v %v", out.Refusal, err)
		}
		c.heal(follower)
		c.heal(3)
		if err := n.AddMember(c.soon(time.Minute), add); err != nil {
			t.Fatal(err)
		}
		if got := len(c.group(i).voters()); got != 4 {
			t.Fatalf("%d members vote", got)
		}
		if err := n.AddMember(c.soon(time.Minute), add); err != nil {
			t.Fatalf("added again: %v", err)
		}
		c.agree()
		other := &v1.AddMemberRequest{NodeId: "n9", PeerAddress: c.address(3)}
		if err := n.AddMember(c.soon(time.Minute), other); code(err) != v1.Code_CODE_MEMBER_CONFLICT {
			t.Errorf("two members at one address: %v", err)
		}
		if err := c.nodes[3].AddMember(c.soon(time.Minute), add); code(err) != v1.Code_CODE_NO_LEADER {
			t.Errorf("a follower added a member: %v", err)
		}
	})
}

func TestALeaderThatIsRemovedHandsOver(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		i, old := c.leader()
		if err := old.RemoveMember(c.soon(time.Minute), old.ID()); code(err) != v1.Code_CODE_NO_LEADER {
			t.Fatalf("removing the leader answered %v", err)
		}
		var n *Node
		c.until("another leads", func() bool { _, n = c.leader(); return n != old })
		if err := n.RemoveMember(c.soon(time.Minute), old.ID()); err != nil {
			t.Fatal(err)
		}
		if err := n.RemoveMember(c.soon(time.Minute), old.ID()); code(err) != v1.Code_CODE_MEMBER_NOT_FOUND {
			t.Errorf("removed twice: %v", err)
		}
		time.Sleep(10 * time.Second) // the one that is out must not disturb the others
		if _, self := n.Leader(""); !self || c.group(i).leads() {
			t.Error("the removed member took leadership away")
		}
		c.put(create("b"))
	})
	inBubble(t, options{voters: 1}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		if err := c.nodes[0].RemoveMember(c.soon(time.Minute), "n0"); code(err) != v1.Code_CODE_INVALID {
			t.Errorf("removed the only voter: %v", err)
		}
	})
}
