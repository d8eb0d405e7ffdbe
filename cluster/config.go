package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
)

// Config of a node.
type Config struct {
	// DataDir holds everything; empty keeps all in memory, for tests.
	DataDir string
	// Engine keeps the state: EnginePebble, which is the default, or EngineMemory. A node may be started with either
	// at any time: its log and its newest snapshot have all of the state.
	Engine string
	// NodeID begins the id of a new node, which has a random part besides; a node that has data keeps its id.
	NodeID string
	// Layer gives a group of this node its connections to the others. It is dialled with NODE@ADDRESS, and must refuse
	// where another node answers. Advertise is this node's address there.
	Layer     func(group, node string) raft.StreamLayer
	Advertise string
	// Transport, when set, is used in place of Layer: tests have one in memory.
	Transport func(group string) raft.Transport
	// APIAddress tells where a node's API is; empty when it is not known. It must not block.
	APIAddress func(nodeID string) string
	// Timers: 400 ms each by default. A follower campaigns after Heartbeat to twice that without contact.
	Heartbeat, Election, Lease time.Duration
	// CommitTimeout is how soon an idle leader tells followers of commits: 10 ms.
	CommitTimeout time.Duration
	// FlushEvery bounds what a crash must apply again: 5 s. FlushBytes flushes earlier: 8 MiB, of which events and payloads are
	// little, for they are written ahead. Less often is cheaper, for what moved several times is written once; but apply
	// stands still meanwhile, for 5 to 8 ms a MiB on a busy machine.
	FlushEvery time.Duration
	FlushBytes int
	// LogBytes is how much log is kept behind a snapshot, and how much makes the next: 256 MiB.
	LogBytes int64
	// CacheBytes is how much of the log's end is kept in memory for followers: 16 MiB.
	CacheBytes int64
	// StallAfter is how long the leader's disk, or apply, may take before the process ends: 4 s.
	StallAfter time.Duration
	// Exchange sends a request to the node at a peer address, whose Node.Exchange answers it: so voters compare the
	// digests of their states every second, and a node that differs from a majority stops. Nil: nothing is compared.
	Exchange     func(ctx context.Context, address string, request []byte) (reply []byte, err error)
	CompareEvery time.Duration
	// ComparePatience is how long voters may be missing whose digests would decide between others that differ: 10 s.
	ComparePatience time.Duration
	diverged        func(*divergence) // of a test: what becomes of a node that must not go on
	wrapLog         func(raftLog) raftLog
	begins, level   uint32 // of a test: the cluster level of a new cluster, and the newest that this node knows

	Propose propose.Config
	Logger  hclog.Logger
	// Wall returns the wall clock in unix nanoseconds; zero when it is not to be trusted. Default: the machine's.
	Wall func() int64
}

// Engines.
const (
	// EnginePebble keeps rows on disk; memory is bounded, and a start reads what was pending.
	EnginePebble = "pebble"
	// EngineMemory keeps rows in memory alone: for states that fit twice. A start reads the newest snapshot and the log.
	EngineMemory = "memory"
)

// Validate fills in defaults, and says which field is wrong.
func (c *Config) Validate() error {
	set := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.Heartbeat, 400*time.Millisecond)
	set(&c.Election, c.Heartbeat)
	set(&c.Lease, min(c.Heartbeat, 400*time.Millisecond))
	set(&c.CommitTimeout, 10*time.Millisecond)
	set(&c.FlushEvery, 5*time.Second)
	set(&c.StallAfter, 4*time.Second)
	set(&c.CompareEvery, time.Second)
	set(&c.ComparePatience, 10*time.Second)
	for _, level := range [...]*uint32{&c.begins, &c.level} {
		if *level == 0 {
			*level = fsm.Level
		}
	}
	if c.FlushBytes == 0 {
		c.FlushBytes = 8 << 20
	}
	if c.LogBytes == 0 {
		c.LogBytes = 256 << 20
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 16 << 20
	}
	if c.Engine == "" {
		c.Engine = EnginePebble
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.APIAddress == nil {
		c.APIAddress = func(string) string { return "" }
	}
	if c.Wall == nil {
		c.Wall = func() int64 { return time.Now().UnixNano() }
	}
	switch {
	case c.Engine != EnginePebble && c.Engine != EngineMemory:
		return fmt.Errorf("cluster: there is no engine %q: it is %s or %s", c.Engine, EnginePebble, EngineMemory)
	case c.Layer == nil && c.Transport == nil:
		return errors.New("cluster: Layer or Transport is needed")
	case c.Lease > c.Heartbeat:
		return fmt.Errorf("cluster: Lease %s is longer than Heartbeat %s", c.Lease, c.Heartbeat)
	case c.Election < c.Heartbeat:
		return fmt.Errorf("cluster: Election %s is shorter than Heartbeat %s", c.Election, c.Heartbeat)
	}
	return nil
}
