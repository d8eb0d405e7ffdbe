package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// kept measures what it is to keep many finished instances beside live ones, and to remove them: lists and look-ups among them that may be
// stale, a restart, memory, disk, and what removal costs steps that go on at a rate meanwhile, in another namespace.
func kept(ctx context.Context, t *target) (Figures, error) {
	if t.own == nil {
		return nil, errors.New("kept restarts a server, and looks at disks: it needs a cluster of its own, without --server")
	}
	k := &store{t: t, namespace: "bench-kept"}
	var err error
	if k.client, err = t.client(ctx); err != nil {
		return nil, err
	}
	defer k.client.Close()
	meter, err := t.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer meter.cancel()
	figures := Figures{"finished": float64(t.Finished), "live": float64(t.Live)}
	for _, do := range []func(context.Context, Figures) error{k.fill, k.look, k.restart, k.steps} {
		if err := do(ctx, figures); err != nil {
			return nil, err
		}
	}
	return figures, meter.stop(ctx, figures)
}

type store struct {
	t         *target
	client    *client.Client
	namespace string
	began     time.Time
}

// keptFlows are the workflows: one ends as it begins, the other waits for ever.
var keptFlows = []string{
	"workflow: ends\nsteps:\n  a: {queue: none, when: \"input.of == ''\"}\n",
	"workflow: lives\nsteps:\n  a: {signal: {name: go}}\n",
}

const (
	keptRegions   = 5
	keptCustomers = 20_000
)

func keptID(n int64) string { return fmt.Sprintf("order-%09d", n) }

// lives says whether an instance does: evenly many among those that end.
func (k *store) lives(n int64) bool {
	all := int64(k.t.Finished + k.t.Live)
	return n*int64(k.t.Live)/all != (n+1)*int64(k.t.Live)/all
}

// fill starts all instances, each with labels, a key and a payload.
func (k *store) fill(ctx context.Context, figures Figures) error {
	if _, err := k.client.Namespaces.CreateNamespace(ctx, connect.NewRequest(&v1.CreateNamespaceRequest{Namespace: k.namespace})); err != nil {
		return err
	}
	for _, source := range keptFlows {
		if _, err := k.client.Workflows.RegisterWorkflow(ctx, connect.NewRequest(&v1.RegisterWorkflowRequest{Namespace: k.namespace, Source: source})); err != nil {
			return err
		}
	}
	all := int64(k.t.Finished + k.t.Live)
	k.began = time.Now()
	err := k.t.fill(ctx, k.client, k.namespace, all, func(n int64, start *v1.StartInstanceRequest) {
		start.Workflow = "ends"
		start.Labels = map[string]string{"region": fmt.Sprint("r", n%keptRegions), "batch": fmt.Sprint("b", n/1000)}
		start.Keys = map[string]string{"customer": fmt.Sprint("c", n%keptCustomers)}
		if k.lives(n) {
			start.Workflow = "lives"
		}
	})
	figures["fillPerSecond"] = float64(all) / time.Since(k.began).Seconds()
	if err != nil {
		return err
	}
	figures["diskMiBFilled"], err = k.disk()
	return err
}

