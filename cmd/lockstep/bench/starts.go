package bench

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// starts measures how many instances start in a second, for half of the time each: as many to a call as may be, and one
// to a call. Nobody works on them, so that they all live at the end, and are counted.
func starts(ctx context.Context, t *target) (Figures, error) {
	c, err := newChain(ctx, t)
	if err != nil {
		return nil, err
	}
	defer c.client.Close()
	clients, free, err := t.clients(ctx, t.Clients)
	if err != nil {
		return nil, err
	}
	defer free()
	meter, err := t.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer meter.cancel()
	figures := Figures{}
	before, err := c.liveThere(ctx)
	if err != nil {
		return nil, err
	}
	batch := func(ctx context.Context, _ int) error {
		return c.start(ctx, c.started.Add(maxBatch)-maxBatch, maxBatch)
	}
	if err := c.measureStarts(ctx, "starts", c.starters(), maxBatch, batch, figures); err != nil {
		return nil, err
	}
	one := func(ctx context.Context, caller int) error {
		return c.startOne(ctx, clients[caller], c.started.Add(1)-1)
	}
	if err := c.measureStarts(ctx, "unaryStarts", t.Clients, 1, one, figures); err != nil {
		return nil, err
	}
	after, err := c.liveThere(ctx)
	if err != nil {
		return nil, err
	}
	figures["instances"] = float64(c.started.Load())
	if found := after - before; found != c.started.Load() {
		t.problem("%d instances were started, and %d more live", c.started.Load(), found)
	}
	return figures, meter.stop(ctx, figures)
}

// measureStarts has callers each start so many instances a call, and tells how many a second that were and what each cost.
func (c *chain) measureStarts(ctx context.Context, name string, callers, each int, do func(context.Context, int) error, figures Figures) error {
	before, err := c.t.usage(ctx)
	if err != nil {
		return err
	}
	first := c.started.Load()
	perSecond, times, err := c.t.closed(ctx, fmt.Sprintf("starts, %d a call", each), callers, c.t.part(2), do)
	if err != nil {
		return err
	}
	after, err := c.t.usage(ctx)
	if err != nil {
		return err
	}
	unit := "Start"
	if each == 1 {
		unit = "UnaryStart"
	}
	after.per(unit, float64(c.started.Load()-first), before, figures)
	after.since(before, figures)
	figures[name+"PerSecond"] = perSecond * float64(each)
	figures[name+"P50Ms"], figures[name+"P99Ms"] = times.ms(50), times.ms(99) // of a call
	return nil
}

// startOne starts an instance by a call of its own.
func (c *chain) startOne(ctx context.Context, by *client.Client, n int64) error {
	id := c.instance(n)
	_, err := by.Instances.StartInstance(ctx, connect.NewRequest(&v1.StartInstanceRequest{
		Namespace: by.Namespace(), InstanceId: id, Workflow: c.name, InputPayload: c.payload(id),
	}))
	if err != nil {
		return fmt.Errorf("start instance %s: %w", id, err)
	}
	return nil
}

// liveThere is how many instances live in the namespace, as the cluster has it.
func (c *chain) liveThere(ctx context.Context) (int64, error) {
	ns, err := c.client.Namespaces.GetNamespace(ctx, connect.NewRequest(&v1.GetNamespaceRequest{Namespace: c.client.Namespace()}))
	if err != nil {
		return 0, fmt.Errorf("count instances: %w", err)
	}
	return ns.Msg.LiveInstances, nil
}
