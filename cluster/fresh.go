package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// How a follower learns how old its state is. Hearing of the leader says nothing of it: what is heard may have been under
// way for long, or have waited in a socket while this process was stopped, and a leader that has just been elected does
// not say what is committed. So a follower asks, and counts from when it asked.
const (
	freshFor  = 100 * time.Millisecond // a state that is known to be so young is not asked for again
	askAtMost = 150 * time.Millisecond // how long a stale read waits for the leader
	restAfter = time.Second            // after one that was not answered
)

// stateAt is how far the leader was when it was asked.
type stateAt struct {
	Applied uint64        `json:"applied"`
	Age     time.Duration `json:"age"` // since a majority last followed it

	asked time.Time // less the age
}

// freshness is when the state of a node was current: whoever has it misses nothing that was acknowledged before.
type freshness struct {
	wanted chan struct{} // of one: somebody waits for an answer

	mu     sync.Mutex // guards what follows
	known  time.Time
	ahead  []stateAt     // answers that this node has not applied yet, oldest first
	asking chan struct{} // closed when the one that asks is done
	failed time.Time
}

// know says that the state was current at a time.
func (f *freshness) know(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.After(f.known) {
		f.known = at
	}
}

// at returns when the state was current, for a node that has applied so much.
func (f *freshness) at(applied uint64) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.ahead) > 0 && f.ahead[0].Applied <= applied {
		if f.ahead[0].asked.After(f.known) {
			f.known = f.ahead[0].asked
		}
		f.ahead = f.ahead[1:]
	}
	return f.known
}

// begin makes the caller the one that asks, unless there is one, or nobody answered just now. wait is closed when that
// is done; nil says that there is nothing to wait for.
func (f *freshness) begin() (wait chan struct{}, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.asking != nil:
		return f.asking, false
	case time.Since(f.failed) < restAfter:
		return nil, false
	}
	f.asking = make(chan struct{})
	return f.asking, true
}

// end takes the answer; nil is none.
func (f *freshness) end(s *stateAt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.asking)
	f.asking = nil
	if s == nil {
		f.failed = time.Now()
		return
	}
	const most = 32 // a node that is so far behind is as old as the oldest says
	if len(f.ahead) < most {
		f.ahead = append(f.ahead, *s)
	}
}

// current returns when the state here was current. On a leader that has applied an entry of its term, when a majority
// last followed it: what others had acknowledged is before that entry, and since then nobody else can have. Zero is never.
func (g *group) current() time.Time {
	if g.leads() && g.ofThisTerm() {
		if led := g.peers.led(raft.ServerID(g.node), g.voters()); !led.IsZero() {
			g.fresh.know(led)
		}
	}
	return g.fresh.at(g.appliedIndex())
}

func (g *group) appliedIndex() (index uint64) {
	_ = g.machine.view(func(m *fsm.Machine) error { index, _ = m.Applied(); return nil }) // the function returns none
	return index
}

// ofThisTerm says whether an entry of the current term was applied, and with it all that others have acknowledged.
func (g *group) ofThisTerm() bool {
	var term uint64
	_ = g.machine.view(func(m *fsm.Machine) error { _, term = m.Applied(); return nil }) // the function returns none
	return term == g.raft.CurrentTerm()
}

// refreshed is current, after the leader was asked if that was long ago.
func (g *group) refreshed(ctx context.Context) time.Time {
	current := g.current()
	if time.Since(current) < freshFor || g.leads() {
		return current
	}
	wait, first := g.fresh.begin()
	if wait == nil {
		return current
	}
	if first {
		g.fresh.wanted <- struct{}{} // there is room: nobody else asks
	}
	limit := time.NewTimer(askAtMost)
	defer limit.Stop()
	select {
	case <-wait:
	case <-limit.C:
	case <-ctx.Done():
	case <-g.end:
	}
	return g.current()
}

// askStates asks whenever a stale read wants it, until the group ends.
func (g *group) askStates() {
	for {
		select {
		case <-g.end:
			return
		case <-g.fresh.wanted:
			g.fresh.end(g.askState(g.life))
		}
	}
}

// askState asks the leader how far it is; nil when it does not answer.
func (g *group) askState(ctx context.Context) *stateAt {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	address, id := g.raft.LeaderWithID()
	if id == "" || string(id) == g.node || g.config.Exchange == nil {
		return nil
	}
	asked := time.Now()
	answer, err := g.ask(ctx, address, told{Asks: true})
	if err != nil || answer.State == nil {
		g.logger.Debug("ask the leader how far it is", "leader", id, "error", err)
		return nil
	}
	answer.State.asked = asked.Add(-answer.State.Age)
	return answer.State
}

// tellState answers a follower. A leader that has applied nothing of its term yet does so first: it would not know what
// others have acknowledged.
func (g *group) tellState() (*stateAt, error) {
	if !g.leads() {
		return nil, g.noLeader()
	}
	if !g.ofThisTerm() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := g.read(ctx, v1.Consistency_CONSISTENCY_UNSPECIFIED, func(*fsm.Machine) error { return nil }); err != nil {
			return nil, err
		}
	}
	led := g.peers.led(raft.ServerID(g.node), g.voters())
	if led.IsZero() || !g.ofThisTerm() {
		return nil, g.noLeader()
	}
	// In this order: what was acknowledged before led was applied before it.
	return &stateAt{Applied: g.appliedIndex(), Age: time.Since(led)}, nil
}
