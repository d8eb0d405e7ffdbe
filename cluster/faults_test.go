package cluster

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

var (
	faultsChanges = flag.Int("faults.changes", 10, "changes of leader on real raft in virtual time")
	faultsPlant   = flag.String("faults.plant", "", "the bug to plant, in a build with -tags sabotage")
	faultsSeed    = flag.Uint64("faults.seed", 1, "which faults, and when")
)

// storm is work on a cluster in a bubble whose net breaks again and again: sessions that are renewed and sessions that
// are not, a lock that changes hands, and reads. What was answered is compared with the promises.
type storm struct {
	*bubble
	ctx   context.Context
	tasks sync.WaitGroup

	mu     sync.Mutex // guards what follows
	acks   []time.Time
	newest int64 // the newest token that was acknowledged
	ended  int
	hands  int
	fenced int           // rounds in which a holder that was over was refused
	gone   int           // the node that is stopped, if one is
	pace   time.Duration // how long a lock is left alone by who gave it back
}

func newStorm(ctx context.Context, c *bubble, pace time.Duration) *storm {
	return &storm{bubble: c, ctx: ctx, gone: nobody, pace: pace}
}

const nobody = -1

// running are the nodes that are not stopped.
func (s *storm) running() (list []*Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.nodes {
		if i != s.gone {
			list = append(list, s.nodes[i])
		}
	}
	return list
}

func (s *storm) setGone(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = i
}

// restart stops a node, and starts it again from its files.
func (s *storm) restart(i int, after time.Duration) {
	s.setGone(i)
	s.stop(i)
	time.Sleep(after)
	s.open(i)
	s.setGone(nobody)
}

// do has a command applied by whoever leads, again and again until somebody says yes or no.
func (s *storm) do(command *logv1.Command) (reply proto.Message, refusal *v1.Refusal) {
	for s.ctx.Err() == nil {
		for _, n := range s.running() {
			if _, self := n.Leader(""); !self {
				continue
			}
			trying, cancel := context.WithTimeout(s.ctx, 2*time.Second)
			out, err := n.Propose(trying, command)
			cancel()
			if err == nil {
				s.mu.Lock()
				s.acks = append(s.acks, time.Now())
				s.mu.Unlock()
				return out.Reply, out.Refusal
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, nil
}

func (s *storm) session(ttl time.Duration) (id int64, sent, acked time.Time) {
	sent = time.Now()
	reply, refusal := s.do(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: int64(ttl)}}})
	acked = time.Now()
	if session, ok := reply.(*v1.Session); ok {
		if _, err := fmt.Sscan(session.SessionId, &id); err != nil {
			s.t.Error(err)
		}
	} else if refusal != nil {
		s.t.Errorf("open session: %v", refusal)
	}
	return id, sent, acked
}

// live renews a session until the end; it must not be lost.
func (s *storm) live(ttl time.Duration) {
	id, _, _ := s.session(ttl)
	s.renewed(id, ttl)
}

func (s *storm) renewed(id int64, ttl time.Duration) {
	for s.ctx.Err() == nil {
		for _, n := range s.running() {
			if _, self := n.Leader(""); !self {
				continue
			}
			trying, cancel := context.WithTimeout(s.ctx, ttl/5)
			out, err := n.Renew(trying, &logv1.Renewal{Session: id})
			cancel()
			if err == nil && out.Refusal != nil {
				s.t.Errorf("session %d of %s, renewed all the time: %v", id, ttl, out.Refusal)
				return
			}
		}
		time.Sleep(ttl / 5)
		if there, known := s.sees(id); known && !there && s.ctx.Err() == nil {
			s.t.Errorf("session %d of %s was acknowledged all the time, and is gone", id, ttl)
			return
		}
	}
}

// silent opens sessions and lets them end: never before their time, and not much later.
func (s *storm) silent(ttl time.Duration) {
	for s.ctx.Err() == nil {
		from := s.term()
		id, sent, acked := s.session(ttl)
		for s.ctx.Err() == nil {
			there, known := s.sees(id)
			if known && !there {
				break
			}
			time.Sleep(lookAgain(ttl, time.Since(sent)))
		}
		now := time.Now()
		if s.ctx.Err() != nil {
			return
		}
		bound := ttl + s.outage(acked, now) + time.Duration(s.term()-from+1)*500*time.Millisecond
		if now.Sub(sent) < ttl {
			s.t.Errorf("session %d of %s ended after %s", id, ttl, now.Sub(sent))
		}
		if lasted := now.Sub(acked); lasted > bound {
			s.t.Errorf("session %d of %s lived on for %s, more than %s", id, ttl, lasted, bound)
		}
		s.mu.Lock()
		s.ended++
		s.mu.Unlock()
	}
}

