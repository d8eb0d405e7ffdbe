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

// take counts one more instance, when fewer than most run; it says whether that was before the context ended. wait is until an
// instance has ended.
func (b *backlog) take(ctx context.Context, id string, wait func(ctx context.Context, id string) error) bool {
	for len(b.open) >= b.most && ctx.Err() == nil {
		calling, cancel := call(ctx)
		err := wait(calling, b.open[0])
		cancel()
		if over(err) {
			b.open = b.open[1:]
			continue
		}
		pause(ctx, 100*time.Millisecond)
	}
	b.open = append(b.open, id)
	return ctx.Err() == nil
}

// ends waits for the end of an instance.
func ends(c *client.Client) func(context.Context, string) error {
	return func(ctx context.Context, id string) error {
		_, err := c.Wait(ctx, id)
		return err
	}
}

// over: who waited for an instance's end was told of it, or that there is no such instance.
func over(err error) bool {
	refusal, ok := client.AsRefusal(err)
	return err == nil || ok && refusal.Code == v1.Code_CODE_INSTANCE_NOT_FOUND
}
