package api

import (
	"context"
	"time"

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
	command, wait, err := acquireCommand(ctx, r.Namespace, r)
	if err != nil {
		return nil, err
	}
	return proposeWait[*v1.AcquireLockResponse](s, ctx, command, wait)
}

func acquireCommand(ctx context.Context, namespace string, r *v1.AcquireLockRequest) (*logv1.Command, time.Duration, error) {
	session, err := sessionOf(r.SessionId)
	if err != nil {
		return nil, 0, err
	}
	if err := name("lock", r.Lock); err != nil {
		return nil, 0, err
	}
	if err := text("note", r.Note); err != nil {
		return nil, 0, err
	}
	if r.Limit < 0 || r.Take < 0 {
		return nil, 0, invalid("limit is %d and take %d", r.Limit, r.Take)
	}
	wait, err := waitOf(r.Wait)
	if err != nil {
		return nil, 0, err
	}
	e, err := request(envelope(ctx, namespace), session, r.RequestId, r.LowestUnanswered)
	return &logv1.Command{Envelope: e, Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{
		Session: session, Lock: r.Lock, Shared: r.Shared, Limit: r.Limit, Take: r.Take, Note: r.Note, Wait: int64(wait),
	}}}, wait, err
}

// ReleaseLock gives a session's lock back.
func (s *service) ReleaseLock(ctx context.Context, r *connect.Request[v1.ReleaseLockRequest]) (*connect.Response[v1.ReleaseLockResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, s.releaseLock)
}

func (s *service) releaseLock(ctx context.Context, r *v1.ReleaseLockRequest) (*v1.ReleaseLockResponse, error) {
	command, err := releaseCommand(ctx, r.Namespace, r)
	if err != nil {
		return nil, err
	}
	return propose[*v1.ReleaseLockResponse](s, ctx, command)
}

func releaseCommand(ctx context.Context, namespace string, r *v1.ReleaseLockRequest) (*logv1.Command, error) {
	if err := name("lock", r.Lock); err != nil {
		return nil, err
	}
	return &logv1.Command{Envelope: envelope(ctx, namespace), Body: &logv1.Command_ReleaseLock{ReleaseLock: r}}, issued(r.Token)
}

// RevokeLease takes a lease from its holder.
func (s *service) RevokeLease(ctx context.Context, r *connect.Request[v1.RevokeLeaseRequest]) (*connect.Response[v1.RevokeLeaseResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.RevokeLeaseRequest) (*v1.RevokeLeaseResponse, error) {
		if err := issued(r.Token); err != nil {
			return nil, err
		}
		if err := text("reason", r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.RevokeLeaseResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_RevokeLease{RevokeLease: r}})
	})
}

// GetLock returns a lock.
func (s *service) GetLock(ctx context.Context, r *connect.Request[v1.GetLockRequest]) (*connect.Response[v1.Lock], error) {
	return read(s, ctx, r, func(r *v1.GetLockRequest) error { return name("lock", r.Lock) }, (*fsm.Machine).GetLock, nil)
}

// ListLocks lists locks.
func (s *service) ListLocks(ctx context.Context, r *connect.Request[v1.ListLocksRequest]) (*connect.Response[v1.ListLocksResponse], error) {
	return read(s, ctx, r, func(r *v1.ListLocksRequest) error {
		if err := optional("prefix", r.Prefix); err != nil {
			return err
		}
		return page(r.Limit, r.Page)
	}, (*fsm.Machine).ListLocks, nil)
}

// CheckToken says whether a token holds.
func (s *service) CheckToken(ctx context.Context, r *connect.Request[v1.CheckTokenRequest]) (*connect.Response[v1.CheckTokenResponse], error) {
	if err := issued(r.Msg.Token); err != nil {
		return nil, asConnect(err)
	}
	if err := optional("lock", r.Msg.Lock); err != nil {
		return nil, asConnect(err)
	}
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CheckTokenRequest) (*v1.CheckTokenResponse, error) {
		res, _, err := readOf(s, ctx, r.Namespace, 0, r, (*fsm.Machine).CheckToken)
		return res, err
	})
}
