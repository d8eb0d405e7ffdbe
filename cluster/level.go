package cluster

import (
	"context"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The cluster level decides what may be in the log, so that nodes can be moved to a newer version one after the other. A new cluster
// has the newest level of the node that first leads it. It rises by itself, by an entry, once every member has said that it
// knows a newer one; it never goes back, and a node of an older version that comes later stops at the first entry.

// admit refuses commands that are not for the cluster's level: a member of an older version would stop at them. The level
// is looked at only for commands that some level lacks.
func admit(commands []*logv1.Command, level func() uint32) error {
	for _, c := range commands {
		need := fsm.LevelOf(c)
		if need == 0 {
			continue
		}
		if is := level(); is < need {
			return fsm.Refuse(v1.Code_CODE_UNSUPPORTED, "this needs cluster level %d, and the cluster is at level %d; it rises once all members run a version that knows more", need, is)
		}
	}
	return nil
}

func (g *group) level() uint32 { return g.proposer.clock().Level }

// raiseLevel raises the level, if it may rise.
func (g *group) raiseLevel(ctx context.Context) (again bool) {
	if is := g.level(); is < g.config.level && g.leads() {
		g.raiseTo(ctx, g.knownByAll(ctx, is), is)
	}
	return true
}

// knownByAll is the newest level that every member knows, voter or not. A member that does not answer counts as one that knows
// the least.
func (g *group) knownByAll(ctx context.Context, least uint32) uint32 {
	known := g.config.level
	for _, s := range g.configuration() {
		if s.ID == raft.ServerID(g.node) {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, g.config.CompareEvery)
		answer, err := g.ask(asking, s.Address, told{})
		cancel()
		if err != nil || answer.Node != string(s.ID) || answer.Level <= least {
			return least
		}
		known = min(known, answer.Level)
	}
	return known
}

func (g *group) raiseTo(ctx context.Context, level, is uint32) {
	if level <= is {
		return
	}
	raise := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: level}}}
	if _, err := g.proposeAll(ctx, []*logv1.Command{raise}); err != nil {
		g.logger.Warn("raise the cluster's level", "to", level, "error", err) // the next look tries again
		return
	}
	g.logger.Info("the cluster's level has risen", "from", is, "to", level)
}
