package api

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Cluster is what the handlers need of a node. Errors are *fsm.Refusal, or the context's. Package cluster's Node is one.
type Cluster interface {
	ProposeAll(ctx context.Context, commands []*logv1.Command) ([]fsm.Outcome, error)
	Renew(ctx context.Context, r *logv1.Renewal) (fsm.RenewalOutcome, error)
	Await(waitID uint64) (settlements <-chan []fsm.Settlement, cancel func())
	Read(ctx context.Context, namespace string, c v1.Consistency, fn func(*fsm.Machine) error) (age time.Duration, err error)
	Changed(namespace string) <-chan struct{}
	Leader(namespace string) (api string, self bool)
	LeaderChanged() <-chan struct{}
	Status(digestIndex uint64) *v1.GetStatusResponse
	AddMember(ctx context.Context, r *v1.AddMemberRequest) error
	RemoveMember(ctx context.Context, nodeID string) error
	TransferLeadership(ctx context.Context, nodeID string) (leaderID string, err error)
}

// GetStatus tells how this node is. It is never forwarded.
func (s *service) GetStatus(_ context.Context, r *connect.Request[v1.GetStatusRequest]) (*connect.Response[v1.GetStatusResponse], error) {
	status := s.cluster.Status(r.Msg.DigestIndex)
	status.Version = s.config.Version
	return connect.NewResponse(status), nil
}

// AddMember adds a voter.
func (s *service) AddMember(ctx context.Context, r *connect.Request[v1.AddMemberRequest]) (*connect.Response[v1.AddMemberResponse], error) {
	return unary(s, ctx, r, "", func(ctx context.Context, r *v1.AddMemberRequest) (*v1.AddMemberResponse, error) {
		if err := name("nodeId", r.NodeId); err != nil {
			return nil, err
		}
		if err := address("peerAddress", r.PeerAddress); err != nil {
			return nil, err
		}
		if r.ApiAddress != "" {
			if err := address("apiAddress", r.ApiAddress); err != nil {
				return nil, err
			}
		}
		return &v1.AddMemberResponse{}, s.cluster.AddMember(ctx, r)
	})
}

// RemoveMember removes a voter.
func (s *service) RemoveMember(ctx context.Context, r *connect.Request[v1.RemoveMemberRequest]) (*connect.Response[v1.RemoveMemberResponse], error) {
	return unary(s, ctx, r, "", func(ctx context.Context, r *v1.RemoveMemberRequest) (*v1.RemoveMemberResponse, error) {
		if err := name("nodeId", r.NodeId); err != nil {
			return nil, err
		}
		return &v1.RemoveMemberResponse{}, s.cluster.RemoveMember(ctx, r.NodeId)
	})
}

// TransferLeadership hands leadership to another voter.
func (s *service) TransferLeadership(ctx context.Context, r *connect.Request[v1.TransferLeadershipRequest]) (*connect.Response[v1.TransferLeadershipResponse], error) {
	return unary(s, ctx, r, "", func(ctx context.Context, r *v1.TransferLeadershipRequest) (*v1.TransferLeadershipResponse, error) {
		if err := optional("nodeId", r.NodeId); err != nil {
			return nil, err
		}
		id, err := s.cluster.TransferLeadership(ctx, r.NodeId)
		return &v1.TransferLeadershipResponse{LeaderId: id}, err
	})
}
