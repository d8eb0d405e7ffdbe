package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// each has every command be an entry, many of them in flight.
func each(_ int, c *Config) { c.Propose = propose.Config{MaxCommands: 1, MaxInFlight: 64} }

func describe(text string) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_UpdateNamespace{
		UpdateNamespace: &v1.UpdateNamespaceRequest{Description: text},
	}}
}

// checkpoint makes entries until the leader has a new checkpoint.
func (c *bubble) checkpoint() (index uint64) {
	c.t.Helper()
	newest := func() uint64 {
		i, _ := c.leader()
		own := c.group(i).checkpoints()
		if len(own) == 0 {
			return 0
		}
		return own[len(own)-1].Index
	}
	before := newest()
	for n := 0; newest() == before; n++ {
		if n == 40 {
			c.t.Fatal("2,000 entries made no checkpoint")
		}
		var commands []*logv1.Command
		for k := range 50 {
			commands = append(commands, describe(fmt.Sprint("entry ", n, "/", k, strings.Repeat(".", 600))))
		}
		_, lead := c.leader()
		if _, err := lead.ProposeAll(c.soon(time.Minute), commands); err != nil && code(err) != v1.Code_CODE_NO_LEADER {
			c.t.Fatal(err)
		}
	}
	return newest()
}

// settle waits until nodes have agreed with every voter on the checkpoint.
func (c *bubble) settle(index uint64, nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.until(fmt.Sprintf("node %d settles checkpoint %d", i, index), func() bool {
			g := c.group(i)
			g.comparing.Lock()
			defer g.comparing.Unlock()
			return g.compared.settled >= index
		})
	}
}

// plant has one node apply an entry that is none: where the log has a barrier of raft's own.
func (c *bubble) plant(i int) {
	c.t.Helper()
	lead, _ := c.leader()
	if err := c.group(lead).raft.Barrier(time.Minute).Error(); err != nil {
		c.t.Fatal(err)
	}
	index := c.group(lead).raft.LastIndex()
	_ = c.group(i).machine.view(func(m *fsm.Machine) error {
		_, term := m.Applied()
		if m.Apply(index, term, &logv1.Entry{Commands: []*logv1.Command{describe(fmt.Sprint("only node ", i))}}).Skipped {
			c.t.Fatal("the planted entry was not applied")
		}
		return nil
	})
}

func (c *bubble) alarms() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.diverged)
}

// found takes out why a node would have stopped.
func (c *bubble) found(i int) (d *divergence) {
	c.t.Helper()
	c.until(fmt.Sprintf("node %d is found to have diverged", i), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		d = c.diverged[i]
		delete(c.diverged, i)
		return d != nil
	})
	return d
}

func TestANodeThatDivergesStops(t *testing.T) {
	inBubble(t, options{voters: 3, tweak: each}, func(t *testing.T, c *bubble) {
		c.settle(c.checkpoint(), 0, 1, 2)
		lead, _ := c.leader()
		c.agree()
		c.plant(lead) // the worst case
		index := c.checkpoint()
		d := c.found(lead)
		if !d.outvoted || d.index != index || !strings.Contains(d.Error(), fmt.Sprintf("at entry %d", index)) ||
			!strings.Contains(d.Error(), "2 of 3 voters") || !strings.Contains(d.Error(), "member remove "+c.nodes[lead].ID()) {
			t.Errorf("it would stop with: %v", d)
		}
		c.stop(lead)
		c.checkpoint()
		time.Sleep(time.Minute) // the others go on: the end of the test says so if one would not
	})
}

func TestWithoutAMajorityAllStop(t *testing.T) {
	inBubble(t, options{voters: 3, tweak: each}, func(t *testing.T, c *bubble) {
		c.settle(c.checkpoint(), 0, 1, 2)
		c.agree()
		for i := range c.nodes {
			c.plant(i)
		}
		c.checkpoint()
		for i := range c.nodes {
			if d := c.found(i); d.outvoted || !strings.Contains(d.Error(), "no majority agrees") {
				t.Errorf("node %d would stop with: %v", i, d)
			}
		}
	})
}

