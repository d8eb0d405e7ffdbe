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

// workStream is a stream to a server until it is hung up: by us, or because the server is silent and another leads.
type workStream struct {
	*connect.BidiStreamForClient[v1.WorkRequest, v1.WorkResponse]
	router *router
	ctx    context.Context
	server string
	cancel context.CancelFunc
	left   func(err error)

	mu   sync.Mutex
	owed func(err error) // nil when no answer is owed
}

func (r *runner) open(parent context.Context) *workStream {
	s := &workStream{router: r.c.router, server: r.c.router.server()}
	s.ctx, s.cancel = context.WithCancel(withServer(parent, s.server))
	s.BidiStreamForClient = r.c.Workers.Work(s.ctx)
	s.left = s.router.waits(s.ctx, s.server, s.hangUp)
	return s
}

// hangUp ends the stream. One whose request is open does not heed its context: both must end for Receive to.
func (s *workStream) hangUp() {
	s.cancel()
	_ = s.CloseRequest() // how the stream ends shows in receive
}

// expects takes in that the server owes an answer.
func (s *workStream) expects() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owed == nil {
		s.owed = s.router.expects(s.ctx, s.server, s.hangUp)
	}
}

// heard takes in that the server said something, or with an error that it did not: nothing is owed any more.
func (s *workStream) heard(err error) {
	s.mu.Lock()
	owed := s.owed
	s.owed = nil
	s.mu.Unlock()
	switch {
	case owed != nil:
		owed(err)
	case err == nil:
		s.router.heard(s.server)
	}
}

// ends takes in how the stream ended.
func (s *workStream) ends(err error) {
	s.hangUp()
	s.heard(cmp.Or(err, errSilent))
	s.left(cmp.Or(err, errSilent))
	if err != nil {
		s.router.failed(s.server, err)
	}
}

// stream works over one stream until it breaks, or the worker has stopped. opened says that it worked for a while.
func (r *runner) stream(parent context.Context, session *Session) (opened bool, err error) {
	r.c.seek(parent, session.TTL()/6)
	stream := r.open(parent)
	defer func() {
		if parent.Err() != nil {
			stream.ends(nil)
		} else {
			stream.ends(err)
		}
		err = asError(err)
	}()
	patience := time.AfterFunc(session.TTL()/3, stream.hangUp)
	stream.expects()
	_ = stream.Send(&v1.WorkRequest{Namespace: r.c.namespace, SessionId: session.ID()}) // an error is told better by Receive
	first, err := stream.Receive()
	if err != nil || !patience.Stop() {
		return false, cmp.Or(err, errSilent)
	}
	stream.heard(nil)
	r.update(session, func(w *core.Worker) { w.Opened(first.Runs) })
	ended := make(chan error, 1)
	var receiving sync.WaitGroup
	receiving.Go(func() { ended <- r.receive(stream, session) })
	err = r.send(stream, ended)
	stream.hangUp()
	receiving.Wait()
	r.update(session, func(w *core.Worker) { w.Closed() })
	return true, err
}

// errSilent is a server that takes a stream and does not answer.
var errSilent = errors.New("no answer to an opened stream")

// send sends what there is, until the stream ends, or the worker has stopped.
func (r *runner) send(stream *workStream, ended <-chan error) error {
	for {
		m, again := r.message()
		if m != nil {
			if len(m.Completions)+len(m.Failures)+len(m.Releases) > 0 {
				stream.expects()
			}
			// Why a Send failed shows in receive.
			_ = stream.Send(m)
			continue
		}
		if r.stopped() {
			return nil
		}
		if err := r.rest(stream.ctx, again, ended); err != nil {
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
		stream.heard(nil)
		for _, token := range m.Cancelled {
			session.interrupt(token, ErrCancelled)
		}
		owed := false
		r.update(session, func(w *core.Worker) {
			w.Answered(r.now(), m.Outcomes)
			w.Granted(m.Runs)
			owed = w.Owed()
		})
		if owed {
			stream.expects()
		}
	}
}
