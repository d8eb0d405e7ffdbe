package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Member is a voter of a new cluster.
type Member struct{ NodeID, PeerAddress string }

// HasState says whether the node was ever part of a cluster: such a node never bootstraps.
func (n *Node) HasState() (bool, error) {
	g := n.group("")
	return raft.HasExistingState(g.log, g.log, raft.NewInmemSnapshotStore())
}

// Bootstrap makes a new cluster of empty nodes. Every one of them must be given the same members: the configuration is
// sorted by id, so that all write the same.
func (n *Node) Bootstrap(members []Member) error {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.NodeID, b.NodeID) })
	var c raft.Configuration
	for _, m := range members {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(m.NodeID), Address: raft.ServerAddress(m.PeerAddress)})
	}
	for _, g := range n.groups {
		if err := g.raft.BootstrapCluster(c).Error(); err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
			return fmt.Errorf("bootstrap group %s: %w", g.id, err)
		}
	}
	return nil
}

func (g *group) voters() []raft.Server {
	var voters []raft.Server
	future := g.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	for _, s := range future.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, s)
		}
	}
	return voters
}

func (g *group) find(nodeID string) (raft.Server, bool) {
	future := g.raft.GetConfiguration()
	if future.Error() != nil {
		return raft.Server{}, false
	}
	for _, s := range future.Configuration().Servers {
		if s.ID == raft.ServerID(nodeID) {
			return s, true
		}
	}
	return raft.Server{}, false
}

// changeTimeout bounds a change of the configuration.
const changeTimeout = 10 * time.Second

// AddMember adds a voter, or tells a member's new address. Only an authenticated request may come here: gossip suggests
// members and never decides.
func (n *Node) AddMember(ctx context.Context, r *v1.AddMemberRequest) error {
	for _, g := range n.groups {
		if !g.leads() {
			return g.noLeader()
		}
		if s, ok := g.find(r.NodeId); ok && s.Address == raft.ServerAddress(r.PeerAddress) && s.Suffrage == raft.Voter {
			continue
		}
		for _, s := range g.voters() {
			if s.Address == raft.ServerAddress(r.PeerAddress) && s.ID != raft.ServerID(r.NodeId) {
				return fsm.Refuse(v1.Code_CODE_MEMBER_CONFLICT, "address %s is that of member %s; remove it first if its data is gone", r.PeerAddress, s.ID)
			}
		}
		if err := g.raft.AddVoter(raft.ServerID(r.NodeId), raft.ServerAddress(r.PeerAddress), 0, changeTimeout).Error(); err != nil {
			return g.refusal(err)
		}
	}
	return nil
}

// RemoveMember removes a voter. It is refused where the rest could not go on.
func (n *Node) RemoveMember(ctx context.Context, nodeID string) error {
	for _, g := range n.groups {
		if !g.leads() {
			return g.noLeader()
		}
		if _, ok := g.find(nodeID); !ok {
			return fsm.Refuse(v1.Code_CODE_MEMBER_NOT_FOUND, "there is no member %q", nodeID)
		}
		if len(g.voters()) == 1 {
			return fsm.Refuse(v1.Code_CODE_INVALID, "member %q is the only voter", nodeID)
		}
		if err := g.raft.RemoveServer(raft.ServerID(nodeID), 0, changeTimeout).Error(); err != nil {
			return g.refusal(err)
		}
	}
	return nil
}

// TransferLeadership hands leadership to a voter, by default the most caught-up, and returns the new leader.
func (n *Node) TransferLeadership(ctx context.Context, nodeID string) (string, error) {
	g := n.group("")
	if !g.leads() {
		return "", g.noLeader()
	}
	changed := g.leader.next("")
	var future raft.Future
	if nodeID == "" {
		future = g.raft.LeadershipTransfer()
	} else {
		s, ok := g.find(nodeID)
		if !ok {
			return "", fsm.Refuse(v1.Code_CODE_MEMBER_NOT_FOUND, "there is no member %q", nodeID)
		}
		future = g.raft.LeadershipTransferToServer(s.ID, s.Address)
	}
	if err := future.Error(); err != nil {
		return "", fsm.Refuse(v1.Code_CODE_UNAVAILABLE, "leadership was not handed over: %v", err)
	}
	for {
		if _, id := g.raft.LeaderWithID(); id != "" && string(id) != g.node {
			return string(id), nil
		}
		select {
		case <-changed:
			changed = g.leader.next("")
		case <-ctx.Done():
			return "", ctx.Err()
		case <-n.done:
			return "", n.Err()
		}
	}
}

// observe follows who leads, for those who wait to hear of it.
func (g *group) observe() {
	changes := make(chan raft.Observation, 16)
	observer := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	g.raft.RegisterObserver(observer)
	defer g.raft.DeregisterObserver(observer)
	for {
		select {
		case <-changes:
			g.leader.fire("")
		case <-g.end:
			return
		}
	}
}

// leaderAPI returns the leader's API address, and whether it is this node.
func (g *group) leaderAPI() (api string, self bool) {
	_, id := g.raft.LeaderWithID()
	if id == "" {
		return "", false
	}
	return g.config.APIAddress(string(id)), string(id) == g.node && g.leads()
}

// watchTransfer ends the process when a handing over of leadership never ends: raft can leave its flag set for good
// (raft issue 696), and then refuses every entry although it leads.
func (g *group) watchTransfer(now time.Time) {
	// A leader proposes at least every IdleGap while it matters; the proposer's refusals tell of the flag.
	if since := g.proposer.refusedSince(); !since.IsZero() && g.leads() && now.Sub(since) > 3*g.config.Election+5*time.Second {
		g.fail(fmt.Errorf("leadership has been in transfer for %s and this node still leads: raft will not come out of it", now.Sub(since).Round(time.Second)))
	}
}
