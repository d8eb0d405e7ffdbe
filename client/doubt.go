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
// another is said to lead. A call that waits is owed no answer: it leaves with those that are.
func (r *router) watched(ctx context.Context, server string, next connect.UnaryFunc, req connect.AnyRequest) (connect.AnyResponse, error) {
	ctx, leave := context.WithCancelCause(ctx)
	begin := r.expects
	if mayWait(req) {
		begin = r.waits
	}
	ended := begin(ctx, server, func() { leave(errLeft) })
	res, err := next(ctx, req)
	left := context.Cause(ctx) == errLeft
	leave(nil)
	ended(err)
	if left && err != nil && !connect.IsWireError(err) {
		return nil, connect.NewError(connect.CodeAborted, errLeft)
	}
	return res, err
}

// expects takes in that a server owes an answer, and has leave called when it gives none, to no call, and another is said to
// lead. ended takes in the answer, or that there is none; it must be called. There is a goroutine when no answer comes soon,
// which has ended before ended returns.
func (r *router) expects(ctx context.Context, server string, leave func()) (ended func(err error)) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	timer := time.AfterFunc(r.sent(server), func() {
		defer close(over)
		r.doubt(ctx, server, leave)
	})
	return func(err error) {
		cancel()
		if !timer.Stop() {
			<-over
		}
		r.answered(server, err, true)
	}
}

// waiter is what waits at a server that may be silent for as long as nothing happens: a call, or a stream.
type waiter struct {
	server string
	leave  func()
}

// waits takes in that something waits at a server, and has leave called when what is owed an answer leaves it. ended must be
// called.
func (r *router) waits(_ context.Context, server string, leave func()) (ended func(err error)) {
	w := &waiter{server, leave}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[w] = struct{}{}
	return func(err error) {
		r.mu.Lock()
		delete(r.waiting, w)
		r.mu.Unlock()
		r.answered(server, err, false)
	}
}

// leaveAll has everything that waits at a server leave it.
func (r *router) leaveAll(server string) {
	var all []*waiter
	r.mu.Lock()
	for w := range r.waiting {
		if w.server == server {
			all = append(all, w)
			delete(r.waiting, w)
		}
	}
	r.mu.Unlock()
	for _, w := range all {
		w.leave()
	}
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

// heard takes in that a server said something.
func (r *router) heard(server string) { r.answered(server, nil, false) }

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
func (r *router) doubt(ctx context.Context, server string, leave func()) {
	for ctx.Err() == nil {
		r.mu.Lock()
		now := r.now()
		d := r.doubtOf(server)
		gone := r.failover.Server() != server && d.Silent(now)
		question, nth, again := d.Step(now)
		others := r.failover.Others(server)
		r.mu.Unlock()
		switch {
		case gone: // this call has found out, or another
			leave()
			r.leaveAll(server)
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
