package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
)

// raised is by how much tokens go on higher after a recovery: more than can have been granted in entries that are lost.
const raised = 1_000_000_000

// Recovered is what a recovery made of a data directory.
type Recovered struct {
	// NodeID is the node's new id; the one before is nobody's any more.
	Was    string `json:"was"`
	NodeID string `json:"nodeId"`
	// Index is the newest entry that is left.
	Index uint64 `json:"index"`
}

// Recover makes a node the only voter of its cluster, which lost its majority for good: what only the others had
// acknowledged is lost with them. The node must not run. It has another id afterwards, so that members that turn up
// again do not take it for one of theirs, and tokens go on higher than any that may have been granted. A recovery that
// was broken off is simply made again.
//
// Of the configuration DataDir, Engine and Logger count. The others must be wiped before they join.
func Recover(c Config, peerAddress string) (out Recovered, err error) {
	_, transport := raft.NewInmemTransport(raft.ServerAddress(peerAddress))
	c.Transport = func(string) raft.Transport { return transport }
	if err := c.Validate(); err != nil {
		return out, err
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, identityFile)); errors.Is(err, fs.ErrNotExist) {
		return out, fmt.Errorf("%s is no node's data directory: there is nothing to recover", c.DataDir)
	}
	n := &Node{config: c, groups: map[string]*group{}, done: make(chan struct{}), marked: make(chan struct{})}
	if err := n.openIdentity(); err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, n.unlock()) }()
	out.Was = n.identity.Node
	name := n.identity.Node // as --node-id names it, which goes on to fit
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		name = name[:i]
	}
	n.identity.Node = randomID(name + "-")
	out.NodeID = n.identity.Node
	if out.Index, err = recoverGroup(theGroup, n, peerAddress); err != nil {
		return out, err
	}
	return out, writeIdentity(c.DataDir, n.identity)
}

func recoverGroup(id string, n *Node, peerAddress string) (index uint64, err error) {
	g := newGroup(id, n)
	defer func() {
		err = errors.Join(err, g.closeStores(), n.Err())
		if err != nil {
			err = fmt.Errorf("recover group %s: %w", id, err)
		}
	}()
	if err := g.openStores(n); err != nil {
		return 0, err
	}
	if _, err := g.compare(); err != nil {
		return 0, err
	}
	alone := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(n.identity.Node), Address: raft.ServerAddress(peerAddress)}}}
	of := &raises{machine: g.machine}
	err = raft.RecoverCluster(g.raftConfig(false), of, g.tail, g.log, g.snapshots, g.config.Transport(id), alone)
	if of.pinned != nil {
		of.pinned.Release() // raft does not
	}
	return g.snapshots.newest.Load(), err
}

// raises is the machine of a recovery: its tokens are raised in the state that the others will take over.
type raises struct {
	*machine
	pinned raft.FSMSnapshot
}

// Snapshot implements raft.FSM.
func (r *raises) Snapshot() (_ raft.FSMSnapshot, err error) {
	r.current.RaiseTokens(raised)
	r.pinned, err = r.machine.Snapshot()
	return r.pinned, err
}
