package gossip

import (
	"encoding/json"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls, with its own locks held.
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

// NotifyConflict hears that a name is claimed from a second address. That of another node is that node's affair.
func (d *delegate) NotifyConflict(_, other *memberlist.Node) {
	if other.Name != d.g.config.NodeID {
		return
	}
	m := member(other, true)
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	d.g.rival = &m
	d.g.fire()
}

func member(n *memberlist.Node, alive bool) Member {
	var m Member
	_ = json.Unmarshal(n.Meta, &m) // a node that says nothing of its addresses is known by name alone
	m.NodeID, m.Alive = n.Name, alive
	return m
}

func (g *Gossip) note(n *memberlist.Node, alive bool) {
	m := member(n, alive)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members[n.Name] = m
	g.fire()
}

// fire tells of a change. The caller holds mu.
func (g *Gossip) fire() {
	close(g.changed)
	g.changed = make(chan struct{})
}
