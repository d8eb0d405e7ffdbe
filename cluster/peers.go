package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// peers is raft's transport, and what the leader learns from it: how far each member's log matches its own.
type peers struct {
	raft.Transport

	mu    sync.Mutex // guards match
	match map[raft.ServerID]uint64
}

// forget drops what was learnt in another term: a member's log may have been cut since.
func (p *peers) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.match = map[raft.ServerID]uint64{}
}

// matches returns the newest entry up to which a member is known to have this leader's log.
func (p *peers) matches(id raft.ServerID) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.match[id]
}

func (p *peers) learn(id raft.ServerID, index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.match[id] = max(p.match[id], index)
}

// AppendEntries implements raft.Transport.
func (p *peers) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := p.Transport.AppendEntries(id, target, args, resp)
	// A heartbeat carries neither, and says nothing of the log.
	if index := args.PrevLogEntry + uint64(len(args.Entries)); err == nil && resp.Success && index > 0 {
		p.learn(id, index)
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
