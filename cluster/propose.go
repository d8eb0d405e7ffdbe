package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// proposer drives the core: one goroutine proposes (run), and one for each entry in flight awaits its future.
type proposer struct {
	g      *group
	origin time.Time
	wake   chan struct{}
	flying sync.WaitGroup

	mu      sync.Mutex // guards what follows
	core    *propose.Core
	refused time.Time // since when raft refuses entries for a transfer of leadership; zero when it does not
}

// refusedSince says since when raft refuses this leader's entries for a transfer of leadership.
func (p *proposer) refusedSince() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// call is somebody who waits for the answer to a command, a renewal or a barrier.
type call struct {
	done    chan struct{} // closed when what follows is set
	outcome fsm.Outcome
	renewal fsm.RenewalOutcome
	index   uint64
	err     error
}

func (c *call) answer(err error) {
	c.err = err
	close(c.done)
}

func newCall() *call { return &call{done: make(chan struct{})} }

func newProposer(g *group) *proposer {
	return &proposer{g: g, origin: time.Now(), wake: make(chan struct{}, 1), core: propose.New(g.config.Propose)}
}

func (p *proposer) now() time.Duration { return time.Since(p.origin) }

func (p *proposer) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// sample is how often the leader's time is counted.
const sample = 50 * time.Millisecond

// run proposes until the group ends.
func (p *proposer) run() {
	timer := time.NewTimer(sample)
	defer timer.Stop()
	for {
		wait := p.step()
		timer.Reset(min(wait, sample))
		select {
		case <-p.g.end:
			p.lose()
			return
		case leads := <-p.g.notify:
			p.lead(leads)
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// lead follows raft's word on leadership.
func (p *proposer) lead(leads bool) {
	p.g.leading.Store(leads)
	p.lose()
	if leads {
		p.mu.Lock()
		p.core.Lead(p.g.raft.CurrentTerm(), p.now())
		p.mu.Unlock()
	}
	p.g.leader.fire("")
}

// lose gives back what was not proposed.
func (p *proposer) lose() {
	p.mu.Lock()
	back := p.core.Lose()
	p.mu.Unlock()
	for _, c := range back {
		c.(*call).answer(p.g.noLeader())
	}
}

// step proposes what is to be proposed now, and returns how long there is nothing more.
func (p *proposer) step() time.Duration {
	for {
		clock := p.clock()
		p.mu.Lock()
		now := p.now()
		p.core.Sample(now)
		batch := p.core.Next(now, p.g.config.Wall(), clock)
		wait := p.core.Wait(now, clock)
		p.mu.Unlock()
		if batch == nil {
			if wait == 0 { // enough in flight: an outcome wakes us
				wait = sample
			}
			return wait
		}
		p.propose(batch)
	}
}

func (p *proposer) clock() propose.Clock {
	var clock fsm.Clock
	_ = p.g.machine.view(func(m *fsm.Machine) error { clock = m.Clock(); return nil }) // the function returns none
	return propose.Clock{Uptime: clock.Uptime, Sessions: clock.Sessions, Deadline: clock.Deadline}
}

// enqueueTimeout bounds how long raft may take to take an entry.
const enqueueTimeout = 2 * time.Second

func (p *proposer) propose(b *propose.Batch) {
	data, err := proto.Marshal(b.Entry)
	if err != nil {
		p.landed(b, nil, err)
		return
	}
	future := p.g.raft.Apply(data, enqueueTimeout)
	p.flying.Go(func() {
		err := p.await(future)
		p.landed(b, future, err)
	})
}

// await waits for a future, and no longer than the group lives: raft leaves some unanswered when it stops.
func (p *proposer) await(future raft.ApplyFuture) error {
	known := make(chan error, 1)
	go func() { known <- future.Error() }()
	select {
	case err := <-known:
		return err
	case <-p.g.end:
		return raft.ErrRaftShutdown
	}
}

// landed answers the calls of an entry.
func (p *proposer) landed(b *propose.Batch, future raft.ApplyFuture, err error) {
	p.mu.Lock()
	p.core.Done()
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		p.refused = time.Time{}
	} else if p.refused.IsZero() {
		p.refused = time.Now()
	}
	p.mu.Unlock()
	p.kick()
	if err != nil {
		err = p.g.refusal(err)
		for _, calls := range append([][]propose.Call{b.Commands, b.Renewals, b.Barriers}, b.Joined...) {
			for _, c := range calls {
				c.(*call).answer(err)
			}
		}
		return
	}
	result := future.Response().(*fsm.Result)
	for i, c := range b.Commands {
		c := c.(*call)
		c.outcome, c.index = result.Outcomes[i], future.Index()
		c.answer(nil)
	}
	for i, c := range b.Renewals {
		for _, c := range append(b.Joined[i], c) {
			c := c.(*call)
			c.renewal = result.Renewals[i]
			c.answer(nil)
		}
	}
	for _, c := range b.Barriers {
		c := c.(*call)
		c.index = future.Index()
		c.answer(nil)
	}
}

// refusal names an error of raft's. Only three are a definite no; of everything else it is not known whether the
// entry was, or will be, committed.
func (g *group) refusal(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return g.noLeader()
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fsm.Refuse(v1.Code_CODE_OVERLOADED, "the log takes no entry within %s; try again", enqueueTimeout)
	}
	return fsm.Refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "it is not known whether the command was applied (%v); ask again with the same identity", err)
}

