package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Workflows of five steps. Few enough live at a time for those that end in the window to have begun in it.
const (
	workflowSteps = 5
	workflowsLive = 2000
)

// workflows measures how many workflows end in a second when workers are saturated, and how long one takes that is alone.
func workflows(ctx context.Context, t *target) (Figures, error) {
	t.Steps, t.Instances = workflowSteps, min(t.Instances, workflowsLive)
	alone, err := t.alone(ctx)
	if err != nil {
		return nil, err
	}
	t.spread("workflow alone", alone)
	figures, l, err := t.drive(ctx)
	if err != nil {
		return nil, err
	}
	figures["workflowsPerSecond"] = float64(l.chain.endedIn.Load()) / figures["seconds"]
	figures["aloneP50Ms"], figures["aloneP99Ms"], figures["alone"] = alone.ms(50), alone.ms(99), float64(alone.count())
	return figures, nil
}

// Workflows alone: at most so many, for at most a quarter of the time.
const maxAlone = 500

// alone runs one workflow after the other, with one worker of the public client, and measures from before the start until
// its end is told.
func (t *target) alone(ctx context.Context) (_ latencies, err error) {
	times := newLatencies()
	c, err := newChain(ctx, t)
	if err != nil {
		return times, err
	}
	defer c.client.Close()
	worker, err := c.client.Worker(client.WorkerConfig{Queues: []string{c.name}, Concurrency: t.Credit, Handler: func(_ context.Context, s *client.Step) (any, error) {
		return c.output(s.InstanceID, s.Step), nil
	}})
	if err != nil {
		return times, err
	}
	working, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(working) }()
	defer func() { err = errors.Join(err, <-ended) }()
	defer stop()
	w := newWindow(min(t.WarmUp, t.Seconds)/4, t.Seconds/4)
	for n := int64(0); times.count() < maxAlone && time.Now().Before(w.till); n++ {
		t.Say(fmt.Sprintf("one workflow alone: %.1f ms", times.ms(50)))
		began := time.Now()
		if err := c.through(ctx, n); err != nil {
			return times, err
		}
		if w.has(began) {
			times.add(time.Since(began))
		}
	}
	return times, nil
}

// through starts an instance and waits for its end.
func (c *chain) through(ctx context.Context, n int64) error {
	id := c.instance(n)
	_, err := c.client.Instances.StartInstance(ctx, connect.NewRequest(&v1.StartInstanceRequest{
		Namespace: c.client.Namespace(), InstanceId: id, Workflow: c.name, InputPayload: c.payload(id),
	}))
	if err != nil {
		return fmt.Errorf("start instance %s: %w", id, err)
	}
	i, err := c.client.Wait(ctx, id)
	if err != nil {
		return err
	}
	if why := c.wrong(i); why != "" {
		c.t.problem("instance %s: %s", id, why)
	}
	return nil
}
