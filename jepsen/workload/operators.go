package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// hand is what operators take in hand: it goes by itself but for one step that stands still, whose input is never there, and one that waits
// to be told, or skipped. What is ended by hand ends it badly only where nothing takes that.
const hand = `
workflow: hand
steps:
  take: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
  both: {needs: [{step: take, ends: any}], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: ["left/${input.hot}"]}
  heard: {needs: [{step: take, ends: any}], signal: {name: go}}
  lacks: {needs: [{step: take, ends: any}], queue: work, input: "${input.nothing}"}
  end: {needs: [heard, {step: both, ends: any}, {step: lacks, ends: any}], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}}
`

// handSteps are its steps.
var handSteps = []string{"take", "both", "heard", "lacks", "end"}

const handsMost = 4 // instances that a lane has at a time

// ByHand says that an instance is one that operators take in hand.
func ByHand(id string) bool { return strings.HasPrefix(id, "hand-") }

// Operate starts instances until the context ends, and does to each what an operator can, at random, each time for a reason of its own:
// pauses it for a while, and retries, skips, ends and changes its steps, whatever has become of them.
func (r *Recorder) Operate(ctx context.Context, c *client.Client, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(15000+lane)))
	running := backlog{most: handsMost}
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("hand-%d-%d", lane, n)
		calling, cancel := call(ctx)
		err := r.Do(check.Op{Kind: "start", Instance: id}, func(*check.Op) error {
			_, err := c.Start(calling, "hand", id, map[string]any{"hot": chance.IntN(3)}, client.StartOptions{})
			return err
		})
		cancel()
		if err != nil {
			continue
		}
		for k := range 3 + chance.IntN(6) {
			pause(ctx, time.Duration(chance.IntN(250))*time.Millisecond)
			r.operate(ctx, c, id, fmt.Sprintf("%s act %d", id, k), chance)
		}
		if !running.take(ctx, id, func(ctx context.Context, id string) error { return handOn(ctx, c, id) }) {
			return
		}
	}
}

// operate does one thing to an instance.
func (r *Recorder) operate(ctx context.Context, c *client.Client, id, reason string, chance *rand.Rand) {
	o := client.Operation{Instance: id, Step: handSteps[chance.IntN(len(handSteps))], Reason: reason}
	act := func(kind string, do func(ctx context.Context, op *check.Op) (before bool, err error)) {
		calling, cancel := call(ctx)
		defer cancel()
		_ = r.Do(check.Op{Kind: kind, Instance: id, Step: o.Step, Reason: reason}, func(op *check.Op) error {
			before, err := do(calling, op)
			if before && err == nil {
				op.Reason = "" // it was so before: nothing is told of this one
			}
			return err
		}) // its outcome is on record
	}
	switch chance.IntN(8) {
	case 0, 1:
		o.Step = ""
		act("halt", func(ctx context.Context, _ *check.Op) (bool, error) {
			reply, err := c.Instances.PauseInstance(ctx, connect.NewRequest(&v1.PauseInstanceRequest{Namespace: client.DefaultNamespace, InstanceId: id, Reason: reason}))
			return err == nil && reply.Msg.Duplicate, err
		})
	case 2:
		o.Step = ""
		act("unhalt", func(ctx context.Context, _ *check.Op) (bool, error) {
			reply, err := c.Instances.ResumeInstance(ctx, connect.NewRequest(&v1.ResumeInstanceRequest{Namespace: client.DefaultNamespace, InstanceId: id, Reason: reason}))
			return err == nil && reply.Msg.Duplicate, err
		})
	case 3:
		act("retry", func(ctx context.Context, _ *check.Op) (bool, error) {
			reply, err := c.RetryStep(ctx, o)
			return reply.GetDuplicate(), err
		})
	case 4:
		act("skip", func(ctx context.Context, _ *check.Op) (bool, error) {
			reply, err := c.SkipStep(ctx, o)
			return reply.GetDuplicate(), err
		})
	case 5:
		act("resolve", func(ctx context.Context, op *check.Op) (bool, error) {
			reply, err := c.ResolveStep(ctx, o, map[string]any{"by": reason})
			op.Token = reply.GetToken()
			return reply.GetDuplicate(), err
		})
	case 6:
		act("resolve", func(ctx context.Context, _ *check.Op) (bool, error) {
			reply, err := c.ResolveStepAsFailed(ctx, o, "BY_HAND")
			return reply.GetDuplicate(), err
		})
	case 7:
		act("update", func(ctx context.Context, _ *check.Op) (bool, error) {
			_, err := c.UpdateStep(ctx, &v1.UpdateStepRequest{InstanceId: id, Step: o.Step, Reason: reason, AttemptsLeft: int32(20 + chance.IntN(30))})
			return false, err
		})
	}
}

// handOn takes an instance on that operators had in hand, and waits a little for its end: it goes on if it is paused, what stands still is
// skipped, and what it waits for is told.
func handOn(ctx context.Context, c *client.Client, id string) error {
	i, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	const reason = "it is to end"
	if i.Pause != nil {
		_, err = c.Resume(ctx, id, reason)
	}
	if slices.ContainsFunc(i.Runs, func(r *v1.Run) bool { return r.Step == "lacks" && r.State == v1.RunState_RUN_STATE_INCIDENT }) {
		_, err = c.SkipStep(ctx, client.Operation{Instance: id, Step: "lacks", Reason: reason})
	}
	if err != nil {
		return err
	}
	if err := tell(ctx, c, id, signals[0]); err != nil {
		if refusal, ok := client.AsRefusal(err); !ok || refusal.Code != v1.Code_CODE_ALREADY_ENDED {
			return err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = c.Wait(waiting, id)
	return err
}

// HandRest takes instances on that operators had in hand until each has ended, or the context has.
func HandRest(ctx context.Context, c *client.Client, ids []string) {
	for _, id := range ids {
		for ctx.Err() == nil && !over(handOn(ctx, c, id)) {
			pause(ctx, 50*time.Millisecond)
		}
	}
}
