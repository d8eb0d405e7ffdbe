package api

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// inbox has what a stream's client sends, received by a goroutine that ends with the call: Receive fails when the
// handler has returned.
type inbox[T any] struct {
	s         *service
	namespace string
	messages  chan *T         // closed when the client has ended its half, or is gone
	err       error           // why; valid when messages is closed
	changed   <-chan struct{} // closed at the next change of leadership: then stay
}

func receive[Req, Res any](ctx context.Context, s *service, namespace string, stream *connect.BidiStream[Req, Res]) *inbox[Req] {
	in := &inbox[Req]{s: s, namespace: namespace, messages: make(chan *Req, 64), changed: s.cluster.LeaderChanged()}
	go func() {
		defer close(in.messages)
		for {
			var message *Req
			if message, in.err = stream.Receive(); in.err != nil {
				return
			}
			select {
			case in.messages <- message:
			case <-ctx.Done():
				in.err = ctx.Err()
				return
			}
		}
	}()
	return in
}

// batch takes what has arrived behind a message, up to a number of items.
func (in *inbox[T]) batch(first *T, limit int, items func(*T) int) []*T {
	batch := []*T{first}
	for n := items(first); n < limit; {
		select {
		case message := <-in.messages:
			if message == nil {
				return batch
			}
			batch = append(batch, message)
			n += items(message)
		default:
			return batch
		}
	}
	return batch
}

// next waits for the next message; nil means that there are no more, because of err.
func (in *inbox[T]) next(ctx context.Context) (*T, error) {
	for {
		select {
		case message := <-in.messages:
			return message, nil
		case <-in.changed:
			if err := in.stay(); err != nil {
				return nil, err
			}
		case <-in.s.ctx.Done():
			return nil, stopping()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// stay fails when this node does not lead the namespace any more.
func (in *inbox[T]) stay() error {
	in.changed = in.s.cluster.LeaderChanged()
	address, self := in.s.cluster.Leader(in.namespace)
	if !self {
		return noLeader(address)
	}
	return nil
}

// streamEnd: a client that ends its half ends the stream well.
func streamEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return asConnect(err)
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

// serveStream has a stream served here by local, or by the leader.
func serveStream[Req, Res any](s *service, ctx context.Context, stream *connect.BidiStream[Req, Res], namespace func(*Req) string, local func(context.Context, *Req) error) error {
	first, err := stream.Receive()
	if err != nil {
		return streamEnd(err)
	}
	c := call{
		procedure: stream.Spec().Procedure, namespace: namespace(first), header: stream.RequestHeader(),
		passed: stream.RequestHeader().Get(forwarded) != "",
	}
	if ctx, err = withCaller(ctx, c.header); err == nil {
		err = optional("namespace", c.namespace)
	}
	if err != nil {
		return asConnect(err)
	}
	address, err := s.place(ctx, c, time.Now().Add(s.config.Patience))
	if err == nil && address != "" {
		return asConnect(pipe(s, ctx, c, stream, first, address))
	}
	if err == nil {
		err = local(ctx, first)
	}
	return streamEnd(err)
}

// pipe has the leader serve a stream, passing messages on both ways.
func pipe[Req, Res any](s *service, ctx context.Context, c call, in *connect.BidiStream[Req, Res], first *Req, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	client := connect.NewClient[Req, Res](s.http, "http://"+address+c.procedure)
	out := client.CallBidiStream(ctx)
	copyHeaders(out.RequestHeader(), c.header)
	// An HTTP/2 call that waits for more of its request does not notice that its context has ended: end the request.
	defer context.AfterFunc(ctx, func() { _ = out.CloseRequest() })() // the context's error is the one that tells
	if err := out.Send(first); err != nil {
		_, err := out.Receive() // it has the reason
		return s.broken(ctx, c, address, err)
	}
	// Ends with the call: Receive fails when the handler has returned.
	go func() {
		for {
			message, err := in.Receive()
			if err != nil || out.Send(message) != nil {
				_ = out.CloseRequest() // the other half tells how it ended
				return
			}
		}
	}()
	for {
		message, err := out.Receive()
		if err != nil {
			return s.broken(ctx, c, address, err)
		}
		if err := in.Send(message); err != nil {
			return err
		}
	}
}

// broken says how a stream ended that another node served.
func (s *service) broken(ctx context.Context, c call, address string, err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case s.ctx.Err() != nil:
		return stopping()
	}
	return passedOn(ctx, c, address, err)
}
