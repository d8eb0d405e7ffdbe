package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
)

// slow is a log in memory whose writes wait while it is held.
type slow struct {
	*raft.InmemStore
	held  chan struct{} // full while somebody writes, or holds all writes
	fails error
}

func (s *slow) StoreLogs(logs []*raft.Log) error {
	s.held <- struct{}{}
	defer func() { <-s.held }()
	if s.fails != nil {
		return s.fails
	}
	return s.InmemStore.StoreLogs(logs)
}

func seal(log *raft.Log) error {
	log.Extensions = []byte("sum")
	return nil
}

func command(index uint64) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: fmt.Append(nil, "entry ", index)}
}

func onAhead(t *testing.T, fn func(t *testing.T, a *ahead, s *slow, leads *atomic.Bool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var leads atomic.Bool
		leads.Store(true)
		s := &slow{InmemStore: raft.NewInmemStore(), held: make(chan struct{}, 1)}
		a := newAhead(s, seal, leads.Load)
		var running sync.WaitGroup
		running.Go(a.run)
		fn(t, a, s, &leads)
		a.end()
		running.Wait()
	})
}

// waits says whether fn waits while the log's writes are held, and lets them go.
func waits(s *slow, fn func()) bool {
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	synctest.Wait()
	waited := true
	select {
	case <-done:
		waited = false
	default:
	}
	<-s.held
	<-done
	return waited
}

// What a leader proposes is there for its followers, sealed, before it is on its own disk; it is neither applied nor told
// of before it is.
func TestALeadersWriteGoesOnBesideItsFollowers(t *testing.T) {
	onAhead(t, func(t *testing.T, a *ahead, s *slow, leads *atomic.Bool) {
		s.held <- struct{}{}
		if err := errors.Join(a.StoreLogs([]*raft.Log{command(1), command(2)}), a.StoreLog(command(3))); err != nil {
			t.Fatal(err)
		}
		for index := range uint64(3) {
			var log raft.Log
			if err := a.GetLog(index+1, &log); err != nil || string(log.Extensions) != "sum" {
				t.Errorf("entry %d: %v, %v", index+1, log, err)
			}
		}
		if first, err := a.FirstIndex(); first != 1 || err != nil {
			t.Errorf("first %d: %v", first, err)
		}
		if last, err := a.LastIndex(); last != 3 || err != nil {
			t.Errorf("last %d: %v", last, err)
		}
		if told := a.tells(3); told != 0 {
			t.Errorf("followers are told of entry %d", told)
		}
		if !waits(s, func() { a.await(1) }) {
			t.Error("an entry is applied that is not durable")
		}
		a.await(3)
		if last, err := s.LastIndex(); last != 3 || err != nil || a.tells(3) < 3 {
			t.Errorf("last %d, told %d: %v", last, a.tells(3), err)
		}
	})
}

// All else is durable when it is answered for, with what was before it.
func TestOnlyALeadersCommandsAreStoredAhead(t *testing.T) {
	for what, do := range map[string]func(a *ahead, leads *atomic.Bool) error{
		"the first of a term": func(a *ahead, _ *atomic.Bool) error {
			return a.StoreLog(&raft.Log{Index: 2, Type: raft.LogNoop})
		},
		"a configuration": func(a *ahead, _ *atomic.Bool) error {
			return a.StoreLogs([]*raft.Log{{Index: 2, Type: raft.LogConfiguration}})
		},
		"another leader's": func(a *ahead, leads *atomic.Bool) error {
			leads.Store(false)
			return a.StoreLog(command(2))
		},
		"one that came with a checksum": func(a *ahead, _ *atomic.Bool) error {
			log := command(2)
			log.Extensions = []byte("sum")
			return a.StoreLog(log)
		},
		"a deletion": func(a *ahead, leads *atomic.Bool) error { return a.DeleteRange(1, 1) },
		// raft says that it has an entry when it finds it in its log.
		"what the next leader asks for": func(a *ahead, leads *atomic.Bool) error {
			leads.Store(false)
			return a.GetLog(1, &raft.Log{})
		},
	} {
		onAhead(t, func(t *testing.T, a *ahead, s *slow, leads *atomic.Bool) {
			s.held <- struct{}{}
			if err := a.StoreLog(command(1)); err != nil {
				t.Fatal(err)
			}
			if !waits(s, func() {
				if err := do(a, leads); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}) {
				t.Errorf("%s: answered before what was stored is durable", what)
			}
			if told := a.tells(1); told != 1 {
				t.Errorf("%s: %d is durable", what, told)
			}
		})
	}
}

