package api

import (
	"context"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// staleHeader tells how old a stale read may be, in milliseconds.
const staleHeader = "Lockstep-Stale-Ms"

// reading is a read's request.
type reading[T any] interface {
	*T
	GetConsistency() v1.Consistency
}

// namespaceOf is the namespace that a request names; what lists namespaces names none.
func namespaceOf(r any) string {
	if in, ok := r.(interface{ GetNamespace() string }); ok {
		return in.GetNamespace()
	}
	return ""
}

// read answers a read: here when it may be stale, on the leader otherwise.
func read[Req, Res any, P reading[Req]](s *service, ctx context.Context, r *connect.Request[Req], check func(P) error, fn func(*fsm.Machine, P) (*Res, error), show func(*Res)) (*connect.Response[Res], error) {
	request := P(r.Msg)
	namespace := namespaceOf(request)
	if err := check(request); err != nil {
		return nil, asConnect(err)
	}
	local := func(ctx context.Context) (*Res, time.Duration, error) {
		res, age, err := readOf(s, ctx, namespace, request.GetConsistency(), request, fn)
		if err == nil && show != nil {
			show(res)
		}
		return res, age, err
	}
	switch request.GetConsistency() {
	case v1.Consistency_CONSISTENCY_UNSPECIFIED:
		return unary(s, ctx, r, namespace, func(ctx context.Context, _ *Req) (*Res, error) {
			res, _, err := local(ctx)
			return res, err
		})
	case v1.Consistency_CONSISTENCY_STALE:
		res, age, err := local(ctx)
		if err != nil {
			return nil, asConnect(err)
		}
		out := connect.NewResponse(res)
		out.Header().Set(staleHeader, strconv.FormatInt(age.Milliseconds(), 10))
		return out, nil
	}
	return nil, asConnect(invalid("consistency %d is none", request.GetConsistency()))
}
