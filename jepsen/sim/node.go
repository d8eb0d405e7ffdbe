package sim

import (
	"bytes"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/client/core"
	"github.com/lockstep-dev/lockstep/cluster/propose"
	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// node is a member: the driver of a state machine and of a proposer, as package cluster is, over the modelled raft.
type node struct {
	*process
	id int
	w  *world

	disk    *disk
	raft    *raft
	machine *fsm.Machine
	core    *propose.Core
	applied uint64 // of raft's log

	results  map[uint64]*fsm.Result   // of entries that this node proposed, until their calls are answered
	waiting  map[uint64]*serverCall   // by wait id
	received map[uint64]time.Duration // when, by call, what is not proposed yet
	attached []attached               // streams
	restores int
	told     time.Duration // when the proposer is told next of leadership
	wake     time.Duration // when the proposer is looked at next; negative when it is not
	handing  bool
	refused  string // why it did not start

	timetable timetable
	sizes     draws // of slices
}

// start begins a life of the node with what its disk has.
func (n *node) start() {
	n.up = true
	n.results, n.waiting, n.received = map[uint64]*fsm.Result{}, map[uint64]*serverCall{}, map[uint64]time.Duration{}
	n.core, n.wake, n.handing, n.told = propose.New(n.w.proposer), -1, false, 0
	if err := n.open(); err != nil {
		n.up, n.refused = false, err.Error()
		n.w.fail("S3", "node %d does not start: %v", n.id, err)
		return
	}
	n.raft.begin()
	n.applied = n.raft.commit
	n.upkeep()
	n.timetable, n.sizes = timetable{}, newDraws(n.w.config.Seed, fmt.Sprint("slices of node", n.id))
	n.plan(schedulesEvery)
	n.retain(time.Second)
	n.advance(time.Second)
}

// open finds the state to go on from: the engine's, or the newest snapshot's when that is ahead.
func (n *node) open() (err error) {
	n.machine, err = n.machineOf(n.disk.store)
	if err != nil {
		return err
	}
	applied, _ := n.machine.Applied()
	k := &n.disk.kept
	var snapshot uint64
	if k.snapshot != nil {
		snapshot = k.snapshot.index
	}
	switch {
	case applied > k.log.last() && applied > snapshot:
		return fmt.Errorf("the state has entry %d, the log ends at %d and the newest snapshot at %d", applied, k.log.last(), snapshot)
	case k.log.base > max(applied, snapshot):
		return fmt.Errorf("the log begins behind entry %d, the state ends at %d and the newest snapshot at %d", k.log.base, applied, snapshot)
	}
	if applied < snapshot && !plant.Is(plant.SyncNotAwaited) {
		return n.restore(k.snapshot)
	}
	n.w.history.reopened(n)
	return nil
}

// machineOf opens a machine, which does as much in an entry as those of the other nodes.
func (n *node) machineOf(engine table.Engine) (*fsm.Machine, error) {
	m, err := fsm.Open(engine)
	if err == nil && n.w.mostWork > 0 {
		m.LimitWork(n.w.mostWork)
	}
	if err == nil {
		m.LimitBulk(n.w.slices[0], n.w.slices[1])
	}
	return m, err
}

// restore builds the snapshot's state aside, and puts it in place.
func (n *node) restore(s *snapshot) error {
	var stream bytes.Buffer
	if _, err := s.state.WriteTo(&stream); err != nil {
		return err
	}
	aside := newStore()
	var into table.Engine = aside
	if plant.Is(plant.RestoreOverLive) {
		aside = n.disk.store
		into = aside
	}
	if _, err := fsm.ReadSnapshot(&stream, into); err != nil {
		return err
	}
	machine, err := n.machineOf(into)
	if err != nil {
		return err
	}
	aside.versions = aside.versions[len(aside.versions)-1:]
	n.machine, n.disk.store = machine, aside
	n.restores++
	n.w.report.Restores++
	n.w.history.reopened(n)
	return nil
}

// attached is a client's stream to this node.
type attached struct {
	client *process
	broken func()
}

// detach breaks every stream to this node: its process ends, or it is not the one to ask any more.
func (n *node) detach() {
	for _, a := range n.attached {
		n.w.to(a.client, n.w.net.delay(), a.broken)
	}
	n.attached = nil
}

// crash ends a life.
func (n *node) crash() {
	n.detach()
	n.up = false
	n.life++
	n.disk.crash()
	n.w.report.Crashes++
}

// upkeep flushes the machine now and then: each second, or in some seeds more rarely, so that more is dirty.
func (n *node) upkeep() {
	n.w.by(n.process, n.w.disks.between(n.w.flushes/2, 3*n.w.flushes/2), func() {
		n.must(n.machine.Flush())
		if n.w.disks.one(4) {
			n.must(n.machine.Sync())
		}
		if len(n.raft.log.entries) > n.w.logLimit {
			n.snapshot()
		}
		n.upkeep()
	})
}

func (n *node) must(err error) {
	if err != nil {
		n.w.fail("S8", "node %d: %v", n.id, err)
	}
}

// snapshot pins the state, writes it out, and cuts the log.
func (n *node) snapshot() {
	state, err := n.machine.Snapshot()
	n.must(err)
	index, restores := n.applied, n.restores
	term, here := n.raft.log.term(index)
	if k := n.disk.kept.snapshot; !here || k != nil && k.index >= index {
		return
	}
	n.w.by(n.process, n.w.disks.between(10*time.Millisecond, 300*time.Millisecond), func() {
		if n.restores != restores {
			return
		}
		n.must(n.machine.Sync())
		s := &snapshot{index: index, term: term, state: state}
		n.disk.write(n.process, func(k *kept) { k.snapshot = s }, func() {
			n.w.report.Snapshots++
			r := n.raft
			cut := index - min(index, uint64(n.w.disks.IntN(60)))
			if cut <= r.log.base || n.restores != restores {
				return
			}
			r.log = r.log.from(cut)
			state := r.log
			n.disk.write(n.process, func(k *kept) { k.log = state }, func() {})
		})
	})
}

// installed takes a leader's snapshot in.
func (n *node) installed(s *snapshot, done func()) {
	if s.index <= n.applied {
		done()
		return
	}
	n.disk.write(n.process, func(k *kept) { k.snapshot = s }, func() {
		if s.index <= n.applied {
			done()
			return
		}
		n.must(n.restore(s))
		n.w.report.Installs++
		r := n.raft
		r.behind(s)
		r.commit = max(r.commit, s.index)
		n.applied = s.index
		state, term, vote := r.log, r.term, r.vote
		n.disk.write(n.process, func(k *kept) { k.log, k.term, k.vote = state, term, vote }, done)
		n.apply()
	})
}

// notify tells the proposer of leadership, a while after raft knows of it.
func (n *node) notify(leads bool) {
	delay := n.w.raft.between(0, 2*time.Millisecond)
	switch draw := n.w.raft.IntN(24); {
	case draw < 3:
		delay = n.w.raft.between(0, 60*time.Millisecond)
	case draw < 4 || draw < 14 && n.w.tardy:
		delay = n.w.raft.between(0, 2*time.Second)
	}
	n.told = max(n.told, n.w.now) + delay // one after the other, as who reads a channel takes them in
	delay = n.told - n.w.now
	n.w.by(n.process, delay, func() {
		back := n.core.Lose()
		clear(n.received)
		n.w.history.times.loses(n)
		if leads {
			n.core.Lead(n.raft.term, n.mono(n.w.now))
		}
		for _, c := range back {
			c.(*serverCall).refuse(n.noLeader())
		}
		n.detach()
		n.kick(0)
		n.plan(0)
	})
}

func (n *node) noLeader() *response {
	r := &response{failure: core.Unreached}
	if n.raft.lead >= 0 && n.raft.lead != n.id {
		r.failure, r.leader = core.Misdirected, n.w.nodes[n.raft.lead].address()
	}
	return r
}

func (n *node) address() string { return n.process.name }

// kick has the proposer looked at.
func (n *node) kick(after time.Duration) {
	at := n.w.now + after
	if n.wake >= 0 && n.wake <= at {
		return
	}
	n.wake = at
	n.w.by(n.process, after, func() {
		if n.wake == at {
			n.wake = -1
			n.step()
		}
	})
}

// sample is how often the leader's time is counted.
const sample = 50 * time.Millisecond

// step proposes what is to be proposed now.
func (n *node) step() {
	for {
		now := n.mono(n.w.now)
		clock := n.clock()
		n.core.Sample(now)
		b := n.core.Next(now, n.wallClock(), clock)
		if b == nil {
			if _, leads := n.core.Leading(); leads {
				n.kick(n.sleep(min(n.core.Wait(now, clock), sample)))
			}
			return
		}
		n.propose(b)
	}
}

func (n *node) clock() propose.Clock {
	c := n.machine.Clock()
	return propose.Clock{Uptime: c.Uptime, Sessions: c.Sessions, Deadline: c.Deadline, Level: c.Level}
}

// wallClock is what the node takes for the time of day.
func (n *node) wallClock() int64 { return int64(epoch + n.w.now + n.wall) }

const epoch = 1_700_000_000 * time.Second

func (n *node) propose(b *propose.Batch) {
	data, err := proto.Marshal(b.Entry)
	n.must(err)
	e := &entry{data: data, calls: calls(b.Commands), barriers: calls(b.Barriers)}
	for _, list := range b.Renewals {
		e.renewals = append(e.renewals, calls(list))
	}
	n.answer(e, func(c *serverCall) { delete(n.received, c.id) })
	e.backlog = n.backlog()
	if !n.raft.propose(e, func(committed bool) { n.landed(b, e, committed) }) {
		n.core.Done(b)
		n.answer(e, func(c *serverCall) {
			if c.group != nil && c.group.request != nil {
				n.w.history.times.returns(c.group.request)
			}
			c.refuse(n.noLeader())
		})
	}
}

func calls(list []propose.Call) []*serverCall {
	out := make([]*serverCall, len(list))
	for i, c := range list {
		out[i] = c.(*serverCall)
	}
	return out
}

func (n *node) answer(e *entry, fn func(*serverCall)) {
	for _, c := range e.calls {
		fn(c)
	}
	for _, list := range e.renewals {
		for _, c := range list {
			fn(c)
		}
	}
	for _, c := range e.barriers {
		fn(c)
	}
}

// landed answers the calls of an entry.
func (n *node) landed(b *propose.Batch, e *entry, committed bool) {
	young := plant.Is(plant.YoungDenies) && n.core.Young(n.clock())
	n.core.Done(b)
	n.kick(0)
	if young && !committed {
		n.answer(e, func(c *serverCall) { c.refuse(n.noLeader()) })
		return
	}
	if !committed {
		n.answer(e, func(c *serverCall) { c.refuse(&response{failure: core.Unknown}) })
		return
	}
	n.w.history.tells(n, e.index)
	result := n.results[e.index]
	delete(n.results, e.index)
	for i, c := range e.calls {
		c.outcome(result.Outcomes[i])
	}
	for i, list := range e.renewals {
		for _, c := range list {
			c.reply(&response{renewal: result.Renewals[i]})
		}
	}
	for _, c := range e.barriers {
		c.reply(c.read())
	}
}

// apply applies what is committed, and on this node's own disk.
func (n *node) apply() {
	for n.applied < n.raft.commit && n.raft.ahead.pending.Applies(n.applied+1) {
		e := n.raft.log.at(n.applied + 1)
		n.applied++
		if e.data == nil {
			n.w.history.committed(n, e)
			continue
		}
		decoded := n.decode(e)
		n.host()
		about := n.w.history.next(e, decoded)
		result := n.machine.Apply(e.index, e.term, decoded)
		if e.by == n.id {
			n.results[e.index] = &result
		}
		n.w.history.applied(n, e, about, &result)
		for _, s := range result.Settled {
			if c := n.waiting[s.WaitID]; c != nil {
				c.settled(s)
			}
		}
	}
	switch {
	case n.machine.Dirty() >= 4<<20 || n.w.flushy && n.w.disks.one(4):
		n.must(n.machine.Flush())
	case n.w.flushy && n.applied%2 == 1:
		n.must(n.machine.Spill())
	}
}

// decode reads an entry's bytes. In most seeds that is done once for all nodes; in the others each node has one of its own,
// so that a state machine that changed what it is given would be seen.
func (n *node) decode(e *entry) *logv1.Entry {
	decoded := e.decoded
	if decoded == nil {
		decoded = &logv1.Entry{}
		n.must(proto.Unmarshal(e.data, decoded))
	}
	if e.had++; n.w.sharing && e.had < len(n.w.nodes) {
		e.decoded = decoded
	} else {
		e.decoded = nil
	}
	return decoded
}

// host gives planted bugs what a process would have: a clock, and chances. Without them it does nothing.
func (n *node) host() {
	if plant.Built {
		plant.SetHost(plant.Host{Wall: n.wallClock, Mono: func() int64 { return int64(n.mono(n.w.now)) }, Draw: n.w.hosts[n.id].IntN})
	}
}

// readValue runs a read on the state here.
func (n *node) readValue(fn func(*fsm.Machine) (proto.Message, error)) *response {
	n.w.history.tells(n, n.applied)
	m, err := fn(n.machine)
	r := &response{value: m, applied: n.applied}
	if refusal, ok := err.(*fsm.Refusal); ok {
		r.refusal = refusal.Detail
	} else if err != nil {
		n.must(err)
	}
	return r
}

// handOver hands leadership over: nothing is proposed meanwhile, and what was proposed lands first.
func (n *node) handOver() {
	n.handing = true
	end := n.w.now + 5*time.Second
	var wait func()
	wait = func() {
		n.core.Hold(true)
		switch {
		case n.w.now > end || n.raft.role != leader:
			n.handing = false
			n.core.Hold(false)
			n.kick(0)
		case n.core.InFlight() > 0:
			n.w.by(n.process, 5*time.Millisecond, wait)
		default:
			n.raft.handOver()
			n.w.by(n.process, election, func() {
				n.handing = false
				n.core.Hold(false)
				n.kick(0)
			})
		}
	}
	wait()
}
