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

// bulks measures bulk operations over many instances that stand still: what they cost steps that go on at a rate meanwhile, in another namespace,
// how fast they are, and that each comes to each instance once, though the leader is killed midway. Whoever starts one goes away.
func bulks(ctx context.Context, t *target) (Figures, error) {
	if t.own == nil {
		return nil, errors.New("bulk kills a server: it needs a cluster of its own, without --server")
	}
	k := &masses{t: t, namespace: "bench-bulk"}
	var err error
	if k.client, err = t.client(ctx); err != nil {
		return nil, err
	}
	defer k.client.Close()
	figures := Figures{"live": float64(t.Live)}
	for _, do := range []func(context.Context, Figures) error{k.fill, k.beside, k.killed} {
		if err := do(ctx, figures); err != nil {
			return nil, err
		}
	}
	return figures, nil
}

type masses struct {
	t         *target
	client    *client.Client
	namespace string
}

// fill starts the instances.
func (k *masses) fill(ctx context.Context, figures Figures) error {
	if _, err := k.client.Namespaces.CreateNamespace(ctx, connect.NewRequest(&v1.CreateNamespaceRequest{Namespace: k.namespace})); err != nil {
		return err
	}
	const source = "workflow: stands\nsteps:\n  a: {queue: none, input: \"${input.nothing}\"}\n"
	if _, err := k.client.Workflows.RegisterWorkflow(ctx, connect.NewRequest(&v1.RegisterWorkflowRequest{Namespace: k.namespace, Source: source})); err != nil {
		return err
	}
	all, began := int64(k.t.Live), time.Now()
	err := k.t.fill(ctx, k.client, k.namespace, all, func(_ int64, start *v1.StartInstanceRequest) { start.Workflow = "stands" })
	figures["fillPerSecond"] = float64(all) / time.Since(began).Seconds()
	return err
}

// run starts an operation over all, under an id, and returns what it came to and how long it took. Meanwhile is called with each look at it.
func (k *masses) run(ctx context.Context, id string, act v1.BulkAct, meanwhile func(*v1.BulkOperation) error) (*v1.BulkOperation, time.Duration, error) {
	began, step := time.Now(), ""
	if act == v1.BulkAct_BULK_ACT_RESET {
		step = "a"
	}
	c, err := k.t.client(ctx)
	if err != nil {
		return nil, 0, err
	}
	_, err = c.Bulks.StartBulk(ctx, connect.NewRequest(&v1.StartBulkRequest{Namespace: k.namespace, BulkId: id, Act: act, Step: step, Filter: &v1.InstanceFilter{Workflow: "stands"}, Reason: "bench"}))
	if c.Close(); err != nil {
		return nil, 0, err
	}
	for {
		reply, err := k.client.Bulks.GetBulk(ctx, connect.NewRequest(&v1.GetBulkRequest{Namespace: k.namespace, BulkId: id}))
		if err != nil {
			return nil, 0, err
		}
		b := reply.Msg
		if b.Changed+b.Unchanged+b.Refused != b.Matched || b.Looked+b.Left < int64(k.t.Live) && !b.LeftMore {
			k.t.problem("%s is told as %v of %d", id, b, k.t.Live)
		}
		if b.State != v1.BulkState_BULK_STATE_RUNNING {
			if b.Changed != int64(k.t.Live) || b.Matched != b.Changed {
				k.t.problem("%s came to %v; there are %d", id, b, k.t.Live)
			}
			return b, b.Ended.AsTime().Sub(b.Started.AsTime()), nil
		}
		if meanwhile != nil {
			if err := meanwhile(b); err != nil {
				return nil, 0, err
			}
		}
		k.t.Say(fmt.Sprintf("%s: %d of %d after %.0f s", id, b.Matched, k.t.Live, time.Since(began).Seconds()))
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return nil, 0, err
		}
	}
}

