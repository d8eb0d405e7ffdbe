package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A follower that was away for long, and is back, counts at once: when another goes then, nothing waits. Raft asks one
// that was away again only after as many as ten seconds.
func TestAFollowerThatWasAwayCountsAtOnce(t *testing.T) {
	for _, away := range []time.Duration{15 * time.Second, 4 * time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
				c.put(create("a"))
				lead, _ := c.leader()
				back, goes := (lead+1)%3, (lead+2)%3
				c.cut(back)
				time.Sleep(away)
				c.put(create("b"))
				c.heal(back)
				time.Sleep(500 * time.Millisecond)
				if got, want := c.group(back).raft.LastIndex(), c.group(lead).raft.LastIndex(); got != want {
					t.Errorf("half a second after it is back it has %d entries of %d", got, want)
				}
				c.cut(goes)
				began := time.Now()
				c.put(create("c"))
				if took := time.Since(began); took > time.Second {
					t.Errorf("a command took %s, with two of three nodes up for as long", took)
				}
			})
		})
	}
}

// Whoever closes a node, or hands leadership over, does not wait for a member that is away.
func TestAMemberThatIsAwayHoldsNobodyUp(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		lead, n := c.leader()
		c.cut((lead + 1) % 3)
		time.Sleep(10 * time.Second)
		began := time.Now()
		if _, err := n.TransferLeadership(c.soon(time.Minute), ""); err != nil {
			t.Error(err)
		}
		c.put(create("b"))
		c.stop(lead)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// carrier keeps the request that it was given, as one does that has not been answered when raft gives up.
type carrier struct {
	raft.Transport
	kept *raft.AppendEntriesRequest
}

func (c *carrier) AppendEntries(_ raft.ServerID, _ raft.ServerAddress, args *raft.AppendEntriesRequest, _ *raft.AppendEntriesResponse) error {
	c.kept = args
	return raft.ErrTransportShutdown
}

// raft sends one heartbeat's request again and again, and who was given it before may be reading it still: what members are told is
// told in a request of its own.
func TestARequestOfRaftIsNotWrittenTo(t *testing.T) {
	c := &carrier{}
	p := newPeers(c, newCanvass(time.Hour), func(uint64) uint64 { return 3 })
	request := &raft.AppendEntriesRequest{Term: 1}
	for range 2 {
		if err := p.AppendEntries("b", "b", request, &raft.AppendEntriesResponse{}); err == nil {
			t.Fatal("nobody answered")
		}
		if request.LeaderCommitIndex != 0 || c.kept == request || c.kept.LeaderCommitIndex != 3 {
			t.Errorf("raft's request tells of %d, and what was sent of %d", request.LeaderCommitIndex, c.kept.LeaderCommitIndex)
		}
	}
}
