package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// proposer drives the core: one goroutine proposes (run), one counts time (count), and one for each entry in flight awaits
// its future. raft leaves some futures unanswered when it stops; run answers for those.
type proposer struct {
	g       *group
	origin  time.Time
	wake    chan struct{}
	landing signals // one name: an entry's outcome is known

	mu      sync.Mutex // guards what follows
	core    *propose.Core
	flying  map[*propose.Batch]bool // entries whose outcome is not known
	ended   bool
	refused time.Time // since when raft refuses entries for a transfer of leadership; zero when it does not
}

// call is somebody who waits for the answer to a command, a renewal or a barrier.
type call struct {
	done    chan struct{} // closed when what follows is set
	outcome fsm.Outcome
	renewal fsm.RenewalOutcome
	err     error
}

func (c *call) answer(err error) {
	c.err = err
	close(c.done)
}

func newCall() *call { return &call{done: make(chan struct{})} }

func newProposer(g *group) *proposer {
	return &proposer{g: g, origin: time.Now(), wake: make(chan struct{}, 1), landing: newSignals(), core: propose.New(g.config.Propose), flying: map[*propose.Batch]bool{}}
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

// count counts the leader's time until the group ends. It waits for nothing, neither raft nor the disk: only the time in
// which the process itself did not run may be lost, or leases would live on while a disk is slow.
func (p *proposer) count() {
	ticker := time.NewTicker(sample)
	defer ticker.Stop()
	for {
		select {
		case <-p.g.end:
			return
		case <-ticker.C:
			p.mu.Lock()
			p.core.Sample(p.now())
			p.mu.Unlock()
		}
	}
}

// run proposes until the group ends.
func (p *proposer) run() {
	timer := time.NewTimer(sample)
	defer timer.Stop()
	for {
		timer.Reset(min(p.step(), sample))
		select {
		case <-p.g.end:
			p.finish()
			return
		case <-p.g.failed:
			p.finish()
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// lead follows raft's word on leadership.
func (p *proposer) lead(leads bool) {
	p.mu.Lock()
	back := p.core.Lose()
	if leads && !p.ended {
		p.core.Lead(p.g.raft.CurrentTerm(), p.now())
	}
	p.mu.Unlock()
	p.giveBack(back)
	p.kick()
}

func (p *proposer) finish() {
	p.mu.Lock()
	p.ended = true
	back := p.core.Lose()
	flying := slices.Collect(maps.Keys(p.flying))
	p.mu.Unlock()
	p.giveBack(back)
	for _, b := range flying {
		p.landed(b, nil, raft.ErrRaftShutdown)
	}
}

// giveBack answers calls that were never proposed.
func (p *proposer) giveBack(calls []propose.Call) {
	for _, c := range calls {
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
			return wait
		}
		p.propose(batch)
	}
}

func (p *proposer) clock() propose.Clock {
	var clock fsm.Clock
	_ = p.g.machine.view(func(m *fsm.Machine) error { clock = m.Clock(); return nil }) // the function returns none
	return propose.Clock{Uptime: clock.Uptime, Sessions: clock.Sessions, Deadline: clock.Deadline, Level: clock.Level}
}

// propose hands an entry to raft. It waits as long as raft does, for an entry that were refused for lack of time would
// take renewals with it; the queue behind is bounded, and the watch ends a leader that stalls.
func (p *proposer) propose(b *propose.Batch) {
	p.mu.Lock()
	p.flying[b] = true
	p.mu.Unlock()
	data, err := proto.Marshal(b.Entry)
	if err != nil {
		p.landed(b, nil, err)
		return
	}
	future := p.g.raft.Apply(data, 0)
	go func() { p.landed(b, future, future.Error()) }()
}

// settle waits for a future, and no longer than the group lives: raft leaves some unanswered when it stops.
func (g *group) settle(ctx context.Context, future raft.Future) error {
	known := make(chan error, 1)
	go func() { known <- future.Error() }()
	select {
	case err := <-known:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-g.failed:
		return raft.ErrRaftShutdown
	case <-g.end:
		return raft.ErrRaftShutdown
	}
}

// young is for a planted bug.
func (p *proposer) young() bool {
	clock := p.clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.Young(clock)
}

// landed answers the calls of an entry, once.
func (p *proposer) landed(b *propose.Batch, future raft.ApplyFuture, err error) {
	young := plant.Is(plant.YoungDenies) && p.young()
	p.mu.Lock()
	if !p.flying[b] {
		p.mu.Unlock()
		return
	}
	delete(p.flying, b)
	p.core.Done(b)
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		p.refused = time.Time{}
	} else if p.refused.IsZero() {
		p.refused = time.Now()
	}
	p.mu.Unlock()
	p.landing.fire("")
	p.kick()
	result := &fsm.Result{Outcomes: make([]fsm.Outcome, len(b.Commands)), Renewals: make([]fsm.RenewalOutcome, len(b.Renewals))}
	if err == nil {
		result = future.Response().(*fsm.Result)
	} else {
		if err = p.g.refusal(err); young {
			err = p.g.noLeader()
		}
	}
	for i, c := range b.Commands {
		c := c.(*call)
		c.outcome = result.Outcomes[i]
		c.answer(err)
	}
	for i, calls := range b.Renewals {
		for _, c := range calls {
			c := c.(*call)
			c.renewal = result.Renewals[i]
			c.answer(err)
		}
	}
	for _, c := range b.Barriers {
		c.(*call).answer(err)
	}
}

// hold stops proposing and waits until nothing is in flight, or the context ends. Let go of it with release, whatever
// it returns.
func (p *proposer) hold(ctx context.Context) error {
	for {
		landed := p.landing.next("")
		p.mu.Lock()
		p.core.Hold(true)
		flying := p.core.InFlight()
		p.mu.Unlock()
		if flying == 0 {
			return nil
		}
		select {
		case <-landed:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.g.end:
			return raft.ErrRaftShutdown
		}
	}
}

func (p *proposer) release() {
	p.mu.Lock()
	p.core.Hold(false)
	p.mu.Unlock()
	p.kick()
}

// refusedSince says since when raft refuses this leader's entries for a transfer of leadership.
func (p *proposer) refusedSince() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// pardon leaves a span out of what a transfer has lasted.
func (p *proposer) pardon(span time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.refused.IsZero() {
		p.refused = p.refused.Add(span)
	}
}

// probe asks for an entry that nobody waits for.
func (p *proposer) probe() {
	_ = p.submit(func(core *propose.Core) bool { core.Barrier(newCall()); return true }) // without leadership there is nothing to find out
}

// refusal names an error of raft's. Only three are a definite no; of everything else it is not known whether the
// entry was, or will be, committed.
func (g *group) refusal(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return g.noLeader()
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fsm.Refuse(v1.Code_CODE_OVERLOADED, "the log is busy; try again")
	}
	return fsm.Refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "it is not known whether this was applied (%v); ask again with the same identity", err)
}

