// Package gossip tells who is around and where: memberlist under the cluster's secret. It suggests; it never
// decides. Who is a member is in raft's configuration alone, and nobody leaves it because gossip says dead.
package gossip

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	// NodeID is the name under which the node is known.
	NodeID string
	// Listen is host:port for UDP and TCP; Advertise what others are told, if that differs.
	Listen, Advertise string
	// Join are addresses of others to begin with, and to come back to.
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

// Gossip is a running member. It keeps one goroutine beside memberlist's own, until Close. Its methods may be called
// from any goroutine.
type Gossip struct {
	config Config
	list   *memberlist.Memberlist
	end    chan struct{}
	ended  chan struct{}

	mu      sync.Mutex // guards what follows; memberlist calls in with its own locks held, so nothing here calls out
	members map[string]Member
	rival   *Member
	changed chan struct{}
}

const maxMeta = memberlist.MetaMaxSize // memberlist panics above it

// Open joins the gossip. That nobody answers yet is no error: it goes on trying.
func Open(c Config) (*Gossip, error) {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	m, err := c.memberlist()
	if err != nil {
		return nil, err
	}
	meta, err := json.Marshal(Member{PeerAddress: c.PeerAddress, APIAddress: c.APIAddress})
	if err != nil || len(meta) > maxMeta {
		return nil, fmt.Errorf("open gossip: the addresses %s and %s need more than the %d bytes that may be told", c.PeerAddress, c.APIAddress, maxMeta)
	}
	g := &Gossip{config: c, end: make(chan struct{}), ended: make(chan struct{}), members: map[string]Member{}, changed: make(chan struct{})}
	d := &delegate{g: g, meta: meta}
	m.Delegate, m.Events, m.Conflict = d, d, d
	if g.list, err = memberlist.Create(m); err != nil {
		return nil, fmt.Errorf("open gossip: %w", err)
	}
	go g.keep()
	return g, nil
}

// memberlist is the configuration of a few servers: slow to suspect, quick to tell.
func (c Config) memberlist() (*memberlist.Config, error) {
	m := memberlist.DefaultLANConfig()
	var err error
	m.Name = c.NodeID
	if m.BindAddr, m.BindPort, err = split(c.Listen); err != nil {
		return nil, fmt.Errorf("gossip listen address: %w", err)
	}
	m.AdvertisePort = m.BindPort
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
	m.TCPTimeout = 2 * time.Second // it bounds how long Close waits
	m.Logger = c.Logger.Named("memberlist").StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true})
	return m, nil
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
func (g *Gossip) Addr() string { return g.list.LocalNode().Address() }

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// keep joins the addresses it was given again and again: memberlist forgets nodes that were away for long.
func (g *Gossip) keep() {
	defer close(g.ended)
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		if len(g.config.Join) > 0 {
			if n, err := g.list.Join(g.config.Join); n == 0 && err != nil {
				g.config.Logger.Debug("nobody to gossip with yet", "error", err)
			} else {
				wait = lastPause
			}
		}
		select {
		case <-g.end:
			return
		case <-time.After(wait):
		}
	}
}

// Members lists what is known, by id; this node is one of them.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.SortedFunc(maps.Values(g.members), func(a, b Member) int { return strings.Compare(a.NodeID, b.NodeID) })
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

// Changed returns a channel that the next change closes. Take it before looking.
func (g *Gossip) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Rival tells of somebody who goes by this node's id from another address, and forgets it: gossip tells again while it
// lasts. It may be another process, or only what others remember of this one before it moved. Of two processes the
// second is sure to hear of the first, and not the other way round: others keep to the first.
func (g *Gossip) Rival() (m Member, found bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rival == nil {
		return Member{}, false
	}
	m, g.rival = *g.rival, nil
	return m, true
}

// Close leaves and ends, within a few seconds.
func (g *Gossip) Close() error {
	close(g.end)
	<-g.ended
	return errors.Join(g.list.Leave(500*time.Millisecond), g.list.Shutdown())
}
