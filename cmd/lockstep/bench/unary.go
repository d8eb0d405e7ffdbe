package bench

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// unaryBatch is how many runs a caller polls for, and completes, at a time.
const unaryBatch = 8

// caller is what takes the place of a worker where there are no streams: it polls a batch of runs and completes them, each
// by a call. Callers share connections.
type caller struct {
	load    *load
	client  *client.Client
	session *client.Session
	times   latencies
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
	for i, s := range sessions {
		all = append(all, &caller{load: l, client: clients[i], session: s, times: newLatencies()})
	}
	return all, func() error { free(); return leave() }, nil
}

// run polls and completes until the context ends. A cycle's time is from before the poll until the completion was
// acknowledged.
func (c *caller) run(ctx context.Context) error {
	for ctx.Err() == nil {
		wanted := c.load.now()
		polled, err := c.client.Workers.PollSteps(ctx, connect.NewRequest(&v1.PollStepsRequest{
			Namespace: c.client.Namespace(), SessionId: c.session.ID(), Queue: c.load.chain.name, Count: unaryBatch, Wait: durationpb.New(ttl / 4),
		}))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if refusal, ok := client.AsRefusal(err); ok && refusal.Code == v1.Code_CODE_WAIT_TIMEOUT {
				continue
			}
			return fmt.Errorf("poll: %w", err)
		}
		if len(polled.Msg.Runs) == 0 {
			continue
		}
		if err := c.complete(ctx, polled.Msg.Runs); err != nil || ctx.Err() != nil {
			return err
		}
		now := c.load.now()
		for _, run := range polled.Msg.Runs {
			counts := c.load.done(now)
			if counts {
				c.times.add(now - wanted)
			}
			if run.Step == c.load.chain.last {
				c.load.chain.endedOne(c.load.feeds.Load(), counts)
			}
		}
	}
	return nil
}

func (c *caller) complete(ctx context.Context, runs []*v1.LeasedRun) error {
	r := &v1.CompleteStepsRequest{Namespace: c.client.Namespace()}
	for _, run := range runs {
		r.Completions = append(r.Completions, &v1.CompleteStepRequest{
			Namespace: run.Namespace, InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token,
			OutputPayload: c.load.chain.output(run.InstanceId, run.Step),
		})
	}
	reply, err := c.client.Workers.CompleteSteps(ctx, connect.NewRequest(r))
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("complete: %w", err)
	}
	for i, o := range reply.Msg.Outcomes {
		if o.Refusal != nil {
			return fmt.Errorf("completion under token %d: %s", runs[i].Token, o.Refusal.Reason)
		}
	}
	return nil
}
