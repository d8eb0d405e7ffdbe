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
	canvass *canvass
	reached signals                    // by member: it has answered a heartbeat
	end     chan struct{}              // closed before raft is shut down
	tells   func(commit uint64) uint64 // of what raft takes for committed, what members are told of

	mu    sync.Mutex // guards what follows
	match map[raft.ServerID]uint64
	asked map[raft.ServerID]time.Time
	term  chan struct{} // closed when leadership changes
}

func newPeers(t raft.Transport, c *canvass, tells func(commit uint64) uint64) *peers {
	p := &peers{Transport: t, canvass: c, reached: newSignals(), end: make(chan struct{}), tells: tells, term: make(chan struct{})}
	p.forget()
	return p
}

// forget drops what was learnt in another term: a member's log may have been cut since.
func (p *peers) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.match, p.asked = map[raft.ServerID]uint64{}, map[raft.ServerID]time.Time{}
	close(p.term)
	p.term = make(chan struct{})
}

// ends has nothing wait for a member any more.
func (p *peers) ends() { close(p.end) }

// matches returns the newest entry up to which a member is known to have this leader's log.
func (p *peers) matches(id raft.ServerID) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.match[id]
}

// heard returns how far a member is known to have this leader's log, and when it was asked what it answered last.
func (p *peers) heard(id raft.ServerID) (match uint64, asked time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.match[id], p.asked[id]
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

// AppendEntries implements raft.Transport. Entries that do not reach a member are not given back to raft before it
// answers a heartbeat again: raft waits twice as long after each failure, up to ten seconds, and would not ask a member
// that is back for as long, so that it counts for no majority.
func (p *peers) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	heartbeat := len(args.Entries) == 0 && args.PrevLogEntry == 0 && args.LeaderCommitIndex == 0
	var back <-chan struct{}
	if !heartbeat {
		back = p.reached.next(string(id))
	}
	asked := time.Now()
	sent := *args // raft sends its own again, and who has it may be reading it still
	sent.LeaderCommitIndex = p.tells(args.LeaderCommitIndex)
	err := p.Transport.AppendEntries(id, target, &sent, resp)
	switch {
	case err == nil && heartbeat:
		p.reached.fire(string(id))
	case err != nil && !heartbeat:
		p.await(back)
	}
	if err == nil && resp.Success {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked[id] = asked
		// A heartbeat has neither, and says nothing of the log.
		p.match[id] = max(p.match[id], args.PrevLogEntry+uint64(len(args.Entries)))
	}
	return err
}

// awayAtMost bounds how long raft is not told that entries did not arrive: a member that was removed meanwhile is not
// waited for for good.
const awayAtMost = time.Minute

// await waits for a member to be back, no longer than this node leads.
func (p *peers) await(back <-chan struct{}) {
	p.mu.Lock()
	term := p.term
	p.mu.Unlock()
	limit := time.NewTimer(awayAtMost)
	defer limit.Stop()
	select {
	case <-back:
	case <-term:
	case <-p.end:
	case <-limit.C:
	}
}

// AppendEntriesPipeline implements raft.Transport: a pipeline can wedge a follower for good (raft issue 612).
func (p *peers) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// RequestPreVote implements raft.WithPreVote, without which raft does no pre-vote. It asks twice when that changes the
// answer (canvass.go): a pre-vote binds nobody, and raft takes no notice of an answer that comes when its campaign is over.
func (p *peers) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	q := p.canvass.asks(id, args)
	err := p.Transport.(raft.WithPreVote).RequestPreVote(id, target, args, resp)
	if err != nil || resp.Granted || resp.Term > args.Term || !p.canvass.repeats(q, p.end) {
		return err
	}
	*resp = raft.RequestPreVoteResponse{}
	return p.Transport.(raft.WithPreVote).RequestPreVote(id, target, args, resp)
}

// Close implements raft.WithClose.
func (p *peers) Close() error {
	if c, ok := p.Transport.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}