// submit hands calls to the core, if this node leads and the core takes them.
func (p *proposer) submit(add func(*propose.Core) bool) error {
	p.mu.Lock()
	_, leading := p.core.Leading()
	taken := leading && add(p.core)
	p.mu.Unlock()
	switch {
	case !leading:
		return p.g.noLeader()
	case !taken:
		return fsm.Refuse(v1.Code_CODE_OVERLOADED, "too many commands wait for the log; try again")
	}
	p.kick()
	return nil
}

// wait waits for the answer to a call. A caller that leaves does not know the outcome, nor does anybody when the node
// has failed.
func (g *group) wait(ctx context.Context, c *call) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	case <-g.failed:
		return g.refusal(raft.ErrRaftShutdown)
	}
}

func (g *group) proposeAll(ctx context.Context, commands []*logv1.Command) ([]fsm.Outcome, error) {
	if err := admit(commands, g.level); err != nil {
		return nil, err
	}
	calls := make([]propose.Call, len(commands))
	for i := range calls {
		calls[i] = newCall()
	}
	if err := g.proposer.submit(func(core *propose.Core) bool { return core.Commands(commands, calls) }); err != nil {
		return nil, err
	}
	out := make([]fsm.Outcome, len(calls))
	for i, c := range calls {
		c := c.(*call)
		if err := g.wait(ctx, c); err != nil {
			if i > 0 { // the commands before were applied: that nothing happened would not be true
				err = g.refusal(err)
			}
			return nil, err
		}
		out[i] = c.outcome
	}
	return out, nil
}

func (g *group) renew(ctx context.Context, r *logv1.Renewal) (fsm.RenewalOutcome, error) {
	c := newCall()
	err := g.proposer.submit(func(core *propose.Core) bool { core.Renew(r, c); return true })
	if plant.Is(plant.RenewalBeforeCommit) && err == nil {
		return fsm.RenewalOutcome{Reply: &v1.KeepAliveResponse{}}, nil
	}
	if err == nil {
		err = g.wait(ctx, c)
	}
	return c.renewal, err
}
