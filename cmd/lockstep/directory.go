package main

import (
	"sync"

	"github.com/lockstep-dev/lockstep/cluster/gossip"
)

// directory tells nodes' API addresses once gossip is open.
type directory struct {
	mu     sync.Mutex // guards gossip
	gossip *gossip.Gossip
}

func (d *directory) set(g *gossip.Gossip) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gossip = g
}

func (d *directory) apiAddress(nodeID string) string {
	d.mu.Lock()
	g := d.gossip
	d.mu.Unlock()
	if g == nil {
		return ""
	}
	return g.APIAddress(nodeID)
}
