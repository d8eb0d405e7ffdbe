package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The scenario in which raft's VerifyLeader lies (guarantees, section 1.7): a leader whose timers are late, as a paused
// process's are, is cut off; another leads and commits; and the old one is asked. With non-voters on its side, too.
func TestADeposedLeaderAnswersNoRead(t *testing.T) {
	for name, others := range map[string]int{"alone": 0, "with two non-voters": 2} {
		t.Run(name, func(t *testing.T) {
			slow := func(i int, config *Config) {
				if i == 0 {
					config.Heartbeat, config.Election, config.Lease = 5*time.Second, 5*time.Second, 5*time.Second
				}
			}
			inBubble(t, options{voters: 3, others: others, tweak: slow}, func(t *testing.T, c *bubble) {
				c.put(create("a"))
				if i, n := c.leader(); i != 0 {
					if _, err := n.TransferLeadership(c.soon(time.Minute), "n0"); err != nil {
						t.Fatal(err)
					}
				}
				old := c.nodes[0]
				c.until("node 0 leads", func() bool { _, self := old.Leader(""); return self })
				if others > 0 {
					c.group(0).promoting.Lock() // they stay non-voters
					defer c.group(0).promoting.Unlock()
				}
				for i := 3; i < 3+others; i++ {
					if err := c.group(0).raft.AddNonvoter(raft.ServerID(fmt.Sprint("n", i)), raft.ServerAddress(c.address(i)), 0, time.Minute).Error(); err != nil {
						t.Fatal(err)
					}
				}
				c.until("all have what was committed", func() bool { return c.group(1).raft.LastIndex() == c.group(0).raft.LastIndex() })
				for _, voter := range [...]int{1, 2} {
					for _, i := range [...]int{0, 3, 4} {
						if i < len(c.inner) {
							c.inner[voter].Disconnect(raft.ServerAddress(c.address(i)))
							c.inner[i].Disconnect(raft.ServerAddress(c.address(voter)))
						}
					}
				}
				c.away[0] = true
				c.put(create("newer"))
				if _, self := old.Leader(""); !self {
					t.Fatal("the old leader knows already: this shows nothing")
				}
				served := false
				read := func(m *fsm.Machine) error { served = true; return nil }
				if _, err := old.Read(c.soon(time.Minute), "", 0, read); served || code(err) != v1.Code_CODE_UNAVAILABLE && code(err) != v1.Code_CODE_NO_LEADER {
					t.Fatalf("the old leader served: %v; it answered %v", served, err)
				}
				if age, err := old.Read(t.Context(), "", v1.Consistency_CONSISTENCY_STALE, read); err == nil && age < time.Second {
					t.Fatalf("a state without %s's writes is said to be %s old", "newer", age)
				}
			})
		})
	}
}

// What a stale read may miss is not older than it says.
func TestAStaleReadSaysHowOldItMayBe(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		i, n := c.leader()
		none := func(m *fsm.Machine) error { return nil }
		time.Sleep(5 * time.Second)
		for j, node := range c.nodes {
			if age, err := node.Read(t.Context(), "", v1.Consistency_CONSISTENCY_STALE, none); err != nil || age > 500*time.Millisecond {
				t.Errorf("node %d (the leader is %d) of a healthy cluster: %s, %v", j, i, age, err)
			}
		}
		c.cut(i)
		cut := time.Now()
		time.Sleep(300 * time.Millisecond) // it still leads, as far as it knows
		if age, err := n.Read(t.Context(), "", v1.Consistency_CONSISTENCY_STALE, none); err != nil || age < time.Since(cut) {
			t.Errorf("%s after the cut, the leader says %s, %v", time.Since(cut), age, err)
		}
		time.Sleep(10 * time.Second)
		if age, err := n.Read(t.Context(), "", v1.Consistency_CONSISTENCY_STALE, none); err != nil || age < time.Since(cut) {
			t.Errorf("%s after the cut, it says %s, %v", time.Since(cut), age, err)
		}
	})
	inBubble(t, options{voters: 1, others: 1}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		if age, err := c.nodes[0].Read(t.Context(), "", v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) error { return nil }); err != nil || age != 0 {
			t.Errorf("the only voter says %s, %v", age, err)
		}
		if _, err := c.nodes[1].Read(t.Context(), "", v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) error { return nil }); code(err) != v1.Code_CODE_UNAVAILABLE {
			t.Errorf("a node that never heard of a leader answered %v", err)
		}
	})
}
