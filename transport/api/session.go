package api

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// OpenSession opens a session.
func (s *service) OpenSession(ctx context.Context, r *connect.Request[v1.OpenSessionRequest]) (*connect.Response[v1.Session], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.OpenSessionRequest) (*v1.Session, error) {
		if err := optional("worker", r.Worker); err != nil {
			return nil, err
		}
		if ttl := r.Ttl.AsDuration(); r.Ttl != nil && (!r.Ttl.IsValid() || ttl < time.Second || ttl > time.Hour) {
			return nil, invalid("ttl is %s, and must be between 1s and 1h", ttl)
		}
		return propose[*v1.Session](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_OpenSession{
			OpenSession: &logv1.OpenSession{Ttl: int64(r.Ttl.AsDuration()), Worker: r.Worker},
		}})
	})
}

// KeepAlive renews a session.
func (s *service) KeepAlive(ctx context.Context, r *connect.Request[v1.KeepAliveRequest]) (*connect.Response[v1.KeepAliveResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, s.keepAlive)
}

func (s *service) keepAlive(ctx context.Context, r *v1.KeepAliveRequest) (*v1.KeepAliveResponse, error) {
	id, err := sessionOf(r.SessionId)
	if err != nil {
		return nil, err
	}
	if len(r.Tokens) > maxTokens {
		return nil, invalid("a renewal lists %d tokens, the limit is %d", len(r.Tokens), maxTokens)
	}
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	out, err := s.cluster.Renew(ctx, &logv1.Renewal{Namespace: r.Namespace, Session: id, Tokens: r.Tokens, TokensComplete: r.TokensComplete})
	if err != nil {
		return nil, err
	}
	if out.Refusal != nil {
		return nil, &fsm.Refusal{Detail: out.Refusal}
	}
	return out.Reply, nil
}

// CloseSession ends a session, and gives its leases back.
func (s *service) CloseSession(ctx context.Context, r *connect.Request[v1.CloseSessionRequest]) (*connect.Response[v1.CloseSessionResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CloseSessionRequest) (*v1.CloseSessionResponse, error) {
		id, err := sessionOf(r.SessionId)
		if err == nil {
			err = text("reason", r.Reason)
		}
		if err != nil {
			return nil, err
		}
		return propose[*v1.CloseSessionResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_CloseSession{
			CloseSession: &logv1.CloseSession{Session: id, Reason: r.Reason},
		}})
	})
}

// ListSessions lists live sessions.
func (s *service) ListSessions(ctx context.Context, r *connect.Request[v1.ListSessionsRequest]) (*connect.Response[v1.ListSessionsResponse], error) {
	return read(s, ctx, r, func(r *v1.ListSessionsRequest) error { return page(r.Limit, r.Page) }, (*fsm.Machine).ListSessions, nil)
}
