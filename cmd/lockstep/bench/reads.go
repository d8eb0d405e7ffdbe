package bench

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// reads measures linearizable reads of instances, unary, beside a call that costs the server nothing: what HTTP takes.
func reads(ctx context.Context, t *target) (Figures, error) {
	c, err := newChain(ctx, t)
	if err != nil {
		return nil, err
	}
	defer c.client.Close()
	t.Say(fmt.Sprintf("starting %d instances", t.Instances))
	if _, err := c.fill(ctx); err != nil {
		return nil, err
	}
	clients, free, err := t.clients(ctx, t.Clients)
	if err != nil {
		return nil, err
	}
	defer free()
	figures := Figures{}
	before, err := t.usage(ctx)
	if err != nil {
		return nil, err
	}
	next := make([]int64, t.Clients)
	perSecond, times, err := t.closed(ctx, "read instances", t.Clients, t.part(2), func(ctx context.Context, caller int) error {
		next[caller] += int64(t.Clients)
		id := c.instance((int64(caller) + next[caller]) % int64(t.Instances))
		i, err := clients[caller].Get(ctx, id)
		if err == nil && i.InstanceId != id {
			err = fmt.Errorf("asked for %s and got %s", id, i.InstanceId)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	after, err := t.usage(ctx)
	if err != nil {
		return nil, err
	}
	after.since(before, figures)
	read := 0.0
	for _, n := range next {
		read += float64(n / int64(t.Clients))
	}
	after.per("Read", read, before, figures)
	figures["readsPerSecond"], figures["readP50Ms"], figures["readP99Ms"] = perSecond, times.ms(50), times.ms(99)
	echo, times, err := t.closed(ctx, "status calls", t.Clients, t.part(2), func(ctx context.Context, caller int) error {
		_, err := clients[caller].Namespaces.GetNamespace(ctx, connect.NewRequest(&v1.GetNamespaceRequest{Namespace: c.client.Namespace(), Consistency: v1.Consistency_CONSISTENCY_STALE}))
		return err
	})
	figures["localCallsPerSecond"], figures["localCallP50Ms"] = echo, times.ms(50)
	figures["readsByLocalCalls"] = perSecond / max(1, echo)
	return figures, err
}
