package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

var leaseLong = flag.Bool("leasetime.long", false, "leases of a minute, pauses of a minute, five kills at the 59th second: some ten minutes")

// leaseTimes are the lengths of what happens: the long form is the one that the guarantees speak of.
type leaseTimes struct {
	ttl, pause, killAt time.Duration
	kills, transfers   int
	deaths             int
}

func timesOfLeases() leaseTimes {
	if *leaseLong {
		return leaseTimes{60 * time.Second, 60 * time.Second, 59 * time.Second, 5, 50, 200}
	}
	return leaseTimes{3 * time.Second, 4 * time.Second, 2500 * time.Millisecond, 2, 5, 20}
}

// anywhere makes a call to one node after the other, patience for each, until one answers or refuses. What is known of
// the outcome is the caller's business: every call here may be made again.
func (h *hurt) anywhere(ctx context.Context, patience time.Duration, call func(context.Context, *services) error) error {
	at := rand.IntN(len(h.Nodes))
	if h.Nodes[at].Number == int(h.hangs.Load()) {
		at = (at + 1) % len(h.Nodes)
	}
	return h.from(ctx, &at, patience, call)
}

// from is anywhere, beginning with a node, and tells which one answered.
func (h *hurt) from(ctx context.Context, at *int, patience time.Duration, call func(context.Context, *services) error) error {
	for {
		trying, cancel := context.WithTimeout(ctx, patience)
		err := call(trying, h.services(*at))
		cancel()
		r := refusal(err)
		if err == nil || r != nil && r.Code != v1.Code_CODE_NO_LEADER && r.Code != v1.Code_CODE_UNKNOWN_OUTCOME && r.Code != v1.Code_CODE_UNAVAILABLE && r.Code != v1.Code_CODE_OVERLOADED {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if *at = (*at + 1) % len(h.Nodes); h.Nodes[*at].Number == int(h.hangs.Load()) {
			*at = (*at + 1) % len(h.Nodes)
		}
	}
}

// pulse writes without pause, and keeps when it was acknowledged: what the cluster could do, seen from outside.
type pulse struct {
	mu   sync.Mutex // guards acks
	acks []time.Time
}

func (h *hurt) pulse(ctx context.Context) *pulse {
	p := &pulse{acks: []time.Time{time.Now()}}
	h.tasks.Go(func() {
		for n, at := 0, 0; ctx.Err() == nil; n++ {
			err := h.from(ctx, &at, 300*time.Millisecond, func(ctx context.Context, s *services) error {
				_, err := s.instances.SendSignal(ctx, connect.NewRequest(&v1.SendSignalRequest{InstanceId: "pulse", Name: "beat", SignalId: fmt.Sprint(n)}))
				return err
			})
			if ctx.Err() == nil && connect.CodeOf(err) != connect.CodeNotFound {
				h.t.Errorf("the pulse: %v", err)
			}
			p.mu.Lock()
			p.acks = append(p.acks, time.Now())
			p.mu.Unlock()
			select {
			case <-time.After(10 * time.Millisecond): // the pulse's own rate
			case <-ctx.Done():
			}
		}
	})
	return p
}

// outage is the time within which nothing was acknowledged, counting gaps that are more than a stutter.
func (p *pulse) outage(from, to time.Time) (sum time.Duration, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := from
	for _, at := range append(slices.Clone(p.acks), to) {
		if at.Before(from) {
			continue
		}
		if at.After(to) {
			at = to
		}
		gap := at.Sub(last)
		longest = max(longest, gap)
		if gap > 100*time.Millisecond {
			sum += gap
		}
		last = at
	}
	return sum, longest
}

// lease is a lock that a session holds, with what is known outside of when the session was renewed last.
type lease struct {
	lock, session string
	token         int64
	ttl           time.Duration
	sent, acked   time.Time
}

func (h *hurt) lease(lock string, ttl time.Duration) *lease {
	h.t.Helper()
	l := &lease{lock: lock, ttl: ttl}
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	var err error
	if l.session, l.sent, l.acked, err = h.open(ctx, ttl); err == nil {
		l.token, err = h.acquire(ctx, lock, l.session, 0)
	}
	if err != nil {
		h.t.Fatalf("lease %s: %v", lock, err)
	}
	return l
}

// open opens a session. One whose answer was lost ends by itself.
func (h *hurt) open(ctx context.Context, ttl time.Duration) (session string, sent, acked time.Time, err error) {
	err = h.anywhere(ctx, 5*time.Second, func(ctx context.Context, s *services) error {
		sent = time.Now()
		res, err := s.workers.OpenSession(ctx, connect.NewRequest(&v1.OpenSessionRequest{Ttl: durationpb.New(ttl)}))
		acked = time.Now()
		if err == nil {
			session = res.Msg.SessionId
		}
		return err
	})
	return session, sent, acked, err
}

func (h *hurt) acquire(ctx context.Context, lock, session string, wait time.Duration) (token int64, err error) {
	err = h.anywhere(ctx, wait+5*time.Second, func(ctx context.Context, s *services) error {
		res, err := s.locks.AcquireLock(ctx, connect.NewRequest(&v1.AcquireLockRequest{SessionId: session, Lock: lock, RequestId: 1, Wait: durationpb.New(wait)}))
		if err == nil {
			token = res.Msg.Token
		}
		return err
	})
	return token, err
}

// keep renews the lease on any node until the context ends. A lease that is lost meanwhile fails the test: it was
// renewed in time.
func (h *hurt) keep(ctx context.Context, l *lease) {
	h.tasks.Go(func() {
		for ctx.Err() == nil {
			err := h.anywhere(ctx, max(l.ttl/8, 200*time.Millisecond), func(ctx context.Context, s *services) error {
				_, err := s.workers.KeepAlive(ctx, connect.NewRequest(&v1.KeepAliveRequest{SessionId: l.session, Tokens: []int64{l.token}}))
				return err
			})
			if err != nil && ctx.Err() == nil {
				h.t.Errorf("lease %s, kept alive all the time: %v", l.lock, err)
				return
			}
			select {
			case <-time.After(l.ttl / 8): // the holder's own rate
			case <-ctx.Done():
			}
		}
	})
}

func (h *hurt) stillHeld(l *lease) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	err := h.anywhere(ctx, 5*time.Second, func(ctx context.Context, s *services) error {
		res, err := s.locks.CheckToken(ctx, connect.NewRequest(&v1.CheckTokenRequest{Lock: l.lock, Token: l.token}))
		if err == nil && !res.Msg.Holds {
			h.t.Errorf("lease %s, kept alive all the time, is held no more under token %d: %v", l.lock, l.token, res.Msg.Holder)
		}
		return err
	})
	if err != nil {
		h.t.Error(err)
	}
}

