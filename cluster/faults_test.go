package cluster

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

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
	fenced int // rounds in which a holder that was over was refused
}

// do has a command applied by whoever leads, again and again until somebody says yes or no.
func (s *storm) do(command *logv1.Command) (reply proto.Message, refusal *v1.Refusal) {
	for s.ctx.Err() == nil {
		for _, n := range s.nodes {
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

func (s *storm) open(ttl time.Duration) (id int64, sent, acked time.Time) {
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
	id, _, _ := s.open(ttl)
	for s.ctx.Err() == nil {
		for _, n := range s.nodes {
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
		id, sent, acked := s.open(ttl)
		for s.ctx.Err() == nil {
			there, known := s.sees(id)
			if known && !there {
				break
			}
			time.Sleep(50 * time.Millisecond)
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

// read is a linearizable one, by whoever says that it leads.
func (s *storm) read(fn func(*fsm.Machine) error) (known bool) {
	for _, n := range s.nodes {
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
	for _, n := range s.nodes {
		term = max(term, int(n.group("").raft.CurrentTerm()))
	}
	return term
}

// hand takes a lock and gives it back: its tokens grow, in the order of the answers, and a read that is asked later
// knows the newest.
func (s *storm) hand(lane int) {
	session, _, _ := s.open(time.Hour)
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
		time.Sleep(300 * time.Millisecond)
	}
}

// rage breaks the net, or hands leadership over, until there were enough changes of leader.
func (s *storm) rage(changes int, chance *rand.Rand) {
	first := s.term()
	for s.term()-first < changes {
		time.Sleep(time.Duration(chance.Int64N(int64(4 * time.Second))))
		last := time.Duration(300+chance.IntN(4000)) * time.Millisecond
		lead, n := s.leader()
		switch chance.IntN(5) {
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
		default:
			s.cut(lead)
			time.Sleep(last)
			s.heal(lead)
		}
	}
}

// Real raft, in virtual time: whatever becomes of leaders, no session is lost that is renewed, none ends early or lives
// on beyond L2, tokens grow, and reads see what was acknowledged.
func TestPromisesInAStorm(t *testing.T) {
	if err := plant.Set(*faultsPlant); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{3, 5} {
		t.Run(fmt.Sprint(size, " nodes"), func(t *testing.T) {
			inBubble(t, options{voters: size}, func(t *testing.T, c *bubble) {
				c.leader()
				ctx, stop := context.WithCancel(t.Context())
				s := &storm{bubble: c, ctx: ctx}
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
				s.rage(*faultsChanges, rand.New(rand.NewPCG(*faultsSeed, uint64(size))))
				stop()
				s.tasks.Wait()
				c.agree()
				t.Logf("%d terms in %s of virtual time: %d sessions ended in theirs, the lock changed hands %d times, %d holders that were over were refused",
					s.term()-first, time.Since(began).Round(time.Second), s.ended, s.hands, s.fenced)
				if s.ended == 0 || s.hands < 5 || s.fenced == 0 {
					t.Error("too little happened to show anything")
				}
			})
		})
	}
}
