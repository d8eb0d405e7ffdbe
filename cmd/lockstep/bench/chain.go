package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// chain is the workflow of a load, a step after the other, and its instances: so many live at a time, as long as it
// feeds, each followed by another when it ends. In an open loop these rest, and others come beside them.
type chain struct {
	t      *target
	client *client.Client
	name   string // of the workflow and of its queue, and how ids begin
	rest   string // the same of instances that rest; empty: none do
	last   string // step
	pad    string // what fills payloads up

	started, ended atomic.Int64
	endedIn        atomic.Int64 // the window
	wanted         chan int     // how many instances to start
}

// maxBatch is how many items a batch call may have.
const maxBatch = 100

// newChain registers the workflow under a name of its own, so that loads do not meet.
func newChain(ctx context.Context, t *target) (*chain, error) {
	c := &chain{t: t, name: "bench-" + strconv.FormatInt(time.Now().UnixNano(), 36), pad: strings.Repeat("x", t.Payload), wanted: make(chan int, 1<<16)}
	c.last = c.step(t.Steps - 1)
	var err error
	if c.client, err = t.client(ctx); err != nil {
		return nil, err
	}
	if t.offers() {
		c.rest = c.name + "-rest"
	}
	for _, queue := range c.queues() {
		if _, err := c.client.Register(ctx, c.source(queue)); err != nil {
			c.client.Close()
			return nil, err
		}
	}
	return c, nil
}

// queues are those in which runs of the chain ever are.
func (c *chain) queues() []string {
	if c.rest == "" {
		return []string{c.name}
	}
	return []string{c.name, c.rest}
}

// source is the definition of the workflow whose name is that of a queue.
func (c *chain) source(queue string) string {
	b := strings.Builder{}
	fmt.Fprintf(&b, "workflow: %s\nsteps:\n", queue)
	for n := range c.t.Steps {
		needs := ""
		if n > 0 {
			needs = ", needs: [" + c.step(n-1) + "]"
		}
		fmt.Fprintf(&b, "  %s: {queue: %s%s}\n", c.step(n), queue, needs)
	}
	return b.String()
}

// workflow is that of an instance, by its number.
func (c *chain) workflow(n int64) string {
	if c.rest != "" && n < int64(c.t.Instances) {
		return c.rest
	}
	return c.name
}

func (c *chain) step(n int) string       { return "s" + strconv.Itoa(n) }
func (c *chain) instance(n int64) string { return c.name + "-" + strconv.FormatInt(n, 10) }

// number is the inverse of instance.
func (c *chain) number(instance string) int64 {
	n, _ := strconv.ParseInt(instance[len(c.name)+1:], 10, 64) // what it has made itself is one
	return n
}

// payload is JSON of just the size asked for, different for each run of each instance.
func (c *chain) payload(of string) *v1.Payload {
	const frame = len(`{"of":"","pad":""}`)
	b := make([]byte, 0, c.t.Payload)
	b = append(append(append(b, `{"of":"`...), of...), `","pad":"`...)
	b = append(b, c.pad[:max(0, c.t.Payload-frame-len(of))]...)
	return &v1.Payload{Bytes: append(b, `"}`...)}
}

// output is what the worker of a run hands in: verification computes it again.
func (c *chain) output(instance, step string) *v1.Payload { return c.payload(instance + "/" + step) }

// isOutput says whether a run has the output that its worker was to hand in.
func (c *chain) isOutput(r *v1.Run, instance string) bool {
	fields := r.Output.GetStructValue().GetFields()
	want := instance + "/" + r.Step
	return fields["of"].GetStringValue() == want && len(fields["pad"].GetStringValue())+len(want)+len(`{"of":"","pad":""}`) >= c.t.Payload
}

// live is how many instances have not ended.
func (c *chain) live() int64 { return c.started.Load() - c.ended.Load() }

// endedOne says that an instance has ended, and that another is wanted if it feeds.
func (c *chain) endedOne(feeds, inWindow bool) {
	c.ended.Add(1)
	if inWindow {
		c.endedIn.Add(1)
	}
	if feeds {
		c.wanted <- 1
	}
}