// end waits for the end of a lease that nobody renews, seen as the grant of its lock to another, and compares it with
// L2: not before its TTL, nor later than that plus the outage plus 0.5 s for each change of leader, and 0.5 s for the
// tick that ends it.
func (h *hurt) end(l *lease, p *pulse, changes func() int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), l.ttl*3+time.Minute)
	defer cancel()
	heir, _, _, err := h.open(ctx, 10*time.Minute)
	if err == nil {
		_, err = h.acquire(ctx, l.lock, heir, min(time.Minute, 3*l.ttl))
	}
	if err != nil {
		h.t.Errorf("lease %s: %v", l.lock, err)
		return
	}
	ended := time.Now()
	outage, _ := p.outage(l.acked, ended)
	lasted, bound := ended.Sub(l.acked), l.ttl+outage+time.Duration(changes()+1)*500*time.Millisecond
	h.t.Logf("lease %s of %s lasted %s of at most %s (%d changes of leader, nothing acknowledged for %s)",
		l.lock, l.ttl, lasted.Round(time.Millisecond), bound.Round(time.Millisecond), changes(), outage.Round(time.Millisecond))
	if early := ended.Sub(l.sent); early < l.ttl {
		h.t.Errorf("lease %s of %s ended early, after %s", l.lock, l.ttl, early)
	}
	if lasted > bound {
		h.t.Errorf("lease %s of %s lived on for %s, more than %s", l.lock, l.ttl, lasted, bound)
	}
}