// lookAgain is how long to look away from what should end at a time, of which some has passed: a fortieth of it, or less when it is near.
func lookAgain(whole, passed time.Duration) time.Duration {
	const least = 50 * time.Millisecond
	return max(least, min(whole/40, whole-passed-least))
}

// read is a linearizable one, by whoever says that it leads.
func (s *storm) read(fn func(*fsm.Machine) error) (known bool) {
	for _, n := range s.running() {
		trying, cancel := context.WithTimeout(s.ctx, time.Second)
		_, err := n.Read(trying, "", 0, fn)
		cancel()
		if err == nil {
			known = true
		}
	}
	return known
}

func (s *storm) sees(session int64) (there, known bool) {
	known = s.read(func(m *fsm.Machine) error {
		list, err := m.ListSessions(&v1.ListSessionsRequest{Limit: 1000})
		for _, one := range list.GetSessions() {
			there = there || one.SessionId == fmt.Sprint(session)
		}
		return err
	})
	return there, known
}

// outage is the time without an acknowledgement, but for stutters.
func (s *storm) outage(from, to time.Time) (sum time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := from
	for _, at := range s.acks {
		if at.After(from) && at.Before(to) {
			if gap := at.Sub(last); gap > 100*time.Millisecond {
				sum += gap
			}
			last = at
		}
	}
	return sum + to.Sub(last)
}

func (s *storm) term() (term int) {
	for _, n := range s.running() {
		term = max(term, int(n.group("").raft.CurrentTerm()))
	}
	return term
}

// hand takes a lock and gives it back: its tokens grow, in the order of the answers, and a read that is asked later
// knows the newest.
func (s *storm) hand(lane int) {
	session, _, _ := s.session(time.Hour)
	for request := int64(1); s.ctx.Err() == nil; request++ {
		s.mu.Lock()
		before := s.newest
		s.mu.Unlock()
		reply, refusal := s.do(&logv1.Command{
			Envelope: &logv1.Envelope{Session: session, RequestId: request, LowestUnanswered: request},
			Body:     &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: session, Lock: "hot"}},
		})
		granted, ok := reply.(*v1.AcquireLockResponse)
		if !ok || refusal != nil {
			time.Sleep(time.Duration(50+lane) * time.Millisecond)
			continue
		}
		if granted.Token <= before {
			s.t.Errorf("token %d was granted after %d was acknowledged", granted.Token, before)
		}
		s.mu.Lock()
		s.newest = max(s.newest, granted.Token)
		s.hands++
		s.mu.Unlock()
		var holder int64
		if s.read(func(m *fsm.Machine) error {
			l, err := m.GetLock(&v1.GetLockRequest{Lock: "hot"})
			if len(l.GetHolders()) == 1 {
				holder = l.Holders[0].Token
			}
			return err
		}) && holder != granted.Token && s.ctx.Err() == nil {
			s.t.Errorf("the lock is held under token %d; a read sees %d", granted.Token, holder)
		}
		s.do(&logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: "hot", Token: granted.Token}}})
		time.Sleep(s.pace)
	}
}

// weather is what a storm does to a cluster beside cutting its net.
type weather struct {
	disks    []atomic.Int64 // how long each node's writes of the log take, in nanoseconds; none: the cluster is in memory
	installs atomic.Int64   // snapshots that were sent
}

// sluggish is a disk whose writes of the log take their time.
type sluggish struct {
	wrapped
	takes *atomic.Int64
}

func (s sluggish) StoreLogs(logs []*raft.Log) error {
	time.Sleep(time.Duration(s.takes.Load()))
	return s.raftLog.StoreLogs(logs)
}

func (s sluggish) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// counted counts the snapshots that are sent.
type counted struct {
	*raft.InmemTransport
	installs *atomic.Int64
}

