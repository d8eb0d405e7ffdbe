package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/cluster/logstore"
	"github.com/lockstep-dev/lockstep/fsm"
)

// group is one raft group of the node. It runs three goroutines until close: the proposer (propose.go), the keeper
// (below) and the observer of leadership, beside raft's own.
type group struct {
	id      string
	config  *Config
	node    string
	fail    func(error)
	logger  hclog.Logger
	raft    *raft.Raft
	machine *machine
	log     raftLog
	bytes   func() int64
	board   board
	changed signals
	leader  signals
	leading atomic.Bool
	notify  chan bool
	results atomic.Pointer[func(fsm.Result)]

	proposer *proposer

	end   chan struct{}
	tasks sync.WaitGroup
}

// raftLog is both of raft's stores.
type raftLog interface {
	raft.LogStore
	raft.StableStore
}

func openGroup(id, node string, c *Config, fail func(error)) (g *group, err error) {
	g = &group{
		id: id, config: c, node: node, fail: fail, logger: c.Logger.With("group", id),
		board:   board{byWait: map[uint64]*subscriber{}},
		changed: signals{byName: map[string]chan struct{}{}},
		leader:  signals{byName: map[string]chan struct{}{}},
		notify:  make(chan bool, 16), end: make(chan struct{}),
	}
	g.machine = &machine{flushBytes: c.FlushBytes, applied: g.applied, fatal: fail, stall: c.StallAfter, leads: g.leads}
	snapshots, err := g.openStores()
	if err != nil {
		return nil, err
	}
	restore, err := g.compare(snapshots)
	if err != nil {
		return nil, errors.Join(err, g.closeStores())
	}
	g.proposer = newProposer(g)
	if g.raft, err = raft.NewRaft(g.raftConfig(restore), g.machine, g.cached(), g.log, snapshots, g.transport()); err != nil {
		return nil, errors.Join(fmt.Errorf("start raft: %w", err), g.closeStores())
	}
	g.tasks.Go(g.proposer.run)
	g.tasks.Go(g.keep)
	g.tasks.Go(g.observe)
	return g, nil
}

// openStores opens the log, the state and the snapshots.
func (g *group) openStores() (raft.SnapshotStore, error) {
	if g.config.DataDir == "" {
		g.log, g.bytes = raft.NewInmemStore(), func() int64 { return 0 }
		return raft.NewInmemSnapshotStore(), openMachine("", g.machine)
	}
	dir := filepath.Join(g.config.DataDir, "groups", g.id)
	for _, path := range [...]string{filepath.Join(g.config.DataDir, "groups"), dir, filepath.Join(dir, "snapshots")} {
		if err := makeDir(path); err != nil {
			return nil, fmt.Errorf("open group %s: %w", g.id, err)
		}
	}
	store, err := logstore.Open(logstore.Config{Path: filepath.Join(dir, "log.db"), Fatal: g.fail, Leads: g.leads, StallAfter: g.config.StallAfter})
	if err != nil {
		return nil, err
	}
	g.log, g.bytes = store, store.Bytes
	if err := openMachine(dir, g.machine); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, g.logger.Named("snapshot"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshots: %w", err), g.closeStores())
	}
	return syncedSnapshots{snapshots, filepath.Join(dir, "snapshots")}, nil
}

// syncedSnapshots makes the name of a new snapshot durable: raft cuts the log on the strength of it.
type syncedSnapshots struct {
	raft.SnapshotStore
	dir string
}

func (s syncedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, transport raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, transport)
	if err != nil {
		return nil, err
	}
	return &syncedSink{sink, s.dir}, nil
}

type syncedSink struct {
	raft.SnapshotSink
	dir string
}

// Close finishes the snapshot, and syncs its directory and the one that has its name.
func (s *syncedSink) Close() error {
	if err := s.SnapshotSink.Close(); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Join(s.dir, s.ID())), syncDir(s.dir))
}

