package api

import (
	"context"
	"strconv"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// staleHeader tells how old a stale read may be, in milliseconds.
const staleHeader = "Lockstep-Stale-Ms"

// scoped is a read's request.
type scoped interface {
	GetNamespace() string
	GetConsistency() v1.Consistency
}

// read answers a read: here when it may be stale, on the leader otherwise.
func read[Req, Res any, P interface {
	*Req
	scoped
}](s *service, ctx context.Context, r *connect.Request[Req], check func(P) error, fn func(*fsm.Machine, P) (*Res, error), show func(*Res)) (*connect.Response[Res], error) {
	ask := P(r.Msg)
	if err := check(ask); err != nil {
		return nil, asConnect(err)
	}
	local := func(ctx context.Context, _ *Req) (*Res, error) {
		res, _, err := readOf(s, ctx, ask.GetNamespace(), ask.GetConsistency(), ask, fn)
		if err == nil && show != nil {
			show(res)
		}
		return res, err
	}
	switch ask.GetConsistency() {
	case v1.Consistency_CONSISTENCY_UNSPECIFIED:
		return unary(s, ctx, r, ask.GetNamespace(), local)
	case v1.Consistency_CONSISTENCY_STALE:
		res, age, err := readOf(s, ctx, ask.GetNamespace(), ask.GetConsistency(), ask, fn)
		if err != nil {
			return nil, asConnect(err)
		}
		if show != nil {
			show(res)
		}
		out := connect.NewResponse(res)
		out.Header().Set(staleHeader, strconv.FormatInt(age.Milliseconds(), 10))
		return out, nil
	}
	return nil, asConnect(invalid("consistency %d is none", ask.GetConsistency()))
}
