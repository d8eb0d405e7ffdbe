package client

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client/core"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// errLeft is why a call is given up at a server that is silent while another leads. What became of it is not known.
var errLeft = errors.New("no answer, and another server leads")

// askLimit bounds a question about a server that is silent: who is asked may be silent too, and the next is asked then.
const askLimit = 250 * time.Millisecond

// asker asks single servers who leads.
func asker(cluster lockstepv1connect.ClusterServiceClient) func(ctx context.Context, server string) string {
	return func(ctx context.Context, server string) string {
		ctx, cancel := context.WithTimeout(withServer(ctx, server), askLimit)
		defer cancel()
		status, err := ask(ctx, cluster.GetStatus, &v1.GetStatusRequest{Local: true})
		if err != nil || len(status.Groups) != 1 {
			return ""
		}
		return status.Groups[0].LeaderApi
	}
}

// watched makes a call that may be made twice without harm, and leaves a server that answers nothing, to no call, once
// another is said to lead. It has a goroutine for a call that is not answered soon, which ends before it returns.
func (r *router) watched(ctx context.Context, server string, next connect.UnaryFunc, req connect.AnyRequest) (connect.AnyResponse, error) {
	ctx, leave := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	timer := time.AfterFunc(r.sent(server), func() {
		defer close(ended)
		r.doubt(ctx, server, leave)
	})
	res, err := next(ctx, req)
	left := context.Cause(ctx) == errLeft
	leave(nil)
	if !timer.Stop() {
		<-ended
	}
	r.answered(server, err, true)
	if left && err != nil && !connect.IsWireError(err) {
		return nil, connect.NewError(connect.CodeAborted, errLeft)
	}
	return res, err
}

func (r *router) now() time.Duration { return time.Since(r.zero) }

// doubtOf is what we think of a server. The caller holds the mutex.
func (r *router) doubtOf(server string) *core.Doubt {
	d := r.doubts[server]
	if d == nil {
		d = &core.Doubt{}
		r.doubts[server] = d
	}
	return d
}

// sent takes in that a call begins, and returns how soon the server is to be doubted.
func (r *router) sent(server string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, d := r.now(), r.doubtOf(server)
	d.Sent(now)
	return max(0, d.Due()-now)
}

// answered takes in how a call ended, which may be without an answer.
func (r *router) answered(server string, err error, sent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, d := r.now(), r.doubtOf(server)
	if sent {
		d.Ended(now)
	}
	if err == nil || connect.IsWireError(err) {
		d.Heard(now)
	}
}

// doubt asks about a server for as long as it is silent, until the context ends, and leaves it when it should be.
func (r *router) doubt(ctx context.Context, server string, leave context.CancelCauseFunc) {
	for ctx.Err() == nil {
		r.mu.Lock()
		now := r.now()
		d := r.doubtOf(server)
		gone := r.failover.Server() != server && d.Silent(now)
		question, nth, again := d.Step(now)
		others := r.failover.Others(server)
		r.mu.Unlock()
		switch {
		case gone: // another call has found out
			leave(errLeft)
			return
		case len(others) == 0:
			return
		case !question:
			if !pause(ctx, again-now) {
				return
			}
		default:
			r.moved(server, r.leaderOf(ctx, others[nth%len(others)]))
		}
	}
}

// moved takes in who leads while a server is silent.
func (r *router) moved(silent, leader string) {
	base, err := address(leader, r.scheme)
	if leader == "" || err != nil {
		return
	}
	r.mu.Lock()
	moved := r.failover.Moved(silent, base)
	r.mu.Unlock()
	if moved {
		r.logger.Debug("server is silent, and another leads", "server", silent, "next", base)
	}
}
