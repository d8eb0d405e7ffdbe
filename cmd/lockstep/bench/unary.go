package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// caller is what takes the place of a worker where there are no streams: it polls a batch of runs and completes them, each
// by a call. Callers share connections.
type caller struct {
	load    *load
	client  *client.Client
	session *client.Session
	times   latencies
	// At a rate a batch falls due each so often, from a moment of this caller's own; zero: when the one before it is done.
	every, due time.Duration
}

// callers work in place of workers.
func (l *load) callers(ctx context.Context) (all []*caller, end func() error, err error) {
	sessions, leave, err := l.t.lockers(ctx, l.t.Clients)
	if err != nil {
		return nil, nil, err
	}
	clients, free, err := l.t.clients(ctx, l.t.Clients)
	if err != nil {
		return nil, nil, errors.Join(err, leave())
	}
	every, began := time.Duration(0), l.now()
	if l.t.Rate > 0 {
		every = time.Duration(float64(time.Second) * float64(l.t.Batch*l.t.Clients) / l.t.Rate)
	}
	for i, s := range sessions {
		due := began + every*time.Duration(i)/time.Duration(len(sessions))
		all = append(all, &caller{load: l, client: clients[i], session: s, times: newLatencies(), every: every, due: due})
	}
	return all, func() error { free(); return leave() }, nil
}

// run polls and completes until the context ends. A cycle's time is from before the call that asked for its run, or from when that call
// was due, until the completion was acknowledged. Where nothing is to be waited for, the call that completes a batch asks for the next.
func (c *caller) run(ctx context.Context) error {
	var runs []*v1.LeasedRun
	var wanted time.Duration
	for ctx.Err() == nil {
		asked := c.load.now()
		if len(runs) == 0 {
			if asked = c.turn(ctx); ctx.Err() != nil {
				return nil
			}
			polled, err := c.poll(ctx)
			if err != nil || ctx.Err() != nil {
				return err
			}
			runs, wanted = polled, asked
			continue
		}
		next, err := c.complete(ctx, runs)
		if err != nil || ctx.Err() != nil {
			return err
		}
		now := c.load.now()
		for _, run := range runs {
			counts := c.load.done(now)
			if counts {
				c.times.add(now - wanted)
			}
			if run.Step == c.load.chain.last {
				c.load.chain.endedOne(c.load.feeds.Load(), counts)
			}
		}
		runs, wanted = next, asked
	}
	return nil
}

// turn waits until the next batch is due, which may have been long ago, and says when that was. When nothing more is fed, what there is falls
// due at once.
func (c *caller) turn(ctx context.Context) time.Duration {
	now := c.load.now()
	if c.every == 0 || !c.load.feeds.Load() {
		return now
	}
	due := c.due
	c.due += c.every
	if due > now {
		_ = pause(ctx, due-now) // why it failed is the context's
	}
	return due
}

// poll returns a batch of runs, or none when none was ready for long, or the context has ended.
func (c *caller) poll(ctx context.Context) ([]*v1.LeasedRun, error) {
	polled, err := c.client.Workers.PollSteps(ctx, connect.NewRequest(&v1.PollStepsRequest{
		Namespace: c.client.Namespace(), SessionId: c.session.ID(), Queue: c.load.chain.name, Count: int32(c.load.t.Batch), Wait: durationpb.New(ttl / 4),
	}))
	switch refusal, refused := client.AsRefusal(err); {
	case err == nil:
		return polled.Msg.Runs, nil
	case ctx.Err() != nil || refused && refusal.Code == v1.Code_CODE_WAIT_TIMEOUT:
		return nil, nil
	}
	return nil, fmt.Errorf("poll: %w", err)
}

// complete returns what is leased in place of the runs that it completes; nothing when batches fall due by themselves.
func (c *caller) complete(ctx context.Context, runs []*v1.LeasedRun) (next []*v1.LeasedRun, err error) {
	r := &v1.CompleteStepsRequest{Namespace: c.client.Namespace()}
	for _, run := range runs {
		one := &v1.CompleteStepRequest{
			Namespace: run.Namespace, InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token,
			OutputPayload: c.load.chain.output(run.InstanceId, run.Step),
		}
		if c.every == 0 {
			one.Next, one.SessionId = &v1.Next{Count: 1}, c.session.ID()
		}
		r.Completions = append(r.Completions, one)
	}
	reply, err := c.client.Workers.CompleteSteps(ctx, connect.NewRequest(r))
	if ctx.Err() != nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("complete: %w", err)
	}
	for i, o := range reply.Msg.Outcomes {
		if o.Refusal != nil {
			return nil, fmt.Errorf("completion under token %d: %s", runs[i].Token, o.Refusal.Reason)
		}
		next = append(next, o.Completed.Next...)
	}
	return next, nil
}
