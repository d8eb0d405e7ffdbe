package client

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client/core"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// authorHeader names who asks.
const authorHeader = "Lockstep-Principal"

// router is the interceptor of every call: it picks the server, tries again, and makes refusals of errors.
type router struct {
	scheme string
	author string
	logger *slog.Logger

	// leaderOf asks a server who leads; it is not tried again.
	leaderOf func(ctx context.Context, server string) string
	zero     time.Time // of the doubts' clock

	mu       sync.Mutex // guards what follows
	failover *core.Failover
	doubts   map[string]*core.Doubt // by server
	waiting  map[*waiter]struct{}
}

func newRouter(servers []string, author string, logger *slog.Logger) *router {
	bases := make([]string, len(servers))
	for i, server := range servers {
		bases[i], _ = address(server, "http") // validated
	}
	scheme, _, _ := strings.Cut(bases[0], "://")
	return &router{scheme: scheme, author: author, logger: logger, zero: time.Now(), failover: core.NewFailover(bases), doubts: map[string]*core.Doubt{}, waiting: map[*waiter]struct{}{}}
}

func (r *router) server() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failover.Server()
}

// failed takes in that a server could not do a call.
func (r *router) failed(server string, err error) {
	leader := ""
	if refusal, ok := AsRefusal(err); ok && refusal.Leader != "" {
		leader, _ = address(refusal.Leader, r.scheme) // an address we cannot read is no hint
	}
	r.mu.Lock()
	r.failover.Failed(server, leader)
	next := r.failover.Server()
	r.mu.Unlock()
	r.logger.Debug("server failed a call", "server", server, "next", next, "error", err)
}

// led takes in who leads, as a server says it.
func (r *router) led(leader string) {
	base, err := address(leader, r.scheme)
	if leader == "" || err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failover.Led(base)
}

// single is how a call is tried once, and given up after some time.
type single struct{ patience time.Duration }

type singleKey struct{}

// once has a call be made to one server only, for at most patience.
func once(ctx context.Context, patience time.Duration) context.Context {
	return context.WithValue(ctx, singleKey{}, single{patience})
}

// WrapUnary tries a call until it is answered.
func (r *router) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		limit, single := ctx.Value(singleKey{}).(single)
		call := core.Call{Safe: safe(req), Servers: r.failover.Servers()}
		if r.author != "" {
			req.Header().Set(authorHeader, r.author)
		}
		for {
			server := r.server()
			res, err := r.try(withServer(ctx, server), server, limit.patience, next, req)
			if err == nil {
				return res, nil
			}
			failure := classify(ctx, err)
			if failure != core.Final && failure != core.Overloaded {
				r.failed(server, err)
			}
			after, again := call.Failed(failure, rand.Float64())
			if !again || single || !pause(ctx, after) {
				return nil, asError(err)
			}
		}
	}
}

// try asks a server once, for at most patience if that is not zero.
func (r *router) try(ctx context.Context, server string, patience time.Duration, next connect.UnaryFunc, req connect.AnyRequest) (connect.AnyResponse, error) {
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	if !safe(req) {
		res, err := next(ctx, req)
		r.answered(server, err, false)
		return res, err
	}
	return r.watched(ctx, server, next, req)
}

// WrapStreamingClient sends a stream to the server of its context, or else to the one that is asked first now. Streams are
// not tried again here: whoever opened one knows where to go on.
func (r *router) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		if serverOf(ctx) == "" {
			ctx = withServer(ctx, r.server())
		}
		conn := next(ctx, spec)
		if r.author != "" {
			conn.RequestHeader().Set(authorHeader, r.author)
		}
		return conn
	}
}

// WrapStreamingHandler is for servers.
func (r *router) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// classify says how a call went wrong.
func classify(ctx context.Context, err error) core.Failure {
	if ctx.Err() != nil {
		return core.Final
	}
	if refusal, ok := AsRefusal(err); ok {
		switch refusal.Code {
		case v1.Code_CODE_NO_LEADER:
			if refusal.Leader != "" {
				return core.Misdirected
			}
			return core.Unreached
		case v1.Code_CODE_UNAVAILABLE:
			return core.Unreached
		case v1.Code_CODE_OVERLOADED:
			return core.Overloaded
		case v1.Code_CODE_UNKNOWN_OUTCOME:
			return core.Unknown
		}
		return core.Final
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		return core.Unreached
	}
	switch connect.CodeOf(err) {
	case connect.CodeResourceExhausted:
		return core.Overloaded
	case connect.CodeUnavailable, connect.CodeAborted, connect.CodeCanceled, connect.CodeDeadlineExceeded:
		return core.Unknown
	case connect.CodeUnknown, connect.CodeInternal:
		if !connect.IsWireError(err) { // the connection's fault, not the server's answer
			return core.Unknown
		}
	}
	return core.Final
}

// pause waits, and says whether the context lives on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// safe says that a call may be done twice without harm: it reads, or what identifies it makes the second time the same as
// the first, or what it leaves behind when its answer is lost goes by itself.
func safe(r connect.AnyRequest) bool {
	if r.Spec().IdempotencyLevel == connect.IdempotencyNoSideEffects {
		return true
	}
	switch m := r.Any().(type) {
	case interface{ GetRequestId() int64 }: // PollSteps, LeaseStep, AcquireLock
		return m.GetRequestId() != 0
	case interface{ GetToken() int64 }: // completions, failures, releases, progress
		return m.GetToken() != 0
	case interface{ GetSignalId() string }:
		return m.GetSignalId() != ""
	case interface{ GetInstanceId() string }: // StartInstance, CancelInstance
		return m.GetInstanceId() != ""
	case *v1.StartInstancesRequest, *v1.CompleteStepsRequest, *v1.RegisterWorkflowRequest, *v1.RegisterReporterRequest,
		*v1.OpenSessionRequest, *v1.KeepAliveRequest, *v1.CloseSessionRequest:
		return true
	}
	return false
}

// mayWait says that a call may be answered late because it waits for something.
func mayWait(r connect.AnyRequest) bool {
	switch m := r.Any().(type) {
	case *v1.WaitInstanceRequest:
		return true
	case interface{ GetWait() *durationpb.Duration }:
		return m.GetWait().AsDuration() > 0
	}
	return false
}
