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

// configuration is the newest that this node knows, committed or not.
func (g *group) configuration() []raft.Server {
	future := g.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	return future.Configuration().Servers
}

func (g *group) voters() []raft.Server {
	return slices.DeleteFunc(slices.Clone(g.configuration()), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
}

func (g *group) find(nodeID string) (raft.Server, bool) {
	servers := g.configuration()
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return s.ID == raft.ServerID(nodeID) })
	if i < 0 {
		return raft.Server{}, false
	}
	return servers[i], true
}

// changeTimeout bounds a change of the configuration.
const changeTimeout = 10 * time.Second

// AddMember adds a voter, or tells a member's new address. A new member votes once it has the log: until then it would
// only be one more whom a majority must wait for. The call waits for that; if its context ends before, the member is
// promoted all the same. Only an authenticated request may come here: gossip suggests members and never decides.
func (n *Node) AddMember(ctx context.Context, r *v1.AddMemberRequest) error {
	for _, g := range n.groups {
		if err := g.addMember(ctx, raft.ServerID(r.NodeId), raft.ServerAddress(r.PeerAddress)); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) addMember(ctx context.Context, id raft.ServerID, address raft.ServerAddress) error {
	if id == "" || address == "" {
		return fsm.Refuse(v1.Code_CODE_INVALID, "a member needs an id and an address")
	}
	for {
		joined := g.members.next("")
		lost := g.leader.next("")
		if !g.leads() {
			return g.noLeader()
		}
		members := g.configuration()
		for _, s := range members {
			if s.Address == address && s.ID != id {
				return fsm.Refuse(v1.Code_CODE_MEMBER_CONFLICT, "address %s is that of member %s; remove it first if its data is gone", address, s.ID)
			}
		}
		s, known := g.find(string(id))
		switch {
		case known && s.Address == address && s.Suffrage == raft.Voter:
			return nil
		case !known || s.Address != address: // of a voter this changes the address alone
			if err := g.settle(ctx, g.raft.AddNonvoter(id, address, 0, changeTimeout)); err != nil {
				return g.refusal(err)
			}
			continue
		}
		select {
		case <-joined:
		case <-lost:
		case <-ctx.Done():
			return ctx.Err()
		case <-g.end:
			return raft.ErrRaftShutdown
		}
	}
}

// promote makes a voter of a member that has all that was committed at the last look.
func (g *group) promote(committed uint64) {
	if !g.leads() || committed == 0 {
		return
	}
	for _, s := range g.configuration() {
		if s.Suffrage == raft.Voter || g.peers.matches(s.ID) < committed || !g.promoting.TryLock() {
			continue
		}
		g.tasks.Go(func() {
			defer g.promoting.Unlock()
			if err := g.settle(context.Background(), g.raft.AddVoter(s.ID, s.Address, 0, changeTimeout)); err != nil {
				g.logger.Warn("promote a member to a voter", "member", s.ID, "error", err)
				return
			}
			g.logger.Info("a new member votes", "member", s.ID)
			g.members.fire("")
		})
		return
	}
}

// RemoveMember removes a member. A leader that is to go hands over first, and refuses with NO_LEADER: ask the next. The
// only voter is not removed.
func (n *Node) RemoveMember(ctx context.Context, nodeID string) error {
	for _, g := range n.groups {
		if err := g.removeMember(ctx, nodeID); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) removeMember(ctx context.Context, nodeID string) error {
	if !g.leads() {
		return g.noLeader()
	}
	s, ok := g.find(nodeID)
	switch {
	case !ok:
		return fsm.Refuse(v1.Code_CODE_MEMBER_NOT_FOUND, "there is no member %q", nodeID)
	case s.Suffrage == raft.Voter && len(g.voters()) == 1:
		return fsm.Refuse(v1.Code_CODE_INVALID, "member %q is the only voter", nodeID)
	case nodeID == g.node:
		if err := g.handOver(ctx, nil); err != nil {
			return fsm.Refuse(v1.Code_CODE_UNAVAILABLE, "this member leads, and leadership was not handed over: %v", err)
		}
		return g.noLeader()
	}
	if err := g.settle(ctx, g.raft.RemoveServer(s.ID, 0, changeTimeout)); err != nil {
		return g.refusal(err)
	}
	return nil
}
