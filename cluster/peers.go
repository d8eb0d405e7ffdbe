package cluster

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// peers is raft's transport, and what the leader learns from it: how far each member's log matches its own, and when it
// last asked what a member then answered.
type peers struct {
	raft.Transport

	mu    sync.Mutex // guards what follows
	match map[raft.ServerID]uint64
	asked map[raft.ServerID]time.Time
}

func newPeers(t raft.Transport) *peers {
	p := &peers{Transport: t}
	p.forget()
	return p
}

// forget drops what was learnt in another term: a member's log may have been cut since.
func (p *peers) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.match, p.asked = map[raft.ServerID]uint64{}, map[raft.ServerID]time.Time{}
}

// matches returns the newest entry up to which a member is known to have this leader's log.
func (p *peers) matches(id raft.ServerID) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.match[id]
}

// led returns a time at which a majority of the voters still followed this node. Who is asked later than that may have
// elected another since; nobody can have before.
func (p *peers) led(self raft.ServerID, voters []raft.Server) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var times []time.Time
	for _, v := range voters {
		if v.ID == self {
			times = append(times, time.Now())
			continue
		}
		times = append(times, p.asked[v.ID])
	}
	if len(times) == 0 {
		return time.Time{}
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	return times[len(times)/2]
}

// AppendEntries implements raft.Transport.
func (p *peers) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	asked := time.Now()
	err := p.Transport.AppendEntries(id, target, args, resp)
	if err == nil && resp.Success {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked[id] = asked
		// A heartbeat has neither, and says nothing of the log.
		p.match[id] = max(p.match[id], args.PrevLogEntry+uint64(len(args.Entries)))
	}
	return err
}

// AppendEntriesPipeline implements raft.Transport: a pipeline can wedge a follower for good (raft issue 612).
func (p *peers) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// RequestPreVote implements raft.WithPreVote, without which raft does no pre-vote.
func (p *peers) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return p.Transport.(raft.WithPreVote).RequestPreVote(id, target, args, resp)
}

// Close implements raft.WithClose.
func (p *peers) Close() error {
	if c, ok := p.Transport.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}
