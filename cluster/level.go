package cluster

import (
	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// admit refuses commands that are not for the cluster's level: a member of an older version would stop at them.
func (g *group) admit(commands []*logv1.Command) error {
	for _, c := range commands {
		need := fsm.LevelOf(c)
		if need == 0 { // most: the level is looked at for none of them
			continue
		}
		if level := g.proposer.clock().Level; level < need {
			return fsm.Refuse(v1.Code_CODE_UNSUPPORTED, "this needs cluster level %d, and the cluster is at level %d; it was begun by an older version", need, level)
		}
	}
	return nil
}
