package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// redo is what is set back while it runs.
const redo = `
workflow: redo
steps:
  plan: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  cut: {needs: [plan], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  sew: {needs: [cut], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  label: {needs: [plan], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  end: {needs: [sew, label], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`

// Redos starts instances for the workers' queue, one after the other until the context ends, and sets each back a few times while it runs,
// to a step and by an activation of it that may not be the newest any more, some of them twice.
func (r *Recorder) Redos(ctx context.Context, c *client.Client, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(11000+lane)))
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("redo-%d-%d", lane, n)
		calling, cancel := call(ctx)
		err := r.Do(check.Op{Kind: "start", Instance: id}, func(*check.Op) error {
			_, err := c.Start(calling, "redo", id, nil, client.StartOptions{})
			return err
		})
		cancel()
		for range 2 + chance.IntN(3) {
			pause(ctx, time.Duration(chance.IntN(400))*time.Millisecond)
			if err == nil {
				back(ctx, c, id, chance)
			}
		}
	}
}

// back sets an instance back to one of the runs that it shows, two times of three to one that a worker holds; what came of that the feed tells.
func back(ctx context.Context, c *client.Client, id string, chance *rand.Rand) {
	calling, cancel := call(ctx)
	defer cancel()
	runs := look(calling, c, id, chance.IntN(3) > 0)
	if len(runs) == 0 {
		return
	}
	run := runs[chance.IntN(len(runs))]
	for range 1 + chance.IntN(4)/3 {
		_, _ = c.Reset(calling, id, run.Step, client.ResetOptions{Index: run.Index, Reason: "chance"}) // it may be refused
	}
}

// look reads the runs of an instance; of those that are held it waits for one, for as long as the instance runs.
func look(ctx context.Context, c *client.Client, id string, held bool) []*v1.Run {
	for {
		i, err := c.Get(ctx, id)
		if err != nil || !held {
			return i.GetRuns()
		}
		runs := slices.DeleteFunc(i.Runs, func(r *v1.Run) bool { return r.State != v1.RunState_RUN_STATE_LEASED })
		if len(runs) > 0 || i.State != v1.InstanceState_INSTANCE_STATE_RUNNING || ctx.Err() != nil {
			return runs
		}
		pause(ctx, 5*time.Millisecond)
	}
}
