package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// locks measures a quarter of the time each: lock and unlock on keys of one's own, over unary calls and over streams; one
// lock that all clients want; and the same over one stream, on which the order of asking is known, and must be that of
// granting.
func locks(ctx context.Context, t *target) (Figures, error) {
	meter, err := t.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer meter.cancel()
	figures := Figures{}
	for _, part := range []func(context.Context, Figures) error{t.unaryLocks, t.streamLocks, t.contendedLock, t.orderedLock} {
		if err := part(ctx, figures); err != nil {
			return nil, err
		}
	}
	return figures, meter.stop(ctx, figures)
}

const lockParts = 4

// lockers are n clients of the lock service, each with a session.
func (t *target) lockers(ctx context.Context, n int) (sessions []*client.Session, end func() error, err error) {
	clients, free, err := t.clients(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	end = func() error {
		defer free()
		return together(context.WithoutCancel(ctx), len(sessions), func(ctx context.Context, i int) error { return sessions[i].Close(ctx) })
	}
	for _, c := range clients {
		s, err := c.OpenSession(ctx, client.SessionConfig{Worker: "bench"})
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		sessions = append(sessions, s)
	}
	return sessions, end, nil
}

// unaryLocks has callers lock and unlock a key of their own.
func (t *target) unaryLocks(ctx context.Context, figures Figures) (err error) {
	sessions, end, err := t.lockers(ctx, t.Clients)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	perSecond, times, err := t.closed(ctx, "lock and unlock", t.Clients, t.part(lockParts), func(ctx context.Context, caller int) error {
		l, err := sessions[caller].Lock(ctx, fmt.Sprintf("bench-own-%d", caller), client.LockOptions{})
		if err != nil {
			return err
		}
		return l.Release(ctx)
	})
	figures["unaryLockCyclesPerSecond"], figures["unaryLockP50Ms"], figures["unaryLockP99Ms"] = perSecond, times.ms(50), times.ms(99)
	return err
}

// contendedLock has as many callers as there are workers want one lock.
func (t *target) contendedLock(ctx context.Context, figures Figures) (err error) {
	sessions, end, err := t.lockers(ctx, t.Workers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	turns := make([]int, t.Workers)
	perSecond, times, err := t.closed(ctx, "hand over one lock", t.Workers, t.part(lockParts), func(ctx context.Context, caller int) error {
		l, err := sessions[caller].Lock(ctx, "bench-contended", client.LockOptions{Wait: -1})
		if err != nil {
			return err
		}
		turns[caller]++
		return l.Release(ctx)
	})
	figures["handOversPerSecond"], figures["contendedP50Ms"], figures["contendedP99Ms"] = perSecond, times.ms(50), times.ms(99)
	// Who asks again goes behind those who wait: nobody has many more turns than another.
	if least, most := slices.Min(turns), slices.Max(turns); err == nil && most-least > 2+most/20 {
		t.problem("of one lock, a client had %d turns and another %d", least, most)
	}
	return err
}

// stream is a Locks stream, on a connection of its own.
type stream struct {
	*connect.BidiStreamForClient[v1.LocksRequest, v1.LocksResponse]
	c   *client.Client
	end func()
}

func (t *target) openStream(ctx context.Context) (*stream, error) {
	c, err := t.client(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{c.Locks.Locks(ctx), c, nil}
	// A stream whose request is open does not heed its context: both must end for Receive to.
	hangUp := context.AfterFunc(ctx, func() { _ = s.CloseRequest() })
	s.end = func() {
		cancel()
		hangUp()
		_ = s.CloseRequest()
		c.Close()
	}
	return s, nil
}

func (s *stream) acquire(session, lock string, id int64, wait time.Duration) error {
	return s.Send(&v1.LocksRequest{Acquire: &v1.AcquireLockRequest{
		Namespace: s.c.Namespace(), SessionId: session, Lock: lock, RequestId: id, LowestUnanswered: id, Wait: durationpb.New(wait),
	}})
}

func (s *stream) release(lock string, token int64) error {
	return s.Send(&v1.LocksRequest{Release: &v1.ReleaseLockRequest{Namespace: s.c.Namespace(), Lock: lock, Token: token}})
}

// streamLocks has streams each lock and unlock as many keys of their own at a time as a worker has credit.
func (t *target) streamLocks(ctx context.Context, figures Figures) error {
	w := t.part(lockParts)
	all := newLatencies()
	var mu sync.Mutex // guards all
	t.Say("lock and unlock over streams")
	err := together(ctx, t.Workers, func(ctx context.Context, i int) (err error) {
		s, err := t.openStream(ctx)
		if err != nil {
			return err
		}
		defer s.end()
		session, err := openBare(ctx, s.c)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, session.close()) }()
		times, err := s.cycles(session.id, fmt.Sprintf("bench-stream-%d-", i), t.Credit, w)
		if err != nil {
			return fmt.Errorf("locks over a stream: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		all.merge(times)
		return nil
	})
	t.spread("lock and unlock over streams", all)
	figures["lockCyclesPerSecond"] = float64(all.count()) / w.seconds()
	figures["streamLockP50Ms"], figures["streamLockP99Ms"] = all.ms(50), all.ms(99)
	return err
}

// cycles locks and unlocks n keys, each again as soon as it is unlocked, until the window is over.
func (s *stream) cycles(session, prefix string, n int, w window) (latencies, error) {
	times, began := newLatencies(), map[string]time.Time{}
	lock := func(name string) error {
		began[name] = time.Now()
		return s.Send(&v1.LocksRequest{Acquire: &v1.AcquireLockRequest{Namespace: s.c.Namespace(), SessionId: session, Lock: name}})
	}
	for k := range n {
		if err := lock(fmt.Sprint(prefix, k)); err != nil {
			_, err = s.Receive()
			return times, err
		}
	}
	for held := n; held > 0; {
		m, err := s.Receive()
		switch {
		case err != nil:
			return times, err
		case m.Refusal != nil:
			return times, errors.New(m.Refusal.Reason)
		case m.Acquired != nil:
			_ = s.release(m.Lock, m.Acquired.Token) // why it failed shows in Receive
			continue
		}
		now := time.Now()
		if w.has(now) {
			times.add(now.Sub(began[m.Lock]))
		}
		if now.After(w.till) {
			held--
			continue
		}
		_ = lock(m.Lock)
	}
	return times, nil
}

// orderedLock has as many sessions as there are workers want one lock over one stream: they are granted it in the order
// in which they asked.
func (t *target) orderedLock(ctx context.Context, figures Figures) (err error) {
	w := t.part(lockParts)
	t.Say("hand over one lock in order")
	s, err := t.openStream(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	o := &order{stream: s, lock: "bench-ordered", window: w, sessions: map[int64]bare{}}
	defer func() {
		for _, session := range o.all {
			err = errors.Join(err, session.close())
		}
	}()
	for range t.Workers {
		session, err := openBare(ctx, s.c)
		if err != nil {
			return err
		}
		o.all = append(o.all, session)
	}
	if err := o.run(); err != nil {
		return fmt.Errorf("one lock over one stream: %w", err)
	}
	figures["orderedHandOversPerSecond"], figures["fifoViolations"] = float64(o.grants)/w.seconds(), float64(o.violations)
	if o.violations > 0 {
		t.problem("%d of %d grants of one lock were not in the order in which they were asked for", o.violations, o.grants)
	}
	return nil
}

// order is what was asked of one lock over one stream, oldest first.
type order struct {
	*stream
	lock       string
	window     window
	all        []bare
	asked      []int64        // request ids that are not granted yet
	sessions   map[int64]bare // of those
	last       int64          // request id
	grants     int            // in the window
	violations int
}

func (o *order) ask(session bare) {
	o.last++
	o.asked, o.sessions[o.last] = append(o.asked, o.last), session
	_ = o.acquire(session.id, o.lock, o.last, time.Minute) // why it failed shows in Receive
}

func (o *order) run() error {
	for _, session := range o.all {
		o.ask(session)
	}
	for open := len(o.all); open > 0; {
		m, err := o.Receive()
		if err != nil {
			return err
		}
		if m.Refusal != nil {
			return errors.New(m.Refusal.Reason)
		}
		if m.Acquired == nil {
			open -= o.released()
			continue
		}
		if o.asked[0] != m.RequestId {
			o.violations++
		}
		o.asked = slices.DeleteFunc(o.asked, func(id int64) bool { return id == m.RequestId })
		session := o.sessions[m.RequestId]
		delete(o.sessions, m.RequestId)
		if w := o.window; w.has(time.Now()) {
			o.grants++
		}
		_ = o.release(o.lock, m.Acquired.Token)
		if time.Now().Before(o.window.till) {
			o.ask(session)
		}
	}
	return nil
}

// released counts one session that does not ask again: those whose requests are all granted once the time is over.
func (o *order) released() int {
	if time.Now().Before(o.window.till) || len(o.sessions) > 0 {
		return 0
	}
	return len(o.all)
}
