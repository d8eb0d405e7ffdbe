package fsm

import (
	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// LevelOf is the cluster level from which on a command may be in the log; zero is any. Below it a member of the cluster may
// run a version that does not know the command, and would stop at it, or know less of what it brings.
func LevelOf(c *logv1.Command) uint32 {
	switch body := c.Body.(type) {
	case *logv1.Command_CompensateInstance:
		return compensationLevel
	case *logv1.Command_RegisterWorkflow:
		if g, err := graph.Compile(body.RegisterWorkflow.Graph); err == nil && g.Compensable() {
			return compensationLevel
		}
	}
	return 0
}
