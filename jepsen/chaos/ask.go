package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/lab"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// status asks a node how it is; nil when it does not say.
func (w *world) status(n *lab.Node) *v1.GroupStatus {
	asking, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	res, err := w.single[n].Cluster.GetStatus(asking, connect.NewRequest(&v1.GetStatusRequest{Local: true}))
	if err != nil || len(res.Msg.Groups) == 0 {
		return nil
	}
	w.mu.Lock()
	w.ids[n] = res.Msg.NodeId
	w.mu.Unlock()
	return res.Msg.Groups[0]
}

// id is a node's own, as it said last.
func (w *world) id(n *lab.Node) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ids[n]
}

// leader is the node that says so in the newest term; nil when none does.
func (w *world) leader() (lead *lab.Node) {
	var newest uint64
	for _, n := range w.lab.Nodes {
		if s := w.status(n); s != nil && s.State == "Leader" && s.Term >= newest {
			lead, newest = n, s.Term
		}
	}
	return lead
}

func (w *world) term() (term int) {
	for _, n := range w.lab.Nodes {
		if s := w.status(n); s != nil {
			term = max(term, int(s.Term))
		}
	}
	return term
}

// ready waits until a node follows, or leads, and has what any node knew to be committed when it was first asked.
func (w *world) ready(ctx context.Context, n *lab.Node, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var want uint64
	for {
		if s := w.status(n); s != nil && s.LeaderId != "" {
			if want == 0 {
				want = w.committed()
			}
			if s.AppliedIndex >= want {
				return nil
			}
		}
		pause(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return fmt.Errorf("node %d does not come back: %w", n.Number, ctx.Err())
		}
	}
}

// committed is the newest index that any node knows to be committed.
func (w *world) committed() (newest uint64) {
	for _, n := range w.lab.Nodes {
		if s := w.status(n); s != nil {
			newest = max(newest, s.CommitIndex)
		}
	}
	return newest
}

func (w *world) handOver(ctx context.Context) error {
	_, err := w.client.Cluster.TransferLeadership(ctx, connect.NewRequest(&v1.TransferLeadershipRequest{}))
	return err
}

func (w *world) removeMember(ctx context.Context, id string) error {
	for {
		_, err := w.client.Cluster.RemoveMember(ctx, connect.NewRequest(&v1.RemoveMemberRequest{NodeId: id}))
		refusal, refused := client.AsRefusal(err)
		if err == nil || refused && refusal.Code == v1.Code_CODE_MEMBER_NOT_FOUND || ctx.Err() != nil {
			if refused && refusal.Code == v1.Code_CODE_MEMBER_NOT_FOUND {
				return nil
			}
			return err
		}
		pause(ctx, 200*time.Millisecond)
	}
}

// voter waits until a node votes.
func (w *world) voter(ctx context.Context, n *lab.Node) (bool, error) {
	for {
		if s := w.status(n); s != nil {
			for _, m := range s.Members {
				if m.NodeId == w.id(n) && m.Voter {
					return true, nil
				}
			}
		}
		pause(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			return false, fmt.Errorf("node %d does not become a voter: %w", n.Number, ctx.Err())
		}
	}
}