// noLeader refuses a call that this node cannot take, and says who can.
func (g *group) noLeader() *fsm.Refusal {
	api, self := g.leaderAPI()
	if _, id := g.raft.LeaderWithID(); api == "" || self || string(id) == g.node {
		return fsm.Refuse(v1.Code_CODE_NO_LEADER, "no leader is known now; try again")
	}
	r := fsm.Refuse(v1.Code_CODE_NO_LEADER, "this node does not lead; %s does", api)
	r.Detail.Leader = api
	return r
}

// submit hands a call to the core, if this node leads.
func (p *proposer) submit(calls []*call, add func(*propose.Core, *call) bool) error {
	p.mu.Lock()
	if _, leading := p.core.Leading(); !leading {
		p.mu.Unlock()
		return p.g.noLeader()
	}
	for i, c := range calls {
		if !add(p.core, c) {
			p.mu.Unlock()
			if i == 0 {
				return fsm.Refuse(v1.Code_CODE_OVERLOADED, "too many commands wait for the log; try again")
			}
			for _, c := range calls[i:] {
				c.answer(fsm.Refuse(v1.Code_CODE_OVERLOADED, "too many commands wait for the log; try again"))
			}
			p.kick()
			return nil
		}
	}
	p.mu.Unlock()
	p.kick()
	return nil
}

// wait waits for an answer. A caller that leaves does not know the outcome.
func (c *call) wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *group) proposeAll(ctx context.Context, commands []*logv1.Command) ([]fsm.Outcome, error) {
	calls := make([]*call, len(commands))
	for i := range calls {
		calls[i] = newCall()
	}
	next := 0
	err := g.proposer.submit(calls, func(core *propose.Core, c *call) bool {
		ok := core.Command(commands[next], c)
		next++
		return ok
	})
	if err != nil {
		return nil, err
	}
	out := make([]fsm.Outcome, len(calls))
	for i, c := range calls {
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
		out[i] = c.outcome
	}
	return out, nil
}

func (g *group) renew(ctx context.Context, r *logv1.Renewal) (fsm.RenewalOutcome, error) {
	c := newCall()
	err := g.proposer.submit([]*call{c}, func(core *propose.Core, c *call) bool { core.Renew(r, c); return true })
	if err == nil {
		err = c.wait(ctx)
	}
	return c.renewal, err
}

// close waits for what is in flight.
func (p *proposer) close() { p.flying.Wait() }
