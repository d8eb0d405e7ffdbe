package client

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client/core"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

type workStream = connect.BidiStreamForClient[v1.WorkRequest, v1.WorkResponse]

// stream works over one stream until it breaks, or the worker has stopped. opened says that it worked for a while.
func (r *runner) stream(parent context.Context, session *Session) (opened bool, err error) {
	server := r.c.router.server()
	ctx, cancel := context.WithCancel(withServer(parent, server))
	defer cancel()
	defer func() {
		if err != nil && parent.Err() == nil {
			r.c.router.failed(server, err)
		}
		err = asError(err)
	}()
	stream := r.c.Workers.Work(ctx)
	first, err := openStream(stream, &v1.WorkRequest{Namespace: r.c.namespace, SessionId: session.ID()}, cancel, session.TTL()/3)
	if err != nil {
		return false, err
	}
	r.update(session, func(w *core.Worker) { w.Opened(first.Runs) })
	ended := make(chan error, 1)
	var receiving sync.WaitGroup
	receiving.Go(func() { ended <- r.receive(stream, session) })
	err = r.send(ctx, stream, ended)
	cancel()
	receiving.Wait()
	r.update(session, func(w *core.Worker) { w.Closed() })
	return true, err
}

// openStream says which session works, and waits for the runs that it holds.
func openStream(stream *workStream, hello *v1.WorkRequest, cancel context.CancelFunc, patience time.Duration) (*v1.WorkResponse, error) {
	timer := time.AfterFunc(patience, cancel)
	defer timer.Stop()
	// An error of Send is told better by Receive.
	_ = stream.Send(hello)
	return stream.Receive()
}

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
			return stream.CloseRequest()
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
