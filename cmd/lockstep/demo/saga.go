package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/fsm/graph"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// doomed is an order that no dock takes: it fails, and is undone.
const doomed = "order-lost"

// refuses says why a step is not done: the shipment of the order that no dock takes.
func refuses(s *client.Step) error {
	if s.InstanceID == doomed && s.Step == "ship" {
		return client.Fail("NO_DOCK", "no dock takes it")
	}
	return nil
}

// undoing is the file by which a worker says that it undoes something of the doomed order.
func (d *demo) undoing() string { return filepath.Join(d.dir, "undoing") }

const goesOnSuffix = ".goes-on"

// holdUndo has the first that undoes something of the doomed order say so, and wait, before it has its effect, until the leader
// was killed.
func (c *WorkerConfig) holdUndo(ctx context.Context, s *client.Step) error {
	if s.InstanceID != doomed || s.Compensates == "" {
		return nil
	}
	if first, err := claimMarker(c.Undoing, s); err != nil || !first {
		return err
	}
	return poll(ctx, "the leader is killed", func() (bool, error) {
		_, err := os.Stat(c.Undoing + goesOnSuffix)
		return err == nil, nil
	})
}

// killUndoing kills the leader while the doomed order is undone.
func (d *demo) killUndoing(ctx context.Context) error {
	held, err := d.marker(ctx, d.undoing())
	if err != nil {
		return err
	}
	if err := d.killLeader(ctx); err != nil {
		return err
	}
	i, err := d.client.Get(ctx, doomed)
	if err != nil {
		return err
	}
	if d.result.LeaderKilledUndoing = i.State == v1.InstanceState_INSTANCE_STATE_COMPENSATING; d.result.LeaderKilledUndoing {
		d.Say("that was while a worker held %s", held)
	}
	return os.WriteFile(d.undoing()+goesOnSuffix, nil, 0o600)
}

// undone compares what was undone of an instance with what was completed of it, each in the order of its history: of every step
// that has one, the compensation was completed once, the newest first. For a graph without branches.
func undone(g *graph.Graph, completed []string) error {
	var did, want []string
	for _, step := range completed {
		n := slices.IndexFunc(g.Nodes, func(n graph.Node) bool { return n.ID == step })
		if _, is := g.Nodes[n].Compensates(); is {
			did = append(did, step)
		} else if c := g.Nodes[n].Compensation; c > 0 {
			want = append(want, g.Nodes[c].ID)
		}
	}
	if slices.Reverse(want); !slices.Equal(did, want) {
		return fmt.Errorf("%v were completed, and %v are what undoes it", did, want)
	}
	return nil
}

// ends is as what an instance must end.
func ends(instance string) v1.InstanceState {
	if instance == doomed {
		return v1.InstanceState_INSTANCE_STATE_FAILED
	}
	return v1.InstanceState_INSTANCE_STATE_COMPLETED
}

// before are the steps that must have had an effect before a compensation does: its own, and the compensations of those
// behind it.
func before(g *graph.Graph, step int) []string {
	out := []string{g.Nodes[step].ID}
	for _, behind := range g.After(step)[1:] {
		if c := g.Nodes[behind].Compensation; c > 0 {
			out = append(out, g.Nodes[c].ID)
		}
	}
	return out
}
