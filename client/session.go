package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client/core"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Why a session, or a lease in it, is over: what Session.Err returns, and the cause of contexts that end with them.
var (
	// ErrSessionExpired: not renewed in time, by the holder's own clock or by the cluster's.
	ErrSessionExpired = errors.New("the session has expired")
	// ErrSessionClosed: closed by us.
	ErrSessionClosed = errors.New("the session is closed")
	// ErrLeaseLost: the cluster says that the token holds no longer.
	ErrLeaseLost = errors.New("the lease is lost")
	// ErrCancelled: the run's instance is being cancelled or has failed. The lease is still held.
	ErrCancelled = errors.New("the instance is being stopped")
	// ErrStopping: this worker stops.
	ErrStopping = errors.New("the worker is stopping")
	// ErrReleased: completed, failed or released by us.
	ErrReleased = errors.New("the lease has ended")
)

// DefaultTTL of sessions.
const DefaultTTL = 10 * time.Second

// SessionConfig says how a session lives.
type SessionConfig struct {
	// TTL is how long the session lives without a renewal, 1 s to 1 h; zero means DefaultTTL. It is renewed every third of it.
	TTL time.Duration
	// Worker is a name for people.
	Worker string
}

// Session is a client's liveness. What it holds is held until it is released, or the session expires or closes.
//
// One goroutine renews it, apart from all work, from OpenSession until Done. The session's end by its own clock comes before
// the cluster's, unless this process is stopped in between: nothing here replaces checking the token.
// It is safe for concurrent use.
type Session struct {
	c   *Client
	id  string
	ttl time.Duration
	// life ends with the session; its cause says why.
	life context.Context
	stop context.CancelCauseFunc
	kept chan struct{} // closed when the goroutine has ended
	zero time.Time     // of the keeper's clock, which is monotonic

	mu     sync.Mutex
	keeper *core.Keeper
	holds  map[int64]*hold
}

// hold is a lease of the session, and the context of what is done under it.
type hold struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// OpenSession opens a session and keeps it alive until Close, or until it cannot be.
func (c *Client) OpenSession(ctx context.Context, config SessionConfig) (*Session, error) {
	if config.TTL == 0 {
		config.TTL = DefaultTTL
	}
	for {
		sent := time.Now()
		reply, err := ask(ctx, c.Workers.OpenSession, &v1.OpenSessionRequest{Namespace: c.namespace, Ttl: durationpb.New(config.TTL), Worker: config.Worker})
		if err != nil {
			return nil, fmt.Errorf("open session: %w", err)
		}
		ttl := reply.Ttl.AsDuration()
		if time.Since(sent) >= ttl-core.Margin(ttl) { // it may be over already
			continue
		}
		return c.keepSession(reply.SessionId, ttl, sent), nil
	}
}

func (c *Client) keepSession(id string, ttl time.Duration, sent time.Time) *Session {
	life, stop := context.WithCancelCause(context.Background())
	s := &Session{
		c: c, id: id, ttl: ttl, life: life, stop: stop, kept: make(chan struct{}), zero: sent,
		keeper: core.NewKeeper(ttl, 0), holds: map[int64]*hold{},
	}
	go s.keep()
	return s
}

// ID is the session's name in the cluster.
func (s *Session) ID() string { return s.id }

// TTL is how long the session lives without a renewal.
func (s *Session) TTL() time.Duration { return s.ttl }

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.life.Done() }

// Err is nil while the session lives, and then why it is over: ErrSessionExpired or ErrSessionClosed.
func (s *Session) Err() error { return context.Cause(s.life) }

// Deadline is when the session is over by our own clock, unless it is renewed before.
func (s *Session) Deadline() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.zero.Add(s.keeper.Deadline())
}

