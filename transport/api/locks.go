package api

import (
	"context"
	"errors"
	"io"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// maxParked bounds how many locks one stream waits for.
const maxParked = 1000

// Locks acquires and releases many locks of a namespace over one stream, in the order in which it is asked. Each answer
// names its lock and request; those that wait come when they are granted.
func (s *service) Locks(ctx context.Context, stream *connect.BidiStream[v1.LocksRequest, v1.LocksResponse]) error {
	return serveStream(s, ctx, stream, lockNamespace, func(ctx context.Context, first *v1.LocksRequest) error {
		l := &locker{s: s, stream: stream, namespace: lockNamespace(first)}
		return l.serve(ctx, first)
	})
}

func lockNamespace(r *v1.LocksRequest) string {
	if r.Acquire != nil {
		return r.Acquire.Namespace
	}
	return r.Release.GetNamespace()
}

// locker is one Locks stream. A goroutine receives, and each lock that is waited for has one.
type locker struct {
	s         *service
	stream    *connect.BidiStream[v1.LocksRequest, v1.LocksResponse]
	namespace string
	waits     sync.WaitGroup

	mu     sync.Mutex // guards what follows, and stream.Send
	parked int        // locks waited for
}

// serve answers until the client has ended its half and every lock that it waits for is settled.
func (l *locker) serve(ctx context.Context, first *v1.LocksRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer l.waits.Wait()
	defer cancel()
	in := receive(ctx, l.s, l.namespace, l.stream)
	for message := first; message != nil; {
		batch := in.batch(message, maxBatch, func(*v1.LocksRequest) int { return 1 })
		if err := l.handle(ctx, batch); err != nil {
			return err
		}
		var err error
		if message, err = in.next(ctx); err != nil {
			return err
		}
	}
	if errors.Is(in.err, io.EOF) {
		l.waits.Wait()
	}
	return in.err
}

// lockAsk is one message, and what is known of its answer.
type lockAsk struct {
	answer  *v1.LocksResponse
	command *logv1.Command
	waits   *pending // of an acquisition
}

// handle proposes what a batch of messages asks, and answers what is known at once.
func (l *locker) handle(ctx context.Context, batch []*v1.LocksRequest) error {
	var asks []*lockAsk
	var commands []*logv1.Command
	for _, r := range batch {
		a, err := l.ask(ctx, r)
		if err != nil {
			a.answer.Refusal = refuseAny(err)
			if err := l.send(ctx, a.answer); err != nil {
				return err
			}
			continue
		}
		asks, commands = append(asks, a), append(commands, a.command)
	}
	outcomes, err := l.s.proposeAll(ctx, commands)
	var answers []*v1.LocksResponse
	for i, a := range asks {
		switch {
		case outcomes == nil:
			a.end()
		case outcomes[i].Parked:
			l.park(ctx, a)
		default:
			a.end()
			answers = append(answers, a.with(outcomes[i].Reply, outcomes[i].Refusal))
		}
	}
	if err != nil {
		return err
	}
	return l.send(ctx, answers...)
}

func (l *locker) ask(ctx context.Context, r *v1.LocksRequest) (a *lockAsk, err error) {
	a = &lockAsk{answer: &v1.LocksResponse{}}
	if err := within(l.namespace, lockNamespace(r)); err != nil {
		return a, err
	}
	switch {
	case r.Acquire != nil && r.Release != nil:
		return a, invalid("the message acquires and releases; send two")
	case r.Release != nil:
		a.answer.Lock = r.Release.Lock
		a.command, err = releaseCommand(ctx, l.namespace, r.Release)
		return a, err
	case r.Acquire == nil:
		return a, invalid("the message neither acquires nor releases")
	}
	a.answer.Lock, a.answer.RequestId = r.Acquire.Lock, r.Acquire.RequestId
	command, wait, err := acquireCommand(ctx, l.namespace, r.Acquire)
	if err != nil {
		return a, err
	}
	l.mu.Lock()
	parked := l.parked
	l.mu.Unlock()
	if wait > 0 && parked >= maxParked {
		return a, fsm.Refuse(v1.Code_CODE_OVERLOADED, "the stream waits for %d locks already; open another", parked)
	}
	a.command, a.waits = command, l.s.subscribe(command, wait)
	return a, nil
}

func (a *lockAsk) end() {
	if a.waits != nil {
		a.waits.cancel()
	}
}

// with completes the answer.
func (a *lockAsk) with(reply proto.Message, refusal *v1.Refusal) *v1.LocksResponse {
	a.answer.Refusal = refusal
	switch reply := reply.(type) {
	case *v1.AcquireLockResponse:
		a.answer.Acquired = reply
	case *v1.ReleaseLockResponse:
		a.answer.Released = reply
	}
	return a.answer
}

// park answers when the lock is granted, or its wait is over.
func (l *locker) park(ctx context.Context, a *lockAsk) {
	count := func(n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.parked += n
	}
	count(1)
	l.waits.Go(func() {
		defer a.end()
		defer count(-1)
		settlement, err := a.waits.settle(ctx)
		if ctx.Err() != nil {
			return // the stream has ended
		}
		answer := a.with(settlement.Reply, settlement.Refusal)
		if err != nil {
			answer.Refusal = refuseAny(err)
		}
		_ = l.send(ctx, answer) // if it fails, receiving does too
	})
}

func (l *locker) send(ctx context.Context, answers ...*v1.LocksResponse) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return together(ctx, func() error {
		for _, answer := range answers {
			if err := l.stream.Send(answer); err != nil {
				return err
			}
		}
		return nil
	})
}
