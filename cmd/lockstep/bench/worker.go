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
// A cycle is a lease and a completion. Its time counts from when the worker wanted a run, or as an open loop has it, until the
// completion was acknowledged.
type worker struct {
	load    *load
	client  *client.Client
	session string
	stream  *connect.BidiStreamForClient[v1.WorkRequest, v1.WorkResponse]
	times   latencies // of cycles in the window

	mu     sync.Mutex // guards what follows, and stream.Send
	queues []string
	asked  []time.Duration // since when each unit of credit in force is wanted, oldest first
	held   map[int64]held
}

type held struct {
	wanted   time.Duration
	instance string
	last     bool // of its instance
}

const ttl = 10 * time.Second

func (l *load) newWorker(ctx context.Context) (*worker, error) {
	c, err := l.t.client(ctx)
	if err != nil {
		return nil, err
	}
	w := &worker{load: l, client: c, times: newLatencies(), held: map[int64]held{}, queues: []string{l.chain.name}}
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
	w.want(w.queues)
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

// want gives credit for runs of queues, in place of what was given before.
func (w *worker) want(queues []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queues = queues
	for len(w.asked) < w.load.t.Credit {
		w.asked = append(w.asked, w.load.now())
	}
	_ = w.send(&v1.WorkRequest{Credit: &v1.Credit{Queues: w.queues, Count: int32(len(w.asked))}}) // why it failed shows in Receive
}

// do does a run: it is completed by the message. It tells whether credit was used up by that.
func (w *worker) do(m *v1.WorkRequest, run *v1.LeasedRun) (used bool) {
	now := w.load.now()
	wanted := now // granted on credit that was replaced while it was on its way
	if used = len(w.asked) > 0; used {
		wanted, w.asked = w.asked[0], append(w.asked[1:], now)
	}
	w.held[run.Token] = held{wanted, run.InstanceId, run.Step == w.load.chain.last}
	m.Completions = append(m.Completions, &v1.CompleteStepRequest{
		Namespace: run.Namespace, InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token,
		OutputPayload: w.load.chain.output(run.InstanceId, run.Step),
	})
	return used
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
		if w.load.offered != nil {
			h.wanted = w.load.offered.since(h, now)
		}
		if counts {
			w.times.add(now - h.wanted)
		}
		if h.last {
			w.load.chain.endedOne(w.load.feeds.Load(), counts)
		}
	}
	if len(m.Runs) == 0 {
		return nil
	}
	next, used := &v1.WorkRequest{}, int32(0)
	for _, run := range m.Runs {
		if w.do(next, run) {
			used++
		}
	}
	if used > 0 { // as many more are asked for by the command that completes
		next.Completions[len(next.Completions)-1].Next = &v1.Next{Count: used, Queues: w.queues}
	}
	_ = w.send(next) // why it failed shows in Receive
	return nil
}
