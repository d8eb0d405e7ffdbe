package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// observe follows who leads, and who wants to, until the group ends. It never waits for apply or for the disk: the watches
// must know that this node leads also while those stall, and raft waits for whoever hears of it.
func (g *group) observe() {
	changes := make(chan raft.Observation, 16)
	observer := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RequestPreVoteRequest:
			return true
		}
		return false
	})
	g.raft.RegisterObserver(observer)
	defer g.raft.DeregisterObserver(observer)
	for {
		select {
		case leads := <-g.notify:
			if g.leads() {
				g.fresh.know(g.current())
			}
			g.leading.Store(leads)
			g.peers.forget()
			g.proposer.lead(leads)
			g.leader.fire("")
		case change := <-changes:
			if r, ok := change.Data.(raft.RequestPreVoteRequest); ok {
				g.canvass.hears(r)
				continue
			}
			g.leader.fire("")
		case <-g.end:
			return
		}
	}
}

// leads says whether this node leads the group, as raft has told last.
func (g *group) leads() bool { return g.leading.Load() }

// leaderAPI returns the leader's API address, and whether it is this node.
func (g *group) leaderAPI() (api string, self bool) {
	_, id := g.raft.LeaderWithID()
	if id == "" {
		return "", false
	}
	return g.config.APIAddress(string(id)), string(id) == g.node && g.leads()
}

// noLeader refuses a call that this node cannot take, and says who can.
func (g *group) noLeader() *fsm.Refusal {
	_, id := g.raft.LeaderWithID()
	api := g.config.APIAddress(string(id))
	if id == "" || string(id) == g.node || api == "" {
		return fsm.Refuse(v1.Code_CODE_NO_LEADER, "no leader is known now; try again")
	}
	r := fsm.Refuse(v1.Code_CODE_NO_LEADER, "this node does not lead; %s does", api)
	r.Detail.Leader = api
	return r
}

// errBusy says that another has begun to hand leadership over.
var errBusy = errors.New("leadership is being handed over already")

// successor is the most caught-up voter of those that have answered within an election timeout; nil when none has. raft
// would take one that is away for as good as any whose log is as long.
func (g *group) successor() (to *raft.Server) {
	var most uint64
	for _, v := range g.voters() {
		match, asked := g.peers.heard(v.ID)
		if string(v.ID) != g.node && time.Since(asked) < g.config.Election && match >= most {
			to, most = &v, match
		}
	}
	return to
}

// handOver hands leadership to a voter, by default the most caught-up that is there. What was proposed lands first, and nothing is
// proposed meanwhile: no entry's fate is left open, and no tick overtakes a renewal that was refused.
func (g *group) handOver(ctx context.Context, to *raft.Server) error {
	if !g.handing.TryLock() {
		return errBusy
	}
	defer g.handing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	defer g.proposer.release()
	if err := g.proposer.hold(ctx); err != nil {
		return err
	}
	if to == nil {
		to = g.successor()
	}
	if to == nil {
		return g.settle(ctx, g.raft.LeadershipTransfer())
	}
	return g.settle(ctx, g.raft.LeadershipTransferToServer(to.ID, to.Address))
}

// TransferLeadership hands leadership to a voter, by default the most caught-up that is there, and returns the new leader.
func (n *Node) TransferLeadership(ctx context.Context, nodeID string) (string, error) {
	g := n.group("")
	if !g.leads() {
		return "", g.noLeader()
	}
	var to *raft.Server
	if nodeID != "" {
		s, ok := g.find(nodeID)
		switch {
		case !ok:
			return "", fsm.Refuse(v1.Code_CODE_MEMBER_NOT_FOUND, "there is no member %q", nodeID)
		case nodeID == g.node:
			return nodeID, nil
		case s.Suffrage != raft.Voter:
			return "", fsm.Refuse(v1.Code_CODE_UNAVAILABLE, "member %q is not a voter yet", nodeID)
		}
		to = &s
	}
	if err := g.handOver(ctx, to); err != nil {
		return "", fsm.Refuse(v1.Code_CODE_UNAVAILABLE, "leadership was not handed over: %v", err)
	}
	for {
		changed := g.leader.next("")
		if _, id := g.raft.LeaderWithID(); id != "" && string(id) != g.node {
			return string(id), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", ctx.Err()
		case <-g.end:
			return "", raft.ErrRaftShutdown
		}
	}
}

// watchTransfer ends the process when a handing over of leadership never ends: raft can leave its flag set for good
// (raft issue 696), and then refuses every entry although it leads. By itself one ends within two election timeouts.
func (g *group) watchTransfer(now time.Time) {
	since := g.proposer.refusedSince()
	if since.IsZero() || !g.leads() {
		return
	}
	g.proposer.probe() // an idle leader would not find out that it is over
	if now.Sub(since) > 3*g.config.Election+time.Second {
		g.fail(fmt.Errorf("leadership has been in transfer for %s and this node still leads: raft will not come out of it", now.Sub(since).Round(100*time.Millisecond)))
	}
}