// term is the newest that any node tells; on a machine that is busy enough for none to answer in time it asks again.
func (h *hurt) term() (term int) {
	h.until("somebody says the term", func() bool {
		for at := range h.Nodes {
			ctx, cancel := context.WithTimeout(h.t.Context(), 500*time.Millisecond)
			res, err := h.services(at).cluster.GetStatus(ctx, connect.NewRequest(&v1.GetStatusRequest{}))
			cancel()
			if err == nil {
				term = max(term, int(res.Msg.Groups[0].Term))
			}
		}
		return term > 0
	})
	return term
}

// since counts the changes of leader from now on; an election that failed counts too, and only makes the bound wider
// by what it cost.
func (h *hurt) since() func() int {
	from := h.term()
	return func() int { return h.term() - from }
}

// TestLeasesKeepTheirTime shows L2 and the rules of DESIGN §3 on real processes, by a clock outside of them: a lease
// that is renewed is never lost, and one that is not ends never early and not much late, whatever becomes of leaders.
func TestLeasesKeepTheirTime(t *testing.T) {
	t.Parallel()
	x := timesOfLeases()
	h := newHurt(t, 3)
	h.leader()
	ctx, stop := context.WithCancel(t.Context())
	defer h.tasks.Wait()
	defer stop()
	p := h.pulse(ctx)
	live := h.lease("live", x.ttl)
	h.keep(ctx, live)

	t.Run("the leader is paused", func(t *testing.T) {
		silent, changes := h.lease("silent", x.ttl), h.since()
		lead := h.leader()
		if err := h.Pause(lead); err != nil {
			t.Fatal(err)
		}
		resumed := time.AfterFunc(x.pause, func() {
			if err := h.Resume(lead); err != nil {
				t.Error(err)
			}
		})
		defer resumed.Stop()
		h.end(silent, p, changes)
		h.until("the old leader is back", func() bool { return h.State(lead) == "running" })
		h.stillHeld(live)
	})
	for n := range x.kills {
		t.Run(fmt.Sprintf("the leader is killed shortly before the end, %d", n+1), func(t *testing.T) {
			lead := h.leader()
			silent, changes := h.lease(fmt.Sprint("killed-", n), x.ttl), h.since()
			killed := make(chan struct{})
			time.AfterFunc(x.killAt-time.Since(silent.acked), func() { defer close(killed); h.kill(lead) })
			h.end(silent, p, changes)
			<-killed
			h.start(lead)
			h.stillHeld(live)
		})
	}
	t.Run("every leader is killed", func(t *testing.T) {
		silent, changes := h.lease("all-killed", x.ttl), h.since()
		done := make(chan struct{})
		time.AfterFunc(x.killAt-time.Since(silent.acked), func() {
			defer close(done)
			for range 5 {
				lead := h.leader()
				h.kill(lead)
				h.start(lead)
			}
		})
		h.end(silent, p, changes)
		<-done
		h.leader()
		h.stillHeld(live)
	})
	t.Run("leadership is transferred", func(t *testing.T) {
		silent, changes := h.lease("transferred", x.ttl), h.since()
		from := time.Now()
		for range x.transfers {
			moving, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := h.anywhere(moving, 5*time.Second, func(ctx context.Context, s *services) error {
				_, err := s.cluster.TransferLeadership(ctx, connect.NewRequest(&v1.TransferLeadershipRequest{}))
				return err
			})
			cancel()
			if err != nil {
				t.Errorf("transfer: %v", err)
			}
		}
		_, longest := p.outage(from, time.Now())
		t.Logf("%d transfers, nothing acknowledged for %s at most", x.transfers, longest.Round(time.Millisecond))
		h.end(silent, p, changes)
		h.stillHeld(live)
	})
}