// Close ends the session at once: its runs are given back, its locks are freed. Closing what is over does nothing.
func (s *Session) Close(ctx context.Context) error {
	alive := s.Err() == nil
	s.end(ErrSessionClosed)
	<-s.kept
	if !alive {
		return nil
	}
	_, err := ask(ctx, s.c.Workers.CloseSession, &v1.CloseSessionRequest{Namespace: s.c.namespace, SessionId: s.id})
	if err != nil && !isSessionExpired(err) {
		return fmt.Errorf("close session: %w", err)
	}
	return nil
}

// end ends the session, here, and everything that is done under it. Only the first reason counts.
func (s *Session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return
	}
	s.stop(err)
	for _, h := range s.holds {
		h.cancel(err)
	}
}

func (s *Session) now() time.Duration { return time.Since(s.zero) }

// keep renews the session until it is over.
func (s *Session) keep() {
	defer close(s.kept)
	for {
		s.mu.Lock()
		act, at := s.keeper.Step(s.now())
		s.mu.Unlock()
		switch act {
		case core.Expire:
			s.c.logger.Warn("session expired: it could not be renewed in time", "session", s.id)
			s.end(ErrSessionExpired)
			return
		case core.Renew:
			if err := s.renew(); isSessionExpired(err) {
				s.c.logger.Warn("session expired: the cluster has ended it", "session", s.id)
				s.end(ErrSessionExpired)
				return
			}
		case core.Wait:
			if !pause(s.life, at-s.now()) {
				return
			}
		}
	}
}

// renew tries once to renew the session, and takes in what the answer says of its leases.
func (s *Session) renew() error {
	s.mu.Lock()
	tokens, sent := s.keeper.Tokens(), s.now()
	patience := min(s.keeper.Patience(), s.keeper.Deadline()-sent)
	s.mu.Unlock()
	reply, err := ask(once(s.life, patience), s.c.Workers.KeepAlive, &v1.KeepAliveRequest{
		Namespace: s.c.namespace, SessionId: s.id, Tokens: tokens, TokensComplete: true,
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.keeper.Failed(s.now(), rand.Float64())
		return err
	}
	s.keeper.Renewed(reply.Ttl.AsDuration(), sent, s.now())
	for _, token := range reply.Cancelled {
		s.endHold(token, ErrCancelled)
	}
	for _, token := range reply.Lost {
		s.endHold(token, ErrLeaseLost)
		s.keeper.Drop(token)
	}
	return nil
}

// endHold ends the context of what is done under a token. The caller holds the mutex.
func (s *Session) endHold(token int64, cause error) {
	if h := s.holds[token]; h != nil {
		h.cancel(cause)
	}
}

// hold has a lease be renewed with the session. What is done under it gets the values of parent, and a context that ends
// when the lease or the session does.
func (s *Session) hold(parent context.Context, token int64) *hold {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	h := &hold{ctx, cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Err(); err != nil {
		cancel(err)
		return h
	}
	s.keeper.Hold(token)
	s.holds[token] = h
	return h
}

// interrupt ends what is done under a token: its lease is lost, or it is asked to stop.
func (s *Session) interrupt(token int64, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endHold(token, cause)
}

// drop ends hold: the lease is over.
func (s *Session) drop(token int64, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endHold(token, cause)
	delete(s.holds, token)
	s.keeper.Drop(token)
}

// request makes a call under an id by which the session remembers its answer, so that the call can be tried again. It ends
// with the session.
func (s *Session) request(ctx context.Context, call func(ctx context.Context, id, lowest int64) error) error {
	if over := s.Err(); over != nil {
		return over
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	s.mu.Lock()
	id, lowest := s.keeper.Request()
	s.mu.Unlock()
	err := call(ctx, id, lowest)
	s.mu.Lock()
	s.keeper.Answered(id)
	s.mu.Unlock()
	if over := s.Err(); err != nil && over != nil {
		return over
	}
	if isSessionExpired(err) {
		s.end(ErrSessionExpired)
	}
	return err
}

// bound is a context that ends with the session too.
func (s *Session) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	unbind := context.AfterFunc(s.life, cancel)
	return ctx, func() { unbind(); cancel() }
}