// beside drives steps at a rate, first alone and then while operations run.
func (k *masses) beside(ctx context.Context, figures Figures) error {
	t := *k.t
	if t.Instances = 1000; t.Rate == 0 {
		t.Rate = 1000
	}
	alone, _, err := t.drive(ctx)
	if err != nil {
		return err
	}
	figures["stepP50Ms"], figures["stepP99Ms"], figures["rate"] = alone["p50Ms"], alone["p99Ms"], t.Rate
	var over atomic.Bool
	ran := make(chan error, 1)
	go func() {
		defer over.Store(true)
		for _, act := range []v1.BulkAct{v1.BulkAct_BULK_ACT_PAUSE, v1.BulkAct_BULK_ACT_RESUME, v1.BulkAct_BULK_ACT_RETRY, v1.BulkAct_BULK_ACT_RESET} {
			_, took, err := k.run(ctx, "beside-"+actFigure[act], act, nil)
			if err != nil {
				ran <- err
				return
			}
			figures[actFigure[act]+"PerSecond"] = float64(k.t.Live) / took.Seconds()
		}
		ran <- nil
	}()
	var p50, p99 []float64
	for !over.Load() {
		during, _, err := t.drive(ctx)
		if err != nil {
			return errors.Join(err, <-ran)
		}
		if !over.Load() || len(p99) == 0 { // a window at whose end none runs is not one of them
			p50, p99 = append(p50, during["p50Ms"]), append(p99, during["p99Ms"])
		}
	}
	if err := <-ran; err != nil {
		return err
	}
	slices.Sort(p50)
	slices.Sort(p99)
	figures["stepWhileBulkP50Ms"], figures["stepWhileBulkP99Ms"], figures["stepWhileBulkWorstP99Ms"] = p50[len(p50)/2], p99[len(p99)/2], p99[len(p99)-1]
	figures["windowsOfBulk"], figures["stepP99ByBulk"] = float64(len(p99)), p99[len(p99)/2]/max(0.001, alone["p99Ms"])
	return nil
}

var actFigure = map[v1.BulkAct]string{
	v1.BulkAct_BULK_ACT_PAUSE: "paused", v1.BulkAct_BULK_ACT_RESUME: "resumed", v1.BulkAct_BULK_ACT_RETRY: "retried",
	v1.BulkAct_BULK_ACT_RESET: "reset", v1.BulkAct_BULK_ACT_CANCEL: "cancelled",
}

// killed has all be retried, reset and cancelled, and each time kills the leader when half are.
func (k *masses) killed(ctx context.Context, figures Figures) error {
	for _, act := range []v1.BulkAct{v1.BulkAct_BULK_ACT_RETRY, v1.BulkAct_BULK_ACT_RESET, v1.BulkAct_BULK_ACT_CANCEL} {
		dead := 0
		b, took, err := k.run(ctx, "killed-"+actFigure[act], act, func(b *v1.BulkOperation) error {
			if dead > 0 || b.Matched < int64(k.t.Live)/2 {
				return nil
			}
			_, server, err := k.t.leader(ctx)
			if err != nil {
				return err
			}
			dead = k.t.number(server)
			return k.t.own.Kill(dead)
		})
		switch {
		case err != nil:
			return err
		case dead == 0:
			k.t.problem("%s was over before its leader was killed", b.BulkId)
		default:
			figures["leadersKilled"]++
			if err := k.t.own.StartAttached(dead); err != nil {
				return err
			}
		}
		figures[actFigure[act]+"PerSecondLeaderKilled"] = float64(k.t.Live) / took.Seconds()
		if err := k.once(ctx, b.BulkId); err != nil {
			return err
		}
	}
	return nil
}

// once reads off the feed that an operation came to each instance once.
func (k *masses) once(ctx context.Context, id string) error {
	c, err := client.New(client.Config{Servers: k.t.servers, Namespace: k.namespace})
	if err != nil {
		return err
	}
	defer c.Close()
	came := map[string]int{}
	for e, err := range c.Watch(ctx, client.WatchOptions{Types: []string{"lockstep.bulk.applied.v1", "lockstep.bulk.completed.v1"}}) {
		switch {
		case err != nil:
			return err
		case e.Data.Bulk != id:
		case e.Type == "lockstep.bulk.applied.v1":
			came[e.Data.OtherInstance]++
		default:
			wrong := 0
			for n := range int64(k.t.Live) {
				if came[keptID(n)] != 1 {
					wrong++
				}
			}
			if wrong > 0 || len(came) != k.t.Live {
				k.t.problem("%s came to %d of %d instances, and to %d of them not once", id, len(came), k.t.Live, wrong)
			}
			return nil
		}
	}
	return errors.New("the feed ended")
}
