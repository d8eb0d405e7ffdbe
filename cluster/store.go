package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/cluster/logstore"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

// remedy is what is left to do with a node whose disk has lost something.
const remedy = "stop this node, remove it from the cluster, wipe its data directory, and let it join again"

// raftLog is both of raft's stores.
type raftLog interface {
	raft.LogStore
	raft.StableStore
}

// openStores opens the log, the state and the snapshots.
func (g *group) openStores(n *Node) (err error) {
	if g.config.DataDir == "" {
		g.log, g.snapshots = raft.NewInmemStore(), &snapshots{SnapshotStore: raft.NewInmemSnapshotStore()}
		return errors.Join(g.machine.open(""), g.measure())
	}
	dir := filepath.Join(g.config.DataDir, "groups", g.id)
	kept := filepath.Join(dir, "snapshots")
	for _, path := range [...]string{filepath.Dir(dir), dir, kept} {
		if err := makeDir(path); err != nil {
			return fmt.Errorf("open group %s: %w", g.id, err)
		}
	}
	path := filepath.Join(dir, "log")
	exists, err := logstore.Exists(path)
	if err != nil {
		return err
	}
	if n.logMade(g.id) && !exists {
		return fmt.Errorf("group %s: the log %s is gone, and with it what this node voted for and acknowledged; %s", g.id, path, remedy)
	}
	if g.disk, err = logstore.Open(logstore.Config{Path: path, Fatal: g.fail, Leads: g.leads, StallAfter: g.config.StallAfter}); err != nil {
		return err
	}
	g.log = g.disk
	if g.config.wrapLog != nil {
		g.log = g.config.wrapLog(g.log)
	}
	if err := n.rememberLog(g.id); err != nil {
		return err
	}
	if err := g.machine.open(dir); err != nil {
		return err
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, g.logger.Named("snapshot"))
	if err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	g.snapshots = &snapshots{SnapshotStore: files, dir: kept}
	return g.measure()
}

func (g *group) measure() (err error) {
	var seal func(*raft.Log) error
	if disk, ok := g.log.(interface{ Seal(*raft.Log) error }); ok {
		seal = disk.Seal
	}
	// raft is there once the group is live, and asks only then to store what it leads.
	leads := func() bool { return g.live.Load() && g.raft.State() == raft.Leader }
	if g.tail, err = newTail(halt{g.log, &g.live, g.failed}, g.config.CacheBytes); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	g.ahead = newAhead(g.tail, seal, leads)
	g.machine.await = g.ahead.await
	return nil
}

func (g *group) closeStores() error {
	var errs []error
	if g.machine.current != nil {
		errs = append(errs, g.machine.close())
	}
	if g.disk != nil {
		errs = append(errs, g.disk.Close())
	}
	return errors.Join(errs...)
}

// compare decides where the state goes on from. A state that is behind the newest snapshot must be restored from it,
// or raft would go on behind a gap; one that is ahead of both has lost its log.
func (g *group) compare() (restore bool, err error) {
	list, err := g.snapshots.List()
	if err != nil {
		return false, fmt.Errorf("list snapshots: %w", err)
	}
	last, err := g.log.LastIndex()
	if err != nil {
		return false, fmt.Errorf("read log: %w", err)
	}
	first, err := g.log.FirstIndex()
	if err != nil {
		return false, fmt.Errorf("read log: %w", err)
	}
	if len(list) > 0 {
		g.snapshots.newest.Store(list[0].Index)
	}
	snapshot := g.snapshots.newest.Load()
	applied, _ := g.machine.current.Applied()
	switch {
	case applied > last && applied > snapshot:
		return false, fmt.Errorf("group %s: the state has entry %d, the log ends at %d and the newest snapshot at %d: the log is lost or another's; %s", g.id, applied, last, snapshot, remedy)
	case first > max(applied, snapshot)+1:
		return false, fmt.Errorf("group %s: the log begins at entry %d, the state ends at %d and the newest snapshot at %d: entries are missing between; %s", g.id, first, applied, snapshot, remedy)
	}
	if applied >= snapshot || plant.Is(plant.SyncNotAwaited) {
		return false, nil
	}
	return true, g.readable(list)
}

// readable refuses a newest snapshot that is damaged. raft would take the one before, and go on behind a gap where the
// log was cut since.
func (g *group) readable(list []*raft.SnapshotMeta) error {
	_, content, err := g.snapshots.Open(list[0].ID)
	if err == nil {
		err = content.Close()
	}
	if err != nil {
		return fmt.Errorf("group %s: the snapshot %s, which the state goes on from, cannot be read: %w; %s", g.id, list[0].ID, err, remedy)
	}
	return nil
}

// snapshots makes the name of a new snapshot durable, for raft cuts the log on the strength of it, and knows the newest.
type snapshots struct {
	raft.SnapshotStore
	dir    string // empty: in memory
	newest atomic.Uint64
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, transport raft.Transport) (raft.SnapshotSink, error) {
	under, err := s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, transport)
	if err != nil {
		return nil, err
	}
	return &sink{SnapshotSink: under, of: s, index: index}, nil
}

// sink is a snapshot that is being written.
type sink struct {
	raft.SnapshotSink
	of    *snapshots
	index uint64
	ended bool
}

// Close finishes the snapshot, and syncs its directory and the one that has its name. raft closes twice.
func (s *sink) Close() error {
	if s.ended {
		return nil
	}
	s.ended = true
	err := s.SnapshotSink.Close()
	if err == nil && s.of.dir != "" {
		err = errors.Join(syncDir(filepath.Join(s.of.dir, s.ID())), syncDir(s.of.dir))
	}
	if err == nil {
		s.of.newest.Store(s.index)
	}
	return err
}
