// Package gossip tells who is around and where: memberlist under the cluster's secret. It suggests; it never
// decides. Who is a member is in raft's configuration alone, and nobody leaves it because gossip says dead.
package gossip

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
)

// Config of a node's gossip.
type Config struct {
	// NodeID is the name under which the node is known; two that are alive under one name refuse each other.
	NodeID string
	// Listen is host:port for UDP and TCP; Advertise what others are told, if that differs.
	Listen, Advertise string
	// Join are addresses of others to begin with.
	Join []string
	// Secret is the cluster's; without one anybody may gossip: for loopback only.
	Secret []byte
	// Where this node's peers and clients reach it.
	PeerAddress, APIAddress string
	Logger                  hclog.Logger
}

// Member is what gossip knows of a node.
type Member struct {
	NodeID      string `json:"-"`
	PeerAddress string `json:"p"`
	APIAddress  string `json:"a"`
	Alive       bool   `json:"-"`
}

// Gossip is a running member. It keeps one goroutine beside memberlist's own, until Close.
type Gossip struct {
	config Config
	list   *memberlist.Memberlist
	end    chan struct{}
	ended  chan struct{}

	mu      sync.Mutex // guards what follows
	members map[string]Member
	changed chan struct{}
	failed  error
}

const maxMeta = 512 // memberlist panics above it

// Open joins the gossip. That nobody answers yet is no error: it goes on trying.
func Open(c Config) (*Gossip, error) {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	host, port, err := split(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("gossip listen address: %w", err)
	}
	g := &Gossip{config: c, end: make(chan struct{}), ended: make(chan struct{}), members: map[string]Member{}, changed: make(chan struct{})}
	meta, err := json.Marshal(Member{PeerAddress: c.PeerAddress, APIAddress: c.APIAddress})
	if err != nil || len(meta) > maxMeta {
		return nil, fmt.Errorf("the addresses %s and %s are too long to gossip", c.PeerAddress, c.APIAddress)
	}
	m := memberlist.DefaultLANConfig()
	m.Name, m.BindAddr, m.BindPort = c.NodeID, host, port
	m.AdvertisePort = port
	if c.Advertise != "" {
		if m.AdvertiseAddr, m.AdvertisePort, err = split(c.Advertise); err != nil {
			return nil, fmt.Errorf("gossip advertise address: %w", err)
		}
	}
	if len(c.Secret) > 0 {
		key := sha256.Sum256(c.Secret)
		m.SecretKey = key[:]
	}
	m.SuspicionMult, m.DeadNodeReclaimTime = 6, 30*time.Second
	m.GossipInterval, m.PushPullInterval = 100*time.Millisecond, 5*time.Second
	d := &delegate{g: g, meta: meta}
	m.Delegate, m.Events, m.Conflict = d, d, d
	m.Logger = c.Logger.Named("memberlist").StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true})
	if g.list, err = memberlist.Create(m); err != nil {
		return nil, fmt.Errorf("open gossip: %w", err)
	}
	go g.keep()
	return g, nil
}

func split(address string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(p)
	return host, port, err
}

// Addr is where this node gossips.
func (g *Gossip) Addr() string {
	return net.JoinHostPort(g.list.LocalNode().Addr.String(), strconv.Itoa(int(g.list.LocalNode().Port)))
}

// keep joins the addresses it was given again and again: memberlist forgets nodes that were away for long.
func (g *Gossip) keep() {
	defer close(g.ended)
	wait := 100 * time.Millisecond
	for {
		if len(g.config.Join) > 0 {
			if n, err := g.list.Join(g.config.Join); n == 0 && err != nil {
				g.config.Logger.Debug("nobody to gossip with yet", "error", err)
			} else {
				wait = 10 * time.Second
			}
		}
		select {
		case <-g.end:
			return
		case <-time.After(wait):
			wait = min(2*wait, 10*time.Second)
		}
	}
}

// Members lists what is known, by id; this node is one of them.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Member, 0, len(g.members))
	for _, m := range g.members {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.NodeID, b.NodeID) })
	return out
}

// APIAddress is where a node's API is; empty when gossip has not heard of it.
func (g *Gossip) APIAddress(nodeID string) string {
	if nodeID == g.config.NodeID {
		return g.config.APIAddress
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members[nodeID].APIAddress
}

// Changed returns a channel that the next change closes.
func (g *Gossip) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Err says that another node that is alive has this node's id: one of the two must go.
func (g *Gossip) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

// Close leaves and ends.
func (g *Gossip) Close() error {
	close(g.end)
	<-g.ended
	return errors.Join(g.list.Leave(500*time.Millisecond), g.list.Shutdown())
}

// note keeps a change. It runs under memberlist's own locks, so it must not ask memberlist anything.
func (g *Gossip) note(n *memberlist.Node, alive bool) {
	m := Member{NodeID: n.Name, Alive: alive}
	_ = json.Unmarshal(n.Meta, &m) // a node that says nothing of its addresses is known by name alone
	m.NodeID, m.Alive = n.Name, alive
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members[n.Name] = m
	close(g.changed)
	g.changed = make(chan struct{})
}

// delegate is what memberlist calls.
type delegate struct {
	g    *Gossip
	meta []byte
}

func (d *delegate) NodeMeta(int) []byte             { return d.meta }
func (d *delegate) NotifyMsg([]byte)                {}
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d *delegate) LocalState(bool) []byte          { return nil }
func (d *delegate) MergeRemoteState([]byte, bool)   {}
func (d *delegate) NotifyJoin(n *memberlist.Node)   { d.g.note(n, true) }
func (d *delegate) NotifyLeave(n *memberlist.Node)  { d.g.note(n, false) }
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.g.note(n, true) }
func (d *delegate) NotifyConflict(a, b *memberlist.Node) {
	if a.Name != d.g.config.NodeID {
		return
	}
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	d.g.failed = fmt.Errorf("node %s is alive at %s already; this data directory is a copy, or that process must end first", a.Name, b.Address())
	close(d.g.changed)
	d.g.changed = make(chan struct{})
}