// compare decides where the state goes on from (notes on on-disk state: a state that is behind the newest snapshot
// must be restored from it, or raft would go on behind a gap; one that is ahead of both has lost its log).
func (g *group) compare(snapshots raft.SnapshotStore) (restore bool, err error) {
	list, err := snapshots.List()
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
	var snapshot uint64
	if len(list) > 0 {
		snapshot = list[0].Index
	}
	applied, _ := g.machine.current.Applied()
	const remedy = "stop this node, remove it from the cluster, wipe its data directory, and let it join again"
	switch {
	case applied > last && applied > snapshot:
		return false, fmt.Errorf("group %s: the state has entry %d, the log ends at %d and the newest snapshot at %d: the log is lost or another's; %s", g.id, applied, last, snapshot, remedy)
	case first > max(applied, snapshot)+1:
		return false, fmt.Errorf("group %s: the log begins at entry %d, the state ends at %d and the newest snapshot at %d: entries are missing between; %s", g.id, first, applied, snapshot, remedy)
	}
	return applied < snapshot, nil
}

func (g *group) raftConfig(restore bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(g.node)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = g.config.Heartbeat, g.config.Election, g.config.Lease
	c.CommitTimeout = g.config.CommitTimeout
	c.MaxAppendEntries = 16
	c.NotifyCh = g.notify
	c.NoLegacyTelemetry = true
	c.NoSnapshotRestoreOnStart = !restore
	c.Logger = g.logger.Named("raft")
	c.SnapshotInterval = 10 * time.Second
	c.TrailingLogs, c.SnapshotThreshold = 1<<20, 1<<20 // set by bytes, in keep
	return c
}

// cached puts raft's cache of recent entries over the log.
func (g *group) cached() raft.LogStore {
	cache, err := raft.NewLogCache(512, g.log)
	if err != nil {
		panic(err) // only for a size below one
	}
	return cache
}

func (g *group) transport() raft.Transport {
	if g.config.Transport != nil {
		return g.config.Transport(g.id)
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: g.config.Layer(g.id), MaxPool: 3, Timeout: 10 * time.Second,
		MaxRPCsInFlight: 1, // pipelining can wedge a follower for good (raft issue 612)
		Logger:          g.logger.Named("transport"), MsgpackUseNewTimeFormat: true,
	})
}

// leads says whether this node leads the group, as raft has told last.
func (g *group) leads() bool { return g.leading.Load() }

// applied tells what an entry did to those who wait for it. It runs in apply.
func (g *group) applied(r fsm.Result) {
	g.board.post(r.Settled)
	for _, name := range r.Changed {
		g.changed.fire(name)
	}
	if observe := g.results.Load(); observe != nil && !r.Skipped {
		(*observe)(r)
	}
}

// keep flushes in time, watches apply, and bounds the log by bytes.
func (g *group) keep() {
	flush := time.NewTicker(g.config.FlushEvery)
	defer flush.Stop()
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	size := time.NewTicker(5 * time.Second)
	defer size.Stop()
	for {
		select {
		case <-g.end:
			return
		case <-flush.C:
			g.machine.flush()
		case now := <-look.C:
			g.machine.watch(now)
			g.watchTransfer(now)
		case <-size.C:
			g.bound()
		}
	}
}

// bound sets raft's limits, which it counts in entries, by the bytes that entries have had so far.
func (g *group) bound() {
	first, err := g.log.FirstIndex()
	last, err2 := g.log.LastIndex()
	if err != nil || err2 != nil || last < first || last == 0 {
		return
	}
	each := max(g.bytes()/int64(last-first+1), 64)
	keep := uint64(max(g.config.LogBytes/each, 64))
	c := g.raft.ReloadableConfig()
	if c.TrailingLogs/2 < keep && keep/2 < c.TrailingLogs {
		return
	}
	c.TrailingLogs, c.SnapshotThreshold = keep, keep
	if err := g.raft.ReloadConfig(c); err != nil {
		g.logger.Error("set log limits", "error", err)
	}
}

func (g *group) close() error {
	var errs []error
	if g.leads() && len(g.voters()) > 1 {
		if err := g.raft.LeadershipTransfer().Error(); err != nil {
			g.logger.Warn("hand leadership over before closing", "error", err)
		}
	}
	errs = append(errs, g.raft.Shutdown().Error())
	close(g.end)
	g.tasks.Wait()
	g.proposer.close()
	errs = append(errs, g.closeStores())
	return errors.Join(errs...)
}

func (g *group) closeStores() error {
	var errs []error
	if g.machine.current != nil {
		errs = append(errs, g.machine.close())
	}
	if c, ok := g.log.(*logstore.Store); ok {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
