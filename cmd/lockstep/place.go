package main

import (
	"context"
	"encoding/json"

	"github.com/lockstep-dev/lockstep/cluster"
	"github.com/lockstep-dev/lockstep/cluster/gossip"
	"github.com/lockstep-dev/lockstep/cluster/join"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/transport/peer"
)

// placed is a node as package join wants it.
type placed struct{ *cluster.Node }

// Bootstrap implements join.Node.
func (p placed) Bootstrap(members []gossip.Member) error {
	var all []cluster.Member
	for _, m := range members {
		all = append(all, cluster.Member{NodeID: m.NodeID, PeerAddress: m.PeerAddress})
	}
	return p.Node.Bootstrap(all)
}

// PeerAddress implements join.Node.
func (p placed) PeerAddress() string {
	for _, group := range p.Status(0).Groups {
		for _, m := range group.Members {
			if m.NodeId == p.ID() {
				return m.PeerAddress
			}
		}
	}
	return ""
}

// others are the nodes behind the peer port, as package join wants them; and where they reach this one.
type others struct {
	mux                             *peer.Mux
	nodeID, peerAddress, apiAddress string
}

// Ask implements join.Peers.
func (o others) Ask(ctx context.Context, address string) (join.Standing, error) {
	reply, err := o.mux.Call(ctx, address, callStanding, nil)
	if err != nil {
		return join.Standing{}, err
	}
	return join.Read(reply)
}

// Join implements join.Peers.
func (o others) Join(ctx context.Context, address string) error {
	request, err := json.Marshal(&v1.AddMemberRequest{NodeId: o.nodeID, PeerAddress: o.peerAddress, ApiAddress: o.apiAddress})
	if err == nil {
		_, err = o.mux.Call(ctx, address, callJoin, request)
	}
	return err
}
