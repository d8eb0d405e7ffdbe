package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/cluster/logstore"
	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// group is one raft group of the node. Until close it runs eleven goroutines, the proposer's two (propose.go), the one that
// writes the log (ahead.go), the keeper and the flusher (below), the observer of leadership (leader.go), the one that has
// raft look for its leader (prompt.go), the one that fires schedules (schedule.go), the one that asks how old the state is (fresh.go), the comparer (compare.go) and the one that raises the
// cluster's level (level.go), those that take a snapshot or promote a member now and then, and raft's own.
type group struct {
	id        string
	config    *Config
	node      string
	fail      func(error)
	failed    <-chan struct{} // closed by fail
	live      atomic.Bool
	logger    hclog.Logger
	raft      *raft.Raft
	peers     *peers
	canvass   *canvass
	machine   *machine
	disk      *logstore.Store // nil when the log is in memory
	log       raftLog
	ahead     *ahead
	tail      *tail
	snapshots *snapshots
	board     board
	changed   signals
	leader    signals
	members   signals
	leading   atomic.Bool
	fresh     freshness
	notify    chan bool
	results   atomic.Pointer[func(fsm.Result, time.Duration)]
	proposer  *proposer
	removal   *paced
	bulks     *paced

	comparing sync.Mutex // guards compared
	compared  comparison

	handing   sync.Mutex // held while leadership is handed over
	snapping  sync.Mutex // held while a snapshot is taken
	tuning    sync.Mutex // held while raft's configuration is changed
	promoting sync.Mutex // held while a member becomes a voter

	life  context.Context // what the group does by itself; ends makes it end
	ends  context.CancelFunc
	end   <-chan struct{} // of life
	tasks sync.WaitGroup
}

// newGroup makes a group of which nothing is open.
func newGroup(id string, n *Node) *group {
	c := &n.config
	g := &group{
		id: id, config: c, node: n.identity.Node, fail: n.fail, failed: n.done, logger: c.Logger.With("group", id),
		board:   board{byWait: map[uint64]*subscriber{}},
		changed: newSignals(), leader: newSignals(), members: newSignals(),
		fresh:  freshness{wanted: make(chan struct{}, 1)},
		notify: make(chan bool, 16), canvass: newCanvass(c.Election),
		removal: newRemoval(c.Wall), bulks: newBulks(),
	}
	g.life, g.ends = context.WithCancel(context.Background())
	g.end = g.life.Done()
	g.machine = &machine{
		crash: crash{logger: g.logger, failed: g.failed, rest: func() { select {} }}, flushBytes: c.FlushBytes, stall: c.StallAfter,
		applied: g.applied, restored: g.changed.fireAll, fatal: n.fail, leads: g.leads,
		engine: c.Engine, begins: c.begins,
	}
	g.compared = comparison{self: g.node, dir: c.DataDir, patience: c.ComparePatience, heard: map[string][]fsm.Checkpoint{}}
	return g
}

func openGroup(id string, n *Node) (g *group, err error) {
	g = newGroup(id, n)
	restore := false
	if err = g.openStores(n); err == nil {
		restore, err = g.compare()
	}
	if err == nil {
		g.peers = newPeers(g.transport(), g.canvass, g.ahead.tells)
		g.proposer = newProposer(g)
		g.raft, err = raft.NewRaft(g.raftConfig(restore), g.machine, g.ahead, halt{g.log, &g.live, g.failed}, g.snapshots, g.peers)
	}
	if err != nil {
		g.ends()
		return nil, errors.Join(fmt.Errorf("open group %s: %w", id, err), g.closeStores())
	}
	g.live.Store(true)
	g.tasks.Go(g.ahead.run)
	g.tasks.Go(g.proposer.run)
	g.tasks.Go(g.proposer.count)
	g.tasks.Go(g.keep)
	g.every(g.config.FlushEvery, g.flush)
	g.tasks.Go(g.observe)
	g.tasks.Go(g.prompt)
	g.tasks.Go(g.askStates)
	g.tasks.Go(g.fireSchedules)
	g.tasks.Go(func() { g.pace(g.removal) })
	g.tasks.Go(func() { g.pace(g.bulks) })
	if g.config.Exchange != nil {
		g.every(g.config.CompareEvery, g.compareStates)
		g.every(g.config.CompareEvery, g.raiseLevel)
	}
	return g, nil
}

