package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// fill starts so many instances, each with a payload and an id by its number; shape says what else each is.
func (t *target) fill(ctx context.Context, c *client.Client, namespace string, all int64, shape func(n int64, start *v1.StartInstanceRequest)) error {
	payloads := &chain{t: t, pad: string(slices.Repeat([]byte("x"), t.Payload))}
	var next atomic.Int64
	telling, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with this call, or a moment later
		for pause(telling, time.Second) == nil {
			t.Say(fmt.Sprintf("%d of %d instances started", min(all, next.Load()), all))
		}
	}()
	return together(ctx, payloads.starters(), func(ctx context.Context, _ int) error {
		for {
			first := next.Add(maxBatch) - maxBatch
			if first >= all {
				return nil
			}
			r := &v1.StartInstancesRequest{Namespace: namespace}
			for n := first; n < min(all, first+maxBatch); n++ {
				start := &v1.StartInstanceRequest{Namespace: namespace, InstanceId: keptID(n), InputPayload: payloads.payload(keptID(n))}
				shape(n, start)
				r.Instances = append(r.Instances, start)
			}
			reply, err := c.Instances.StartInstances(ctx, connect.NewRequest(r))
			if err != nil {
				return fmt.Errorf("start instances: %w", err)
			}
			for _, o := range reply.Msg.Outcomes {
				if o.Refusal != nil {
					return errors.New(o.Refusal.Reason)
				}
			}
		}
	})
}
