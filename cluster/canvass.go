package cluster

import (
	"cmp"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// canvass is what this node learns of the campaigns of others, from the pre-votes that they ask for. Whoever campaigns
// follows nobody any more. raft makes nothing of that: who asked him for a pre-vote before, and was refused for the leader
// that he followed yet, asks again only when the timer of a candidate runs out, and that is one to two election timeouts.
type canvass struct {
	limit time.Duration // a candidate asks anew by then
	heard chan struct{} // has something when another campaigns

	mu         sync.Mutex // guards what follows
	campaigned map[raft.ServerID]time.Time
	asked      map[raft.ServerID]*question
}

// question is a pre-vote that was asked of another.
type question struct {
	term, index uint64 // of the last entry of this node
	again       chan struct{}
}

func newCanvass(election time.Duration) *canvass {
	return &canvass{
		limit: 2 * election, heard: make(chan struct{}, 1),
		campaigned: map[raft.ServerID]time.Time{}, asked: map[raft.ServerID]*question{},
	}
}

// asks takes in that this node asks another for a pre-vote.
func (c *canvass) asks(id raft.ServerID, r *raft.RequestPreVoteRequest) *question {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := &question{r.LastLogTerm, r.LastLogIndex, make(chan struct{})}
	c.asked[id] = q
	return q
}

// hears takes in that another campaigns. When it lacks what this node has it gets no pre-vote here, and would grant one
// now. That of who lacks nothing is granted by this node, who must not ask then: two that win elect each themselves.
func (c *canvass) hears(r raft.RequestPreVoteRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := raft.ServerID(r.ID)
	c.campaigned[id] = time.Now()
	q := c.asked[id]
	if q != nil && cmp.Or(cmp.Compare(r.LastLogTerm, q.term), cmp.Compare(r.LastLogIndex, q.index)) < 0 {
		close(q.again)
		delete(c.asked, id)
	}
	select {
	case c.heard <- struct{}{}:
	default:
	}
}

// since says whether another has campaigned since.
func (c *canvass) since(id raft.ServerID, t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.campaigned[id].After(t)
}

// repeats waits until a question should be asked again, and says whether it should.
func (c *canvass) repeats(q *question, end <-chan struct{}) bool {
	limit := time.NewTimer(c.limit)
	defer limit.Stop()
	select {
	case <-q.again:
		return true
	case <-limit.C:
	case <-end:
	}
	return false
}