func (g *group) raftConfig(restore bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(g.node)
	c.HeartbeatTimeout, c.LeaderLeaseTimeout = g.config.Heartbeat, g.config.Lease
	c.ElectionTimeout = g.config.Election + time.Nanosecond // prompt.go: never shorter than the heartbeat timeout
	c.CommitTimeout = g.config.CommitTimeout
	c.MaxAppendEntries = 16
	c.NotifyCh = g.notify
	c.NoLegacyTelemetry = true
	c.NoSnapshotRestoreOnStart = !restore
	c.Logger = g.logger.Named("raft")
	c.ShutdownOnRemove = false               // a leader that removes itself follows from then on, and says so
	c.SnapshotThreshold = math.MaxUint64 / 2 // by bytes, in limit.go
	c.SnapshotInterval = time.Hour
	return c
}

func (g *group) transport() raft.Transport {
	if g.config.Transport != nil {
		return g.config.Transport(g.id)
	}
	return named{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: g.config.Layer(g.id, g.node), MaxPool: 3, Timeout: 10 * time.Second,
		MaxRPCsInFlight: 1, // pipelining can wedge a follower for good (raft issue 612)
		Logger:          g.logger.Named("transport"), MsgpackUseNewTimeFormat: true,
	})}
}

// applied tells what an entry did to those who wait for it. It runs in apply.
func (g *group) applied(r fsm.Result, took time.Duration) {
	g.board.post(r.Settled)
	for _, name := range r.Changed {
		g.changed.fire(name)
	}
	if observe := g.results.Load(); observe != nil && !r.Skipped {
		(*observe)(r, took)
	}
	if len(r.Outcomes) > 0 {
		switch r.Outcomes[0].Reply.(type) {
		case *logv1.Retained:
			g.removal.took(took)
		case *logv1.BulkAdvanced:
			g.bulks.took(took)
		}
	}
}

// flush waits for the disk, so that nothing else may wait for it.
func (g *group) flush(context.Context) (again bool) {
	g.machine.flush()
	return true
}

// every does something at each tick, in a task of its own, while it says so, and until the group ends or its node fails. Its
// context ends with the group.
func (g *group) every(interval time.Duration, do func(context.Context) (again bool)) {
	g.tasks.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-g.end:
				return
			case <-g.failed:
				return
			case <-tick.C:
				if !do(g.life) {
					return
				}
			}
		}
	})
}

// keep watches apply and transfers, promotes members and bounds the log.
func (g *group) keep() {
	const every = 200 * time.Millisecond
	look := time.NewTicker(every)
	defer look.Stop()
	var committed uint64
	for last := time.Now(); ; {
		select {
		case <-g.end:
			return
		case <-look.C:
			now := time.Now()
			if asleep := now.Sub(last) - 2*every; asleep > 0 {
				// The process itself did not run: neither apply nor a transfer can be blamed for that time.
				g.machine.pardon(asleep)
				g.proposer.pardon(asleep)
			}
			last = now
			g.machine.watch(now)
			g.watchTransfer(now)
			g.promote(committed)
			committed = g.raft.CommitIndex()
			g.bound()
		}
	}
}

func (g *group) close() error {
	if g.leads() && len(g.voters()) > 1 {
		if err := g.handOver(context.Background(), nil); err != nil {
			g.logger.Warn("hand leadership over before closing", "error", err)
		}
	}
	g.machine.restores.Add(1) // raft waits for a snapshot that is being written
	g.peers.ends()
	err := g.raft.Shutdown().Error()
	g.ends()
	g.ahead.end()
	g.tasks.Wait()
	return errors.Join(err, g.closeStores())
}
