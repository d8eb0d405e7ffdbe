package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// worker is one Work stream in a session and on a connection of its own. It does each run at once. A goroutine renews the
// session while run works.
//
// A cycle is a lease and a completion. Its time counts from when the worker wanted a run, which in an open loop is when
// one was due, until the completion was acknowledged.
type worker struct {
	load    *load
	client  *client.Client
	session string
	stream  *connect.BidiStreamForClient[v1.WorkRequest, v1.WorkResponse]
	times   latencies // of cycles in the window

	mu     sync.Mutex // guards what follows, and stream.Send
	due    []time.Duration
	asked  []time.Duration // since when each unit of credit in force is wanted, oldest first
	held   map[int64]held
	spare  []*v1.LeasedRun // granted on credit that was replaced while they were on their way: for the next that is due
	freely bool            // wants the next run by itself: a closed loop
	opened bool            // before, nothing is asked for
}

type held struct {
	wanted time.Duration
	last   bool // of its instance
}

const ttl = 10 * time.Second

func (l *load) newWorker(ctx context.Context) (*worker, error) {
	c, err := l.t.client(ctx)
	if err != nil {
		return nil, err
	}
	w := &worker{load: l, client: c, times: newLatencies(), held: map[int64]held{}, freely: l.t.Rate == 0}
	reply, err := c.Workers.OpenSession(ctx, connect.NewRequest(&v1.OpenSessionRequest{Namespace: c.Namespace(), Ttl: durationpb.New(ttl), Worker: "bench"}))
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open session: %w", err)
	}
	w.session = reply.Msg.SessionId
	return w, nil
}

func (w *worker) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	defer w.client.Close()
	_, err := w.client.Workers.CloseSession(ctx, connect.NewRequest(&v1.CloseSessionRequest{Namespace: w.client.Namespace(), SessionId: w.session}))
	return err
}

// run works until the context ends.
func (w *worker) run(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	w.mu.Lock()
	w.stream = w.client.Workers.Work(ctx)
	w.mu.Unlock()
	// A stream whose request is open does not heed its context: both must end for Receive to.
	hangUp := context.AfterFunc(ctx, func() { _ = w.stream.CloseRequest() })
	var renewing sync.WaitGroup
	renewing.Go(func() { w.renew(ctx) })
	err := w.work()
	cancel()
	hangUp()
	renewing.Wait()
	if parent.Err() != nil {
		return nil
	}
	return fmt.Errorf("work: %w", err)
}

func (w *worker) work() error {
	_ = w.send(&v1.WorkRequest{SessionId: w.session}) // an error is told better by Receive
	if _, err := w.stream.Receive(); err != nil {
		return err
	}
	w.mu.Lock()
	w.opened = true
	w.want(&v1.WorkRequest{})
	w.mu.Unlock()
	for {
		m, err := w.stream.Receive()
		if err != nil {
			return err
		}
		if err := w.take(m); err != nil {
			return err
		}
	}
}

// renew keeps the session alive. It names no leases: what is held is on the stream.
func (w *worker) renew(ctx context.Context) {
	for pause(ctx, ttl/3) == nil {
		w.mu.Lock()
		_ = w.send(&v1.WorkRequest{KeepAlive: &v1.KeepAliveRequest{}}) // why it failed shows in Receive
		w.mu.Unlock()
	}
}

func (w *worker) send(m *v1.WorkRequest) error {
	m.Namespace = w.client.Namespace()
	return w.stream.Send(m)
}

// offer says that cycles are due, each since a time.
func (w *worker) offer(due ...time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = append(w.due, due...)
	w.want(&v1.WorkRequest{})
}

// free has the worker want the next run by itself from now on.
func (w *worker) free() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.freely = true
	w.want(&v1.WorkRequest{})
}

// want completes a message with credit for the runs that are wanted now, and sends it unless it is empty. The caller
// holds the mutex.
func (w *worker) want(m *v1.WorkRequest) {
	if !w.opened {
		return
	}
	for len(w.spare) > 0 && (w.freely || len(w.due) > 0) {
		wanted := w.load.now()
		if len(w.due) > 0 {
			wanted, w.due = w.due[0], w.due[1:]
		}
		w.do(m, w.spare[0], wanted)
		w.spare = w.spare[1:]
	}
	before := len(w.asked)
	room := w.load.t.Credit - len(w.asked)
	if !w.freely {
		room -= len(w.held)
	}
	for ; room > 0 && len(w.due) > 0; room-- {
		w.asked, w.due = append(w.asked, w.due[0]), w.due[1:]
	}
	if w.freely {
		now := w.load.now()
		for ; room > 0; room-- {
			w.asked = append(w.asked, now)
		}
	}
	switch more := len(w.asked) - before; {
	case more > 0 && len(m.Completions) > 0:
		m.Completions[len(m.Completions)-1].Next = &v1.Next{Count: int32(more)}
	case more > 0: // credit replaces what was given before, and may cross with what that was used for
		m.Credit = &v1.Credit{Queues: []string{w.load.chain.name}, Count: int32(len(w.asked))}
	}
	if m.Credit != nil || len(m.Completions) > 0 {
		_ = w.send(m) // why it failed shows in Receive
	}
}

// do does a run: it is completed by the message.
func (w *worker) do(m *v1.WorkRequest, run *v1.LeasedRun, wanted time.Duration) {
	w.held[run.Token] = held{wanted, run.Step == w.load.chain.last}
	m.Completions = append(m.Completions, &v1.CompleteStepRequest{
		Namespace: run.Namespace, InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token,
		OutputPayload: w.load.chain.output(run.InstanceId, run.Step),
	})
}

// take takes in what the cluster says, and answers.
func (w *worker) take(m *v1.WorkResponse) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.load.now()
	for _, o := range m.Outcomes {
		h, found := w.held[o.Token]
		if !found || o.Refusal != nil {
			return fmt.Errorf("completion under token %d: %s", o.Token, o.Refusal.GetReason())
		}
		delete(w.held, o.Token)
		counts := w.load.done(now)
		if counts {
			w.times.add(now - h.wanted)
		}
		if h.last {
			w.load.chain.endedOne(w.load.feeds.Load(), counts)
		}
	}
	next := &v1.WorkRequest{}
	for _, run := range m.Runs {
		if len(w.asked) == 0 {
			w.spare = append(w.spare, run)
			continue
		}
		w.do(next, run, w.asked[0])
		w.asked = w.asked[1:]
	}
	w.want(next)
	return nil
}
