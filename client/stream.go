package client

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client/core"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

type workStream = connect.BidiStreamForClient[v1.WorkRequest, v1.WorkResponse]

// stream works over one stream until it breaks, or the worker has stopped. opened says that it worked for a while.
func (r *runner) stream(parent context.Context, session *Session) (opened bool, err error) {
	r.c.seek(parent, session.TTL()/6)
	server := r.c.router.server()
	ctx, cancel := context.WithCancel(withServer(parent, server))
	stream := r.c.Workers.Work(ctx)
	// A stream whose request is open does not heed its context: both must end for Receive to.
	hangUp := func() {
		cancel()
		_ = stream.CloseRequest() // how the stream ends shows in receive
	}
	defer hangUp()
	defer func() {
		if err != nil && parent.Err() == nil {
			r.c.router.failed(server, err)
		}
		err = asError(err)
	}()
	patience := time.AfterFunc(session.TTL()/3, hangUp)
	_ = stream.Send(&v1.WorkRequest{Namespace: r.c.namespace, SessionId: session.ID()}) // an error is told better by Receive
	first, err := stream.Receive()
	if err != nil || !patience.Stop() {
		return false, cmp.Or(err, errSilent)
	}
	r.update(session, func(w *core.Worker) { w.Opened(first.Runs) })
	ended := make(chan error, 1)
	var receiving sync.WaitGroup
	receiving.Go(func() { ended <- r.receive(stream, session) })
	err = r.send(ctx, stream, ended)
	hangUp()
	receiving.Wait()
	r.update(session, func(w *core.Worker) { w.Closed() })
	return true, err
}

// errSilent is a server that takes a stream and does not answer.
var errSilent = errors.New("no answer to an opened stream")

// send sends what there is, until the stream ends, or the worker has stopped.
func (r *runner) send(ctx context.Context, stream *workStream, ended <-chan error) error {
	for {
		m, again := r.message()
		if m != nil {
			// Why a Send failed shows in receive.
			_ = stream.Send(m)
			continue
		}
		if r.stopped() {
			return nil
		}
		if err := r.rest(ctx, again, ended); err != nil {
			return err
		}
	}
}

// receive takes in what the cluster says, until the stream ends.
func (r *runner) receive(stream *workStream, session *Session) error {
	for {
		m, err := stream.Receive()
		if err != nil {
			return err
		}
		for _, token := range m.Cancelled {
			session.interrupt(token, ErrCancelled)
		}
		r.update(session, func(w *core.Worker) {
			w.Answered(r.now(), m.Outcomes)
			w.Granted(m.Runs)
		})
	}
}
