package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// turn is what is started under ids that are taken.
const turn = `
workflow: turn
steps:
  take: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  end: {needs: [take], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`

const (
	turnsMost = 6  // instances that a lane has at a time
	turnsEach = 12 // starts of an id, before the lane goes on with another
)

// Turns starts one behind the other under one id until the context ends: most wait for the one before them, some take its place, some only
// start when nobody has the id. Some are told twice, by two callers at once, and later again.
func (r *Recorder) Turns(ctx context.Context, c *client.Client, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(14000+lane)))
	running := backlog{most: turnsMost}
	for n := 0; ctx.Err() == nil; n++ {
		id, o := fmt.Sprintf("turn-%d-%d", lane, n/turnsEach), client.StartOptions{StartID: fmt.Sprint(n)}
		switch k := chance.IntN(8); {
		case k < 5:
			o.OnConflict = v1.OnConflict_ON_CONFLICT_QUEUE
		case k < 7:
			o.OnConflict = v1.OnConflict_ON_CONFLICT_REPLACE
		default:
			o.OnConflict = v1.OnConflict_ON_CONFLICT_FAIL
		}
		var started string
		var both sync.WaitGroup
		if chance.IntN(3) == 0 {
			both.Go(func() { r.turn(ctx, c, id, o) })
		}
		started = r.turn(ctx, c, id, o)
		both.Wait()
		if started == "" {
			continue
		}
		if !running.take(ctx, started, ends(c)) {
			return
		}
		if chance.IntN(4) == 0 {
			r.turn(ctx, c, id, o) // whatever has become of it
		}
	}
}

// turn starts until somebody says what became of that; it says which instance it is.
func (r *Recorder) turn(ctx context.Context, c *client.Client, id string, o client.StartOptions) (instance string) {
	r.untilKnown(ctx, check.Op{Kind: "start", Instance: id}, func(ctx context.Context, op *check.Op) error {
		reply, err := c.Start(ctx, "turn", id, nil, o)
		if err == nil {
			op.Instance, instance = reply.InstanceId, reply.InstanceId
		}
		return err
	})
	return instance
}