func (c counted) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	err := c.InmemTransport.InstallSnapshot(id, target, args, resp, data)
	if err == nil && resp.Success {
		c.installs.Add(1)
	}
	return err
}

// options are those of a cluster that bears it: in memory, or on disks that may be slow, with so little log that who was away for
// seconds needs a snapshot.
func (w *weather) options(size int, disk bool) options {
	o := options{voters: size, disk: disk, wrap: func(_ int, t *raft.InmemTransport) raft.Transport { return counted{t, &w.installs} }}
	if disk {
		w.disks = make([]atomic.Int64, size)
		o.tweak = func(i int, c *Config) {
			c.LogBytes = 8 << 10
			c.wrapLog = func(log raftLog) raftLog { return sluggish{wrapped{log}, &w.disks[i]} }
		}
	}
	return o
}

// rage breaks the net, slows disks, starts nodes again, or hands leadership over, until there were enough changes of leader.
func (s *storm) rage(w *weather, changes int, chance *rand.Rand) {
	first := s.term()
	for s.term()-first < changes {
		time.Sleep(time.Duration(chance.Int64N(int64(4 * time.Second))))
		s.strike(w, chance)
	}
}

// strike is one blow.
func (s *storm) strike(w *weather, chance *rand.Rand) {
	last := time.Duration(300+chance.IntN(4000)) * time.Millisecond
	lead, n := s.leader()
	kinds := 5
	if len(w.disks) > 0 {
		kinds = 7
	}
	switch chance.IntN(kinds) {
	case 0:
		moving, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		_, _ = n.TransferLeadership(moving, "") // it may be refused: then it changes nothing
		cancel()
	case 1: // one that may not lead
		i := chance.IntN(len(s.nodes))
		s.cut(i)
		time.Sleep(last)
		s.heal(i)
	case 2: // a majority
		a, b := lead, (lead+1)%len(s.nodes)
		s.cut(a)
		s.cut(b)
		time.Sleep(last)
		s.heal(a)
		s.heal(b)
	case 5: // a disk, of whichever node
		i := chance.IntN(len(s.nodes))
		w.disks[i].Store(int64(20+chance.IntN(800)) * int64(time.Millisecond))
		time.Sleep(last)
		w.disks[i].Store(0)
	case 6:
		s.restart(chance.IntN(len(s.nodes)), last)
	default:
		s.cut(lead)
		time.Sleep(last)
		s.heal(lead)
	}
}

// Real raft, in virtual time, three nodes on disks and five in memory: whatever becomes of leaders, no session is lost that is
// renewed, none ends early or lives on beyond L2, tokens grow, and reads see what was acknowledged.
func TestPromisesInAStorm(t *testing.T) {
	if err := plant.Set(*faultsPlant); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{3, 5} {
		t.Run(fmt.Sprint(size, " nodes"), func(t *testing.T) {
			w := &weather{}
			inBubble(t, w.options(size, size == 3), func(t *testing.T, c *bubble) {
				c.leader()
				ctx, stop := context.WithCancel(t.Context())
				s := newStorm(ctx, c, 300*time.Millisecond)
				began, first := time.Now(), s.term()
				for _, ttl := range []time.Duration{2 * time.Second, 10 * time.Second, time.Minute} {
					s.tasks.Go(func() { s.live(ttl) })
					s.tasks.Go(func() { s.silent(ttl) })
				}
				for lane := range 3 {
					s.tasks.Go(func() { s.hand(lane) })
				}
				s.tasks.Go(s.stale)
				s.tasks.Go(s.doomed)
				s.rage(w, *faultsChanges, rand.New(rand.NewPCG(*faultsSeed, uint64(size))))
				stop()
				s.tasks.Wait()
				c.agree()
				t.Logf("%d terms in %s of virtual time: %d sessions ended in theirs, the lock changed hands %d times, %d holders that were over were refused, %d snapshots were installed",
					s.term()-first, time.Since(began).Round(time.Second), s.ended, s.hands, s.fenced, w.installs.Load())
				if s.ended == 0 || s.hands < 5 || s.fenced == 0 || len(w.disks) > 0 && *faultsChanges >= 100 && w.installs.Load() == 0 {
					t.Error("too little happened to show anything")
				}
			})
		})
	}
}