// A leader whose disk fails acknowledges nothing that its disk does not have.
func TestAFailedWriteIsNeverAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{InmemStore: raft.NewInmemStore(), held: make(chan struct{}, 1), fails: errors.New("input/output error")}
		a := newAhead(s, seal, func() bool { return true })
		if err := a.StoreLog(command(1)); err != nil {
			t.Fatal(err)
		}
		a.run()
		if told := a.tells(1); told != 0 {
			t.Errorf("followers are told of entry %d", told)
		}
	})
}

// A log that never has more than a bound in memory makes raft wait.
func TestWhatIsPendingIsBounded(t *testing.T) {
	onAhead(t, func(t *testing.T, a *ahead, s *slow, _ *atomic.Bool) {
		s.held <- struct{}{}
		if !waits(s, func() {
			for index := range uint64(40) {
				log := command(index + 1)
				log.Data = make([]byte, 1<<20)
				if err := a.StoreLog(log); err != nil {
					t.Error(err)
				}
			}
		}) {
			t.Error("40 MiB are pending")
		}
		a.await(40)
	})
}

// gate is a disk whose writes of the log wait while it is shut.
type gate struct {
	wrapped
	open atomic.Pointer[chan struct{}]
}

func (g *gate) StoreLogs(logs []*raft.Log) error {
	if open := g.open.Load(); open != nil {
		<-*open
	}
	return g.raftLog.StoreLogs(logs)
}

// applied says whether a node has applied an entry.
func (c *bubble) applied(i int, index uint64) bool {
	var applied uint64
	_ = c.group(i).machine.view(func(m *fsm.Machine) error { applied, _ = m.Applied(); return nil })
	return applied >= index
}

// A command that every follower has, and the leader's disk has not, is neither acknowledged nor applied anywhere, and is
// both once the disk has it.
func TestALeaderIsNotAheadOfItsDisk(t *testing.T) {
	gates := map[int]*gate{}
	tweak := func(i int, c *Config) {
		gates[i] = &gate{}
		c.wrapLog = func(log raftLog) raftLog { gates[i].wrapped = wrapped{log}; return gates[i] }
	}
	inBubble(t, options{voters: 3, disk: true, tweak: tweak}, func(t *testing.T, c *bubble) {
		c.put(create("before"))
		c.agree()
		lead, n := c.leader()
		shut := make(chan struct{})
		gates[lead].open.Store(&shut)
		answered := make(chan struct{})
		var outcome error
		go func() {
			defer close(answered)
			_, outcome = n.Propose(context.Background(), create("held"))
		}()
		last := func(i int) uint64 { return c.group(i).raft.LastIndex() }
		c.until("followers have it", func() bool { return last((lead+1)%3) == last(lead) && last((lead+2)%3) == last(lead) })
		time.Sleep(time.Second)
		for i := range c.nodes {
			if c.applied(i, last(lead)) {
				t.Errorf("node %d applied what its leader's disk does not have", i)
			}
		}
		select {
		case <-answered:
			t.Errorf("answered before the leader's disk has it: %v", outcome)
		default:
		}
		gates[lead].open.Store(nil)
		close(shut)
		if <-answered; outcome != nil {
			t.Error(outcome)
		}
		c.agree()
	})
}
