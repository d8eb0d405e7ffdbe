package cluster

import (
	"context"
	"time"

	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// read runs fn on the local machine. By default it is linearizable: a barrier, which is the next entry and which all
// reads that arrive meanwhile share, has been applied first; VerifyLeader proves less (a heartbeat answered before the
// read began, or by a non-voter, satisfies it). A stale read is served from what is here, and says how old that may be.
func (g *group) read(ctx context.Context, c v1.Consistency, fn func(*fsm.Machine) error) (age time.Duration, err error) {
	if c == v1.Consistency_CONSISTENCY_STALE {
		current := g.refreshed(ctx)
		if current.IsZero() {
			return 0, fsm.Refuse(v1.Code_CODE_UNAVAILABLE, "this node has not heard of a leader yet; try again")
		}
		return time.Since(current), g.machine.view(fn)
	}
	if plant.Is(plant.VerifyLeader) {
		if err := g.settle(ctx, g.raft.VerifyLeader()); err != nil {
			return 0, g.noLeader()
		}
		return 0, g.machine.view(fn)
	}
	barrier := newCall()
	if err := g.proposer.submit(func(core *propose.Core) bool { core.Barrier(barrier); return true }); err != nil {
		return 0, err
	}
	if err := g.wait(ctx, barrier); err != nil {
		return 0, readAgain(err)
	}
	return 0, g.machine.view(fn)
}

// readAgain: a barrier whose outcome is not known changed nothing, so a read is simply tried again.
func readAgain(err error) error {
	if r, ok := err.(*fsm.Refusal); ok && r.Detail.Code == v1.Code_CODE_UNKNOWN_OUTCOME {
		return fsm.Refuse(v1.Code_CODE_UNAVAILABLE, "leadership was lost while the read waited; try again")
	}
	return err
}
