package demo

import (
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
