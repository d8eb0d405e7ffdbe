package fsm

import (
	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// waitsLevel is the cluster level from which on there are timers, races, approvals and total timeouts of instances.
const waitsLevel = 4

// LevelOf is the cluster level from which on a command may be in the log; zero is any. Below it a member of the cluster may
// run a version that does not know the command, and would stop at it, or know less of what it brings.
func LevelOf(c *logv1.Command) uint32 {
	switch body := c.Body.(type) {
	case *logv1.Command_CompensateInstance:
		return compensationLevel
	case *logv1.Command_ApproveStep, *logv1.Command_RejectStep:
		return waitsLevel
	case *logv1.Command_RegisterWorkflow:
		if g, err := graph.Compile(body.RegisterWorkflow.Graph); err == nil {
			return definitionLevel(g)
		}
	}
	return 0
}

// definitionLevel is the cluster level from which on a definition is taken; zero is any. Below it all refuse it as a version
// does that cannot compile it.
func definitionLevel(g *graph.Graph) uint32 {
	var level uint32
	if g.Compensable() {
		level = compensationLevel
	}
	if g.Edition > 1 {
		level = max(level, waitsLevel)
	}
	return level
}