// leaseStep waits for the step a of an instance. The same request again gets the first answer.
func (h *hurt) leaseStep(ctx context.Context, id, session string, request int64) (token int64, err error) {
	err = h.anywhere(ctx, 15*time.Second, func(ctx context.Context, s *services) error {
		res, err := s.workers.LeaseStep(ctx, connect.NewRequest(&v1.LeaseStepRequest{InstanceId: id, Step: "a", SessionId: session, RequestId: request, Wait: durationpb.New(10 * time.Second)}))
		if err == nil {
			token = res.Msg.Run.Token
		}
		return err
	})
	return token, err
}

// TestADeadWorkersRunIsGrantedAgainInTime shows L3 on real processes: what a dead worker held is granted within its TTL
// and 500 ms, and what a living one gives back at once.
func TestADeadWorkersRunIsGrantedAgainInTime(t *testing.T) {
	const ttl = time.Second
	deaths := timesOfLeases().deaths
	h := newHurt(t, 3)
	h.leader()
	c := &cli{servers: h.APIs()}
	if _, err := c.registerSource(t.Context(), []byte("workflow: w\nsteps: {a: {queue: q, retry: {attempts: 9}}}\n"), 0); err != nil {
		t.Fatal(err)
	}
	heir, _, _, err := h.open(t.Context(), 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards what follows
	var died, released []time.Duration
	one := func(n int) error {
		id := fmt.Sprint("i", n)
		session, _, opened, err := h.open(t.Context(), ttl)
		if err != nil {
			return err
		}
		err = h.anywhere(t.Context(), 5*time.Second, func(ctx context.Context, s *services) error {
			_, err := s.instances.StartInstance(ctx, connect.NewRequest(&v1.StartInstanceRequest{InstanceId: id, Workflow: "w"}))
			return err
		})
		if err == nil {
			_, err = h.leaseStep(t.Context(), id, session, 1)
		}
		if err != nil {
			return err
		}
		token, err := h.leaseStep(t.Context(), id, heir, int64(2*n+1)) // waits for the death
		granted := time.Since(opened)
		if err != nil {
			return err
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := h.leaseStep(t.Context(), id, heir, int64(2*n+2))
			waiting <- err
		}()
		given := time.Now()
		err = h.anywhere(t.Context(), 5*time.Second, func(ctx context.Context, s *services) error {
			_, err := s.workers.ReleaseStep(ctx, connect.NewRequest(&v1.ReleaseStepRequest{InstanceId: id, Step: "a", Token: token}))
			return err
		})
		if err := errors.Join(err, <-waiting); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		died, released = append(died, granted), append(released, time.Since(given))
		return nil
	}
	lanes := make(chan int)
	for range 4 {
		h.tasks.Go(func() {
			for n := range lanes {
				if err := one(n); err != nil {
					t.Errorf("death %d: %v", n, err)
				}
			}
		})
	}
	for n := range deaths {
		lanes <- n
	}
	close(lanes)
	h.tasks.Wait()
	if t.Failed() {
		return
	}
	slices.Sort(died)
	slices.Sort(released)
	p99 := func(all []time.Duration) time.Duration { return all[len(all)*99/100] }
	t.Logf("%d deaths: granted again after p50 %s, p99 %s of a ttl of %s; given back: after p50 %s, p99 %s",
		deaths, died[deaths/2].Round(time.Millisecond), p99(died).Round(time.Millisecond), ttl, released[deaths/2].Round(time.Millisecond), p99(released).Round(time.Millisecond))
	if died[0] < ttl-200*time.Millisecond {
		t.Errorf("a run was granted again %s after its holder's session was opened with a ttl of %s", died[0], ttl)
	}
	if p99(died) > ttl+500*time.Millisecond {
		t.Errorf("p99 of %s is more than the ttl and 500 ms", p99(died))
	}
}