// fill starts instances until as many live as are asked for, and tells how many a second.
func (c *chain) fill(ctx context.Context) (perSecond float64, err error) {
	began := time.Now()
	err = together(ctx, c.starters(), func(ctx context.Context, _ int) error {
		for {
			n := c.started.Add(maxBatch)
			over := max(0, n-int64(c.t.Instances))
			c.started.Add(-over)
			if over >= maxBatch {
				return nil
			}
			if err := c.start(ctx, n-maxBatch, int(maxBatch-over)); err != nil {
				return err
			}
		}
	})
	return float64(c.started.Load()) / time.Since(began).Seconds(), err
}

func (c *chain) starters() int { return 8 }

// feed starts an instance for each one that ended, until the context ends; what was begun is finished.
func (c *chain) feed(ctx context.Context, until <-chan struct{}) error {
	return together(ctx, c.starters(), func(ctx context.Context, _ int) error {
		for {
			n := 0
			select {
			case n = <-c.wanted:
			case <-until:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
			// Those that ended meanwhile go along, after a moment that makes batches of them. In an open loop they would be late by it.
			if c.rest == "" {
				if err := pause(ctx, 2*time.Millisecond); err != nil {
					return err
				}
			}
			for more := true; more && n < maxBatch; {
				select {
				case one := <-c.wanted:
					n += one
				default:
					more = false
				}
			}
			if err := c.start(ctx, c.started.Add(int64(n))-int64(n), n); err != nil {
				return err
			}
		}
	})
}

// start starts n instances, numbered from first.
func (c *chain) start(ctx context.Context, first int64, n int) error {
	r := &v1.StartInstancesRequest{Namespace: c.client.Namespace()}
	for i := range int64(n) {
		id := c.instance(first + i)
		r.Instances = append(r.Instances, &v1.StartInstanceRequest{Namespace: r.Namespace, InstanceId: id, Workflow: c.workflow(first + i), InputPayload: c.payload(id)})
	}
	reply, err := c.client.Instances.StartInstances(ctx, connect.NewRequest(r))
	if err != nil {
		return fmt.Errorf("start instances: %w", err)
	}
	for i, o := range reply.Msg.Outcomes {
		if o.Refusal != nil {
			return fmt.Errorf("start instance %s: %s", r.Instances[i].InstanceId, o.Refusal.Reason)
		}
	}
	return nil
}

// maxVerified bounds how many instances are read again after a run.
const maxVerified = 20_000

// verify reads instances again, all or evenly many of them, and says how many ended as they had to, each run with the
// output that its worker handed in.
func (c *chain) verify(ctx context.Context) (verified int64, err error) {
	all := c.started.Load()
	stride := max(1, (all+maxVerified-1)/maxVerified)
	var next, good atomic.Int64
	err = together(ctx, 32, func(ctx context.Context, _ int) error {
		for {
			n := (next.Add(1) - 1) * stride
			if n >= all {
				return nil
			}
			i, err := c.client.Get(ctx, c.instance(n))
			if err != nil {
				return fmt.Errorf("verify: %w", err)
			}
			if why := c.wrong(i); why != "" {
				c.t.problem("instance %s: %s", i.InstanceId, why)
				continue
			}
			good.Add(1)
		}
	})
	return good.Load(), err
}

func (c *chain) wrong(i *v1.Instance) string {
	if i.State != v1.InstanceState_INSTANCE_STATE_COMPLETED {
		return fmt.Sprintf("it is %s", i.State)
	}
	if len(i.Runs) != c.t.Steps {
		return fmt.Sprintf("it has %d runs, not %d", len(i.Runs), c.t.Steps)
	}
	for _, r := range i.Runs {
		if r.State != v1.RunState_RUN_STATE_COMPLETED || !c.isOutput(r, i.InstanceId) {
			return fmt.Sprintf("its run of %s is %s, and its output is not what was handed in", r.Step, r.State)
		}
	}
	return ""
}

// together runs n of a kind, and ends all when one fails; it returns the first error.
func together(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := do(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