// Two that differ wait for the third, which decides as soon as it is back, and stop if it does not come.
func TestAMissingVoterIsWaitedFor(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprint("back ", back), func(t *testing.T) {
			inBubble(t, options{voters: 3, tweak: each}, func(t *testing.T, c *bubble) {
				c.settle(c.checkpoint(), 0, 1, 2)
				c.agree()
				lead, _ := c.leader()
				other, away := (lead+1)%3, (lead+2)%3
				c.cut(away)
				c.plant(other)
				c.checkpoint()
				time.Sleep(8 * time.Second)
				if c.alarms() > 0 {
					t.Fatal("one stopped though the third had a say yet")
				}
				if !back {
					c.found(lead)
					c.found(other)
					return
				}
				c.heal(away)
				if d := c.found(other); !d.outvoted {
					t.Errorf("it would stop with: %v", d)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// A row that changed on the disk alone, of which no event tells, is found when its turn comes.
func TestARowThatDiffersOnADiskIsFound(t *testing.T) {
	inBubble(t, options{voters: 3, disk: true, tweak: each}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		c.settle(c.checkpoint(), 0, 1, 2)
		err := c.group(1).machine.view(func(m *fsm.Machine) error { return errors.Join(m.Flush(), m.Sync()) })
		if err != nil {
			t.Fatal(err)
		}
		c.stop(1)
		dir, err := table.OpenDir(filepath.Join(c.dirs[1], "groups", theGroup, "state"), table.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := &table.Batch{}
		changed := 0
		err = dir.Engine().Scan([]byte("e"), []byte("f"), func(k, v []byte) bool {
			if flipped := strings.Replace(string(v), "entry 0/40.", "entry 0/41.", 1); flipped != string(v) {
				b.Put(bytes.Clone(k), []byte(flipped))
				changed++
			}
			return true
		})
		if err == nil {
			err = dir.Engine().Write(b)
		}
		if err == nil {
			err = dir.Engine().Sync()
		}
		if err == nil {
			err = dir.Close()
		}
		if err != nil || changed == 0 {
			t.Fatalf("changed %d rows: %v", changed, err)
		}
		c.open(1)
		for range 4 {
			c.checkpoint()
			time.Sleep(3 * time.Second)
			if c.alarms() > 0 {
				break
			}
		}
		if d := c.found(1); !d.outvoted {
			t.Errorf("it would stop with: %v", d)
		}
	})
}

// What happens to healthy nodes is no divergence: restarts, changes of leader, a follower that lags or gets a snapshot,
// members that come and go. Each time all agree in the end.
func TestNoFalseAlarm(t *testing.T) {
	tweak := func(i int, c *Config) {
		each(i, c)
		c.LogBytes = 512 << 10
	}
	inBubble(t, options{voters: 3, others: 1, disk: true, tweak: tweak}, func(t *testing.T, c *bubble) {
		c.settle(c.checkpoint(), 0, 1, 2)
		lead, n := c.leader()
		away := (lead + 1) % 3
		c.cut(away)
		c.checkpoint()
		index := c.checkpoint()
		time.Sleep(5 * time.Second)
		first, _ := c.group(lead).log.FirstIndex()
		c.heal(away)
		if applied := c.group(away).raft.AppliedIndex(); applied >= first {
			t.Errorf("the one that lags needs no snapshot, and this shows nothing: it has %d, the log begins at %d", applied, first)
		}
		c.settle(index, 0, 1, 2)

		if _, err := n.TransferLeadership(c.soon(time.Minute), ""); err != nil {
			t.Fatal(err)
		}
		c.settle(c.checkpoint(), 0, 1, 2)

		for i := range 3 {
			c.stop(i)
			c.checkpoint()
			c.open(i)
			c.settle(c.checkpoint(), 0, 1, 2)
		}

		_, n = c.leader()
		if err := n.AddMember(c.soon(time.Minute), &v1.AddMemberRequest{NodeId: c.nodes[3].ID(), PeerAddress: c.address(3)}); err != nil {
			t.Fatal(err)
		}
		c.settle(c.checkpoint(), 0, 1, 2, 3)
		lead, n = c.leader()
		gone := (lead + 1) % 3
		if err := n.RemoveMember(c.soon(time.Minute), c.nodes[gone].ID()); err != nil {
			t.Fatal(err)
		}
		c.checkpoint()
		var rest []int
		for i := range c.nodes {
			if i != gone {
				rest = append(rest, i)
			}
		}
		c.settle(c.checkpoint(), rest...)
		time.Sleep(time.Minute)
	})
}
