package api

import (
	"context"
	"errors"
	"io"
	"sync"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// AcquireLock acquires a lock for a session.
func (s *service) AcquireLock(ctx context.Context, r *connect.Request[v1.AcquireLockRequest]) (*connect.Response[v1.AcquireLockResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, s.acquireLock)
}

func (s *service) acquireLock(ctx context.Context, r *v1.AcquireLockRequest) (*v1.AcquireLockResponse, error) {
	session, err := sessionOf(r.SessionId)
	if err != nil {
		return nil, err
	}
	if err := name("lock", r.Lock); err != nil {
		return nil, err
	}
	if err := text("note", r.Note); err != nil {
		return nil, err
	}
	if r.Limit < 0 || r.Take < 0 {
		return nil, invalid("limit is %d and take %d", r.Limit, r.Take)
	}
	wait, err := waitOf(r.Wait)
	if err != nil {
		return nil, err
	}
	e, err := request(envelope(ctx, r.Namespace), session, r.RequestId, r.LowestUnanswered)
	if err != nil {
		return nil, err
	}
	return proposeWait[*v1.AcquireLockResponse](s, ctx, &logv1.Command{Envelope: e, Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{
		Session: session, Lock: r.Lock, Shared: r.Shared, Limit: r.Limit, Take: r.Take, Note: r.Note, Wait: int64(wait),
	}}}, wait)
}

// ReleaseLock gives a session's lock back.
func (s *service) ReleaseLock(ctx context.Context, r *connect.Request[v1.ReleaseLockRequest]) (*connect.Response[v1.ReleaseLockResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, s.releaseLock)
}

func (s *service) releaseLock(ctx context.Context, r *v1.ReleaseLockRequest) (*v1.ReleaseLockResponse, error) {
	if err := name("lock", r.Lock); err != nil {
		return nil, err
	}
	if r.Token <= 0 {
		return nil, invalid("token is %d; give the token that came with the lock", r.Token)
	}
	return propose[*v1.ReleaseLockResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_ReleaseLock{ReleaseLock: r}})
}

// RevokeLease takes a lease from its holder.
func (s *service) RevokeLease(ctx context.Context, r *connect.Request[v1.RevokeLeaseRequest]) (*connect.Response[v1.RevokeLeaseResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.RevokeLeaseRequest) (*v1.RevokeLeaseResponse, error) {
		return propose[*v1.RevokeLeaseResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_RevokeLease{RevokeLease: r}})
	})
}

// GetLock returns a lock.
func (s *service) GetLock(ctx context.Context, r *connect.Request[v1.GetLockRequest]) (*connect.Response[v1.Lock], error) {
	return read(s, ctx, r, func(r *v1.GetLockRequest) error { return name("lock", r.Lock) }, (*fsm.Machine).GetLock, nil)
}

// ListLocks lists locks.
func (s *service) ListLocks(ctx context.Context, r *connect.Request[v1.ListLocksRequest]) (*connect.Response[v1.ListLocksResponse], error) {
	return read(s, ctx, r, func(r *v1.ListLocksRequest) error { return page(r.Limit) }, (*fsm.Machine).ListLocks, nil)
}

// CheckToken says whether a token holds.
func (s *service) CheckToken(ctx context.Context, r *connect.Request[v1.CheckTokenRequest]) (*connect.Response[v1.CheckTokenResponse], error) {
	if r.Msg.Token <= 0 {
		return nil, asConnect(invalid("token is %d", r.Msg.Token))
	}
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CheckTokenRequest) (*v1.CheckTokenResponse, error) {
		res, _, err := readOf(s, ctx, r.Namespace, 0, r, (*fsm.Machine).CheckToken)
		return res, err
	})
}

// Locks acquires and releases many locks over one stream. Each answer names its lock and request.
func (s *service) Locks(ctx context.Context, stream *connect.BidiStream[v1.LocksRequest, v1.LocksResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return streamEnd(err)
	}
	if address, ok := s.elsewhere(namespaceOf(first), stream.RequestHeader()); ok {
		return pipe(s, ctx, stream, first, address)
	}
	ctx, cancel := context.WithCancel(withCaller(ctx, stream.RequestHeader()))
	defer cancel()
	var sending sync.Mutex
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	for r := first; ; {
		calls.Go(func() {
			answer := s.answerLock(ctx, r)
			sending.Lock()
			defer sending.Unlock()
			if stream.Send(answer) != nil {
				cancel() // the client is gone
			}
		})
		if r, err = stream.Receive(); err != nil {
			return streamEnd(err)
		}
	}
}

func namespaceOf(r *v1.LocksRequest) string {
	if r.Acquire != nil {
		return r.Acquire.Namespace
	}
	return r.Release.GetNamespace()
}

func (s *service) answerLock(ctx context.Context, r *v1.LocksRequest) *v1.LocksResponse {
	out := &v1.LocksResponse{}
	var err error
	switch {
	case r.Acquire != nil:
		out.Lock, out.RequestId = r.Acquire.Lock, r.Acquire.RequestId
		out.Acquired, err = s.acquireLock(ctx, r.Acquire)
	case r.Release != nil:
		out.Lock = r.Release.Lock
		out.Released, err = s.releaseLock(ctx, r.Release)
	default:
		err = invalid("the message neither acquires nor releases")
	}
	out.Refusal = refuseAny(err)
	return out
}

// refuseAny makes a refusal of any error, for answers that are messages of a stream.
func refuseAny(err error) *v1.Refusal {
	if err == nil {
		return nil
	}
	if r := refusalOf(err); r != nil {
		return r
	}
	return fsm.Refuse(v1.Code_CODE_UNKNOWN_OUTCOME, "%v", err).Detail
}

// streamEnd: a client that ends its half ends the stream well.
func streamEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return asConnect(err)
}