// disk is what all servers have on their disks, as blocks.
func (k *store) disk() (float64, error) {
	var blocks int64
	for _, n := range k.t.own.Nodes {
		err := filepath.WalkDir(k.t.own.Data(n.Number), func(_ string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // the store takes files away while one looks
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			if s, is := info.Sys().(*syscall.Stat_t); is {
				blocks += s.Blocks
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return float64(blocks) * 512 / (1 << 20), nil
}

// lookers ask at a time.
const lookers = 2

// look measures lists and look-ups that may be stale, of a server each.
func (k *store) look(ctx context.Context, figures Figures) error {
	span := time.Since(k.began)
	list := func(r *v1.ListInstancesRequest) func(context.Context, *client.Client) error {
		return func(ctx context.Context, c *client.Client) error {
			r.Namespace, r.Consistency = k.namespace, v1.Consistency_CONSISTENCY_STALE
			_, err := c.Instances.ListInstances(ctx, connect.NewRequest(r))
			return err
		}
	}
	running := v1.InstanceState_INSTANCE_STATE_RUNNING
	some := func() *timestamppb.Timestamp { return timestamppb.New(k.began.Add(rand.N(span))) }
	kinds := []struct {
		name string
		make func() func(context.Context, *client.Client) error
	}{
		{"describe", func() func(context.Context, *client.Client) error {
			id := keptID(rand.Int64N(int64(k.t.Finished + k.t.Live)))
			return func(ctx context.Context, c *client.Client) error {
				_, err := c.Instances.GetInstance(ctx, connect.NewRequest(&v1.GetInstanceRequest{Namespace: k.namespace, InstanceId: id, Consistency: v1.Consistency_CONSISTENCY_STALE}))
				return err
			}
		}},
		{"explain", func() func(context.Context, *client.Client) error {
			id := keptID(rand.Int64N(int64(k.t.Finished + k.t.Live)))
			return func(ctx context.Context, c *client.Client) error {
				_, err := c.Instances.Explain(ctx, connect.NewRequest(&v1.ExplainRequest{Namespace: k.namespace, InstanceId: id, Consistency: v1.Consistency_CONSISTENCY_STALE}))
				return err
			}
		}},
		{"list", func() func(context.Context, *client.Client) error {
			return list(&v1.ListInstancesRequest{StartedTo: some()})
		}},
		{"byState", func() func(context.Context, *client.Client) error {
			return list(&v1.ListInstancesRequest{State: running, StartedTo: some()})
		}},
		{"byWorkflowAndState", func() func(context.Context, *client.Client) error {
			return list(&v1.ListInstancesRequest{Workflow: "lives", State: running, StartedTo: some()})
		}},
		{"byLabel", func() func(context.Context, *client.Client) error {
			return list(&v1.ListInstancesRequest{Labels: map[string]string{"batch": fmt.Sprint("b", rand.IntN((k.t.Finished+k.t.Live+999)/1000))}})
		}},
		{"byTwoLabels", func() func(context.Context, *client.Client) error {
			return list(&v1.ListInstancesRequest{Labels: map[string]string{"region": fmt.Sprint("r", rand.IntN(keptRegions)), "batch": fmt.Sprint("b", rand.IntN((k.t.Finished+k.t.Live+999)/1000))}})
		}},
		{"byKey", func() func(context.Context, *client.Client) error {
			return list(&v1.ListInstancesRequest{Keys: map[string]string{"customer": fmt.Sprint("c", rand.IntN(keptCustomers))}})
		}},
		{"byEnd", func() func(context.Context, *client.Client) error {
			return list(&v1.ListInstancesRequest{EndedTo: some()})
		}},
	}
	clients, free, err := k.t.clients(ctx, lookers)
	if err != nil {
		return err
	}
	defer free()
	for _, kind := range kinds {
		_, times, err := k.t.closed(ctx, kind.name, lookers, k.t.part(len(kinds)), func(ctx context.Context, caller int) error {
			return kind.make()(ctx, clients[caller])
		})
		if err != nil {
			return err
		}
		figures[kind.name+"P50Ms"], figures[kind.name+"P99Ms"] = times.ms(50), times.ms(99)
		k.t.Say(fmt.Sprintf("%s: p50 %.1f ms, p99 %.1f ms", kind.name, times.ms(50), times.ms(99)))
	}
	return nil
}

// restart kills a follower, starts it again, and measures until it follows and has all that was committed.
func (k *store) restart(ctx context.Context, figures Figures) error {
	lead, server, err := k.t.leader(ctx)
	if err != nil {
		return err
	}
	other := k.t.own.Nodes[slices.IndexFunc(k.t.servers, func(s string) bool { return s != server })]
	if err := k.t.own.Kill(other.Number); err != nil {
		return err
	}
	began := time.Now()
	if err := k.t.own.StartAttached(other.Number); err != nil {
		return err
	}
	for {
		s, err := k.t.status(ctx, other.API)
		if err == nil && s.LeaderId != "" && s.AppliedIndex >= lead.CommitIndex {
			break
		}
		if time.Since(began) > readyWithin {
			return fmt.Errorf("a server that was restarted is not ready after %s: %w", readyWithin, err)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	figures["restartMs"] = milliseconds(time.Since(began))
	return nil
}

// steps drives steps at a rate, first alone and then while all that has ended is removed.
func (k *store) steps(ctx context.Context, figures Figures) error {
	t := *k.t
	if t.Instances = 1000; t.Rate == 0 {
		t.Rate = 1000
	}
	before, _, err := t.drive(ctx)
	if err != nil {
		return err
	}
	figures["stepP50Ms"], figures["stepP99Ms"], figures["rate"] = before["p50Ms"], before["p99Ms"], t.Rate
	began := time.Now()
	if err := k.keep(ctx, &v1.Retention{Finished: durationpb.New(time.Second)}); err != nil {
		return err
	}
	removal := make(chan error, 1)
	go func() { removal <- k.removed(ctx, began, figures) }()
	var p50, p99 []float64
	for over := false; !over; {
		during, _, err := t.drive(ctx)
		if err != nil {
			return err
		}
		select {
		case err := <-removal:
			if over = true; err != nil {
				return err
			}
		default:
		}
		if !over || len(p99) == 0 { // a window at whose end nothing was left is not one of removal
			p50, p99 = append(p50, during["p50Ms"]), append(p99, during["p99Ms"])
		}
	}
	slices.Sort(p50)
	slices.Sort(p99)
	figures["stepWhileRemovedP50Ms"], figures["stepWhileRemovedP99Ms"], figures["stepWhileRemovedWorstP99Ms"] = p50[len(p50)/2], p99[len(p99)/2], p99[len(p99)-1]
	figures["windowsOfRemoval"] = float64(len(p99))
	figures["stepP99ByRemoval"] = p99[len(p99)/2] / max(0.001, before["p99Ms"])
	if err := pause(ctx, 20*time.Second); err != nil { // the store compacts
		return err
	}
	figures["diskMiBLater"], err = k.disk()
	return err
}

func (k *store) keep(ctx context.Context, r *v1.Retention) error {
	_, err := k.client.Namespaces.UpdateNamespace(ctx, connect.NewRequest(&v1.UpdateNamespaceRequest{Namespace: k.namespace, Retention: r}))
	return err
}

// removed waits until so many are removed as are to be.
func (k *store) removed(ctx context.Context, began time.Time, figures Figures) error {
	for {
		ns, err := k.client.Namespaces.GetNamespace(ctx, connect.NewRequest(&v1.GetNamespaceRequest{Namespace: k.namespace}))
		if err != nil {
			return err
		}
		gone := ns.Msg.Kept.GetRemoved()
		if gone >= int64(min(k.t.Remove, k.t.Finished)) {
			if gone > int64(k.t.Finished) || ns.Msg.LiveInstances != int64(k.t.Live) {
				k.t.problem("%d instances were removed of %d, and %d live of %d", gone, k.t.Finished, ns.Msg.LiveInstances, k.t.Live)
			}
			seconds := time.Since(began).Seconds()
			figures["removed"], figures["removalSeconds"], figures["removedPerSecond"] = float64(gone), seconds, float64(gone)/seconds
			if err := k.keep(ctx, &v1.Retention{}); err != nil { // what is left stays
				return err
			}
			figures["diskMiBRemoved"], err = k.disk()
			return err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
