package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The workflows that wait: for times, for dates, for somebody's word, and for the first of them. The instances of rush have little
// time, and some do not end in it. Their input has the date.
const (
	offer = `
workflow: offer
steps:
  write: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  cool: {needs: [write], timer: {after: 1s}}
  opens: {needs: [write], timer: {until: "${input.opens}"}}
  send: {needs: [cool, opens], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  agreed: {needs: [send], approval: {role: buyer}}
  bought: {needs: [send], signal: {name: go}}
  lapses: {needs: [send], timer: {after: 1s}}
  close: {race: [agreed, bought, lapses], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  signed: {needs: [close], approval: {}}
  end: {needs: [signed], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`
	rush = `
workflow: rush
timeouts: {total: 3s}
steps:
  write: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  agreed: {needs: [write], approval: {role: buyer}}
  bought: {needs: [write], signal: {name: go}}
  lapses: {needs: [write], timer: {until: "${input.opens}"}}
  close: {race: [agreed, bought, lapses], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  cool: {needs: [close], timer: {after: 1s}}
  signed: {needs: [cool], approval: {}}
  end: {needs: [signed], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`
)

// together is how many instances a lane has at a time, for each of them mostly waits.
const together = 3

// Waits starts instances that wait, some at a time until the context ends, and answers them: approves and rejects, some both at once, and tells
// signals, also before anything waits for them.
func (r *Recorder) Waits(ctx context.Context, c *client.Client, lane int, seed uint64) {
	for n := 0; ctx.Err() == nil; n += together {
		var all sync.WaitGroup
		for k := n; k < n+together; k++ {
			chance := rand.New(rand.NewPCG(seed, uint64(lane)<<32|uint64(k)))
			workflow := []string{"offer", "rush"}[k%2]
			all.Go(func() { r.waits(ctx, c, workflow, fmt.Sprintf("%s-%d-%d", workflow, lane, k), chance) })
		}
		all.Wait()
	}
}

// waits has one instance, until it is decided. Dates are of this machine's clock: where the log's wall time has leapt ahead of
// that, they have passed.
func (r *Recorder) waits(ctx context.Context, c *client.Client, workflow, id string, chance *rand.Rand) {
	opens := time.Now().Add(time.Duration(chance.IntN(2500)-500) * time.Millisecond)
	calling, cancel := call(ctx)
	err := r.Do(check.Op{Kind: "start", Instance: id}, func(*check.Op) error {
		_, err := c.Start(calling, workflow, id, map[string]any{"opens": opens.UTC().Format(time.RFC3339Nano)}, client.StartOptions{})
		return err
	})
	cancel()
	if err != nil {
		pause(ctx, 100*time.Millisecond)
		return
	}
	if chance.IntN(3) == 0 {
		r.tell(ctx, c, id, signals[0])
	}
	if chance.IntN(2) == 0 {
		r.decide(ctx, c, id, "agreed", chance)
	}
	r.decide(ctx, c, id, "signed", chance)
}

// decide answers for a step until somebody's word counts; at times two callers have different ones.
func (r *Recorder) decide(ctx context.Context, c *client.Client, id, step string, chance *rand.Rand) {
	kinds := []string{"approve"}
	switch chance.IntN(6) {
	case 0:
		kinds = []string{"reject"}
	case 1, 2:
		kinds = []string{"approve", "reject"}
	}
	var all sync.WaitGroup
	for _, kind := range kinds {
		every := time.Duration(100+chance.IntN(150)) * time.Millisecond
		again := chance.IntN(3) == 0
		all.Go(func() {
			for ctx.Err() == nil && !decided(r.say(ctx, c, kind, id, step)) {
				pause(ctx, every)
			}
			if again {
				_ = r.say(ctx, c, kind, id, step) // its outcome is on record
			}
		})
	}
	all.Wait()
}

// say tells one decision.
func (r *Recorder) say(ctx context.Context, c *client.Client, kind, id, step string) error {
	calling, cancel := call(ctx)
	defer cancel()
	return r.Do(check.Op{Kind: kind, Instance: id, Step: step}, func(*check.Op) error {
		do := c.Approve
		if kind == "reject" {
			do = c.Reject
		}
		_, err := do(calling, id, step, "chance")
		return err
	})
}

// decided says whether an answer is the last word about a step.
func decided(err error) bool {
	refusal, ok := client.AsRefusal(err)
	return err == nil || ok && refusal.Code == v1.Code_CODE_ALREADY_DONE
}

// DecideRest approves what still waits for it, now that nothing is broken any more.
func DecideRest(ctx context.Context, c *client.Client, ids []string) error {
	var errs []error
	for _, id := range ids {
		if err := decideRest(ctx, c, id); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func decideRest(ctx context.Context, c *client.Client, id string) error {
	for {
		_, err := c.Approve(ctx, id, "signed", "it is the end")
		switch {
		case decided(err):
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", id, err)
		}
		pause(ctx, 100*time.Millisecond)
	}
}
