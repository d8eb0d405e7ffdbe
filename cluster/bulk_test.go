package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// populate starts instances of a workflow of one step, some in each entry.
func (c *bubble) populate(from, to int) {
	c.t.Helper()
	for n := from; n < to; {
		var starts []*logv1.Command
		for ; n < to && len(starts) < 100; n++ {
			starts = append(starts, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{InstanceId: fmt.Sprintf("i%06d", n), Workflow: "w"}}})
		}
		c.until("instances are started", func() bool {
			_, node := c.leader()
			outcomes, err := node.ProposeAll(c.soon(time.Minute), starts)
			return err == nil && len(outcomes) == len(starts) && outcomes[0].Refusal == nil
		})
	}
}

// A bulk operation goes on whoever leads, and comes to each instance once, though leaders are lost while it does; to those that start meanwhile
// it does not.
func TestABulkOperationOutlivesItsLeaders(t *testing.T) {
	const instances, rounds = 3000, 4
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		d, err := source.Parse([]byte("workflow: w\nsteps:\n  a: {queue: q}\n"), "yaml")
		if err != nil {
			t.Fatal(err)
		}
		c.put(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical}}})
		c.populate(0, instances)
		c.put(&logv1.Command{Envelope: &logv1.Envelope{Author: &v1.Author{Principal: "ann"}}, Body: &logv1.Command_StartBulk{StartBulk: &v1.StartBulkRequest{
			BulkId: "b", Act: v1.BulkAct_BULK_ACT_CANCEL, Filter: &v1.InstanceFilter{Workflow: "w"}, Reason: "closed",
		}}})
		state := func() (b *v1.BulkOperation) {
			_, n := c.leader()
			_, err := n.Read(c.soon(time.Minute), "", 0, func(m *fsm.Machine) (err error) {
				b, err = m.GetBulk(&v1.GetBulkRequest{BulkId: "b"})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if b.Looked+b.Left < instances || b.Changed+b.Unchanged+b.Refused != b.Matched {
				t.Fatalf("it is %v", b)
			}
			return b
		}
		cuts := 0
		for round := 1; round <= rounds; round++ {
			c.until("it goes on", func() bool { return state().Matched >= int64(instances*round/(rounds+2)) })
			if state().State == v1.BulkState_BULK_STATE_RUNNING {
				cuts++
			}
			i, _ := c.leader()
			c.cut(i)
			c.populate(instances*round, instances*round+100)
			c.heal(i)
		}
		c.until("it ends", func() bool { return state().State == v1.BulkState_BULK_STATE_COMPLETED })
		if b := state(); b.Changed != instances || b.Matched != instances || cuts == 0 {
			t.Errorf("with %d leaders lost it came to %v", cuts, b)
		}
		came := map[string]int{}
		_, n := c.leader()
		_, err = n.Read(c.soon(time.Minute), "", 0, func(m *fsm.Machine) error {
			for after := int64(0); ; {
				events, err := m.Events("", after, 1000)
				if err != nil || len(events) == 0 {
					return err
				}
				for _, e := range events {
					after = e.Position
					if e.Type == "lockstep.bulk.applied.v1" {
						if came[e.Data.OtherInstance]++; e.Author.GetPrincipal() != "ann" || e.Data.Reason != "closed" || e.Data.OtherInstance >= fmt.Sprintf("i%06d", instances) {
							t.Errorf("told as %v", e)
						}
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for n := range instances {
			if id := fmt.Sprintf("i%06d", n); came[id] != 1 {
				t.Errorf("it came to %s %d times", id, came[id])
			}
		}
		c.agree()
	})
}

// Where no bulk operation runs, none is told to go on.
func TestWithoutABulkOperationNothingIsProposed(t *testing.T) {
	inBubble(t, options{voters: 3}, func(t *testing.T, c *bubble) {
		c.put(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartBulk{StartBulk: &v1.StartBulkRequest{BulkId: "b", Act: v1.BulkAct_BULK_ACT_CANCEL, All: true, Reason: "r"}}})
		time.Sleep(time.Second) // it ends
		i, _ := c.leader()
		was := c.group(i).raft.LastIndex()
		time.Sleep(2 * time.Minute)
		if is := c.group(i).raft.LastIndex(); is != was {
			t.Errorf("%d entries came", is-was)
		}
	})
}
