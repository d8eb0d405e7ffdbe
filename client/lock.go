package client

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// LockOptions says how to hold a lock. The zero value asks for it exclusively, and does not wait.
type LockOptions struct {
	// Shared holders exclude exclusive ones only.
	Shared bool
	// Limit makes it a lock of so many permits; whoever uses it must say the same. Zero: exclusive or shared.
	Limit int32
	// Take so many of the permits; zero means one.
	Take int32
	// Note is shown to those who wait.
	Note string
	// Wait for the lock. Zero: answer at once, with LOCK_HELD if need be. Negative: as long as the context lives.
	Wait time.Duration
	// Session of Client.Lock, when it opens one.
	Session SessionConfig
}

// Lock is a lock that is held, until it is released or lost.
type Lock struct {
	// Name of the lock.
	Name string
	// Token is greater than that of every holder before. Have what is written under the lock refuse older ones.
	Token int64
	// Slot is the lowest permit held, from 1; zero for a lock without a limit.
	Slot int32

	session *Session
	hold    *hold
	own     bool
}

// Lock acquires a lock in a session of its own, which ends when the lock is released.
func (c *Client) Lock(ctx context.Context, name string, o LockOptions) (*Lock, error) {
	session, err := c.OpenSession(ctx, o.Session)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	l, err := session.Lock(ctx, name, o)
	if err != nil {
		// It holds nothing, and goes by itself if this fails.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = session.Close(closing)
		return nil, err
	}
	l.own = true
	return l, nil
}

// Lock acquires a lock in the session.
func (s *Session) Lock(ctx context.Context, name string, o LockOptions) (*Lock, error) {
	var reply *v1.AcquireLockResponse
	err := waits(o.Wait, func(wait time.Duration) error {
		return s.request(ctx, func(ctx context.Context, id, lowest int64) (err error) {
			reply, err = ask(ctx, s.c.Locks.AcquireLock, &v1.AcquireLockRequest{
				Namespace: s.c.namespace, SessionId: s.id, Lock: name, Shared: o.Shared, Limit: o.Limit, Take: o.Take, Note: o.Note,
				Wait: durationpb.New(wait), RequestId: id, LowestUnanswered: lowest,
			})
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return &Lock{Name: name, Token: reply.Token, Slot: reply.Grant.GetSlot(), session: s, hold: s.hold(ctx, reply.Token)}, nil
}

// Session that holds the lock.
func (l *Lock) Session() *Session { return l.session }

// Context ends when the lock is held no longer. Do under it what the lock is for.
func (l *Lock) Context() context.Context { return l.hold.ctx }

// Done is closed when the lock is held no longer.
func (l *Lock) Done() <-chan struct{} { return l.hold.ctx.Done() }

// Err is nil while the lock is held, and then why it is not.
func (l *Lock) Err() error { return context.Cause(l.hold.ctx) }

// Key is the lease's name for guards: the lock's, and for a permit its slot, because holders of different permits are not
// each other's zombies.
func (l *Lock) Key() string {
	if l.Slot == 0 {
		return l.Name
	}
	return l.Name + "#" + strconv.Itoa(int(l.Slot))
}

// Release gives the lock back. Releasing what is lost, or released, does nothing; Err tells.
func (l *Lock) Release(ctx context.Context) error {
	if l.own {
		return l.session.Close(ctx)
	}
	_, err := ask(ctx, l.session.c.Locks.ReleaseLock, &v1.ReleaseLockRequest{Namespace: l.session.c.namespace, Lock: l.Name, Token: l.Token})
	if err != nil && !IsFenced(err) {
		return fmt.Errorf("release lock %s: %w", l.Name, err)
	}
	l.session.drop(l.Token, ErrReleased)
	return nil
}
