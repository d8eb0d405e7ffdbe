package cluster

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"
)

// bound takes a snapshot when the log behind the last one has grown by the limit. raft's own trigger, which counts
// entries, is off.
func (g *group) bound() {
	if g.tail.behind(g.snapshots.newest.Load()) < g.config.LogBytes || !g.snapping.TryLock() {
		return
	}
	g.tasks.Go(func() {
		defer g.snapping.Unlock()
		err := g.snapshot()
		if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && !errors.Is(err, raft.ErrRaftShutdown) {
			g.logger.Warn("take a snapshot", "error", err) // the next look tries again
		}
	})
}

// snapshot has raft keep as many entries behind the snapshot as have about the limit in bytes, so that a follower that
// was away comes back by the log.
func (g *group) snapshot() error {
	last := g.raft.LastIndex()
	keep := last - min(last, g.tail.keeping(g.config.LogBytes))
	if err := g.tune(func(c *raft.ReloadableConfig) { c.TrailingLogs = keep }); err != nil {
		return err
	}
	return g.settle(context.Background(), g.raft.Snapshot())
}

// tune changes raft's configuration.
func (g *group) tune(change func(*raft.ReloadableConfig)) error {
	g.tuning.Lock()
	defer g.tuning.Unlock()
	c := g.raft.ReloadableConfig()
	change(&c)
	return g.raft.ReloadConfig(c)
}
