package cluster

import (
	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// admit refuses commands that are not for the cluster's level: a member of an older version would stop at them. The level
// is looked at only for commands that some level lacks.
func admit(commands []*logv1.Command, level func() uint32) error {
	for _, c := range commands {
		need := fsm.LevelOf(c)
		if need == 0 {
			continue
		}
		if is := level(); is < need {
			return fsm.Refuse(v1.Code_CODE_UNSUPPORTED, "this needs cluster level %d, and the cluster is at level %d; it was begun by an older version", need, is)
		}
	}
	return nil
}

func (g *group) level() uint32 { return g.proposer.clock().Level }
