package workload

import (
	"context"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// backlog bounds how many of a lane's instances run at a time. All lanes have the workers' queue in common: where more is started
// than they do, as on a machine that has other work, the queue grows as long as the run lasts, and nothing behind it is shown.
type backlog struct {
	most int
	open []string
}

// room waits until fewer than most run, or the context ends. wait is until an instance has ended.
func (b *backlog) room(ctx context.Context, wait func(ctx context.Context, id string) error) {
	for len(b.open) >= b.most && ctx.Err() == nil {
		calling, cancel := call(ctx)
		err := wait(calling, b.open[0])
		cancel()
		if refusal, ok := client.AsRefusal(err); err == nil || ok && refusal.Code == v1.Code_CODE_INSTANCE_NOT_FOUND {
			b.open = b.open[1:]
			continue
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// ends waits for the end of an instance.
func ends(c *client.Client) func(context.Context, string) error {
	return func(ctx context.Context, id string) error {
		_, err := c.Wait(ctx, id)
		return err
	}
}
