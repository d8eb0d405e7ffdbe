package cluster

import (
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A follower hears of the one that leads next before it knows what is committed: having heard says nothing of its state.
func TestAFollowerThatHasHeardOfALeaderMayBeOldAllTheSame(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		for round := range 20 {
			name := string(rune('a' + round))
			i, _ := c.leader()
			c.put(create(name))
			acknowledged := time.Now()
			c.cut(i)
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				for j, n := range c.nodes {
					if j == i {
						continue
					}
					asked, has := time.Now(), false
					age, err := n.Read(t.Context(), "", v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) error {
						list, err := m.ListNamespaces(&v1.ListNamespacesRequest{Limit: 1000})
						for _, ns := range list.GetNamespaces() {
							has = has || ns.Namespace == name
						}
						return err
					})
					if err == nil && !has && asked.Add(-age).After(acknowledged) {
						t.Fatalf("node %d says that it is %s old, and misses what was acknowledged %s ago", j, age, asked.Sub(acknowledged))
					}
				}
			}
			c.heal(i)
			c.until("all follow", func() bool {
				lead, _ := c.leader()
				return c.group(i).raft.LastIndex() == c.group(lead).raft.LastIndex()
			})
		}
	})
}
