package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The bar of L1, in milliseconds: in the shipped configuration, and with the timers of the LAN profile or shorter ones.
const (
	failoverP50    = 1000
	failoverLANP50 = 500
	failoverP99    = 2000
	lan            = 200 * time.Millisecond
	enoughKills    = 20 // for quantiles to say something: with fewer they are told and not judged
)

// writers write one after the other through one client, which finds the new leader by itself.
const (
	writers    = 4
	writeEvery = 2 * time.Millisecond
)

var errNotOurs = errors.New("failover kills servers: it needs a cluster of its own, without --server")

// failover kills the leader again and again, and measures the longest time without an acknowledgement that a client has
// which writes steadily. Each time the server is started again, and the next kill waits until it is a voter that has
// caught up. In the end every write that was acknowledged must be there.
func failover(ctx context.Context, t *target) (Figures, error) {
	w, err := newSteady(ctx, t)
	if err != nil {
		return nil, err
	}
	defer w.chain.client.Close()
	gaps := newLatencies()
	writing, stop := context.WithCancelCause(ctx)
	var tasks sync.WaitGroup
	for n := range writers {
		tasks.Go(func() {
			if err := w.write(writing, n); err != nil {
				stop(err)
			}
		})
	}
	for n := range t.Kills {
		var gap time.Duration
		if gap, err = w.kill(writing); err != nil {
			break
		}
		gaps.add(gap)
		t.Say(fmt.Sprintf("kill %d of %d: no acknowledgement for %d ms", n+1, t.Kills, gap.Milliseconds()))
	}
	if failed := context.Cause(writing); failed != nil {
		err = failed
	}
	stop(nil)
	tasks.Wait()
	if err != nil {
		return nil, err
	}
	t.spread("longest gap around a kill", gaps)
	figures := Figures{
		"failoverP50Ms": gaps.ms(50), "failoverP99Ms": gaps.ms(99), "failoverMaxMs": gaps.ms(100), "kills": float64(gaps.count()),
	}
	if t.Kills >= enoughKills {
		w.judge(figures)
	}
	return figures, w.check(ctx, figures)
}

// judge compares with L1.
func (w *steady) judge(figures Figures) {
	most := failoverP50
	if w.t.Heartbeat > 0 && w.t.Heartbeat <= lan {
		most = failoverLANP50
	}
	if p50 := figures["failoverP50Ms"]; p50 > float64(most) {
		w.t.problem("half of the kills cost %.0f ms or more without an acknowledgement; L1 allows %d", p50, most)
	}
	if p99 := figures["failoverP99Ms"]; p99 > failoverP99 {
		w.t.problem("a kill cost %.0f ms without an acknowledgement; L1 allows %d", p99, failoverP99)
	}
}

// steady is a client that writes all the time.
type steady struct {
	t     *target
	chain *chain

	acked [writers]atomic.Int64
	mu    sync.Mutex // guards what follows
	at    time.Time  // of the newest acknowledgement
	worst time.Duration
}

func newSteady(ctx context.Context, t *target) (*steady, error) {
	c, err := newChain(ctx, t)
	if err != nil {
		return nil, err
	}
	return &steady{t: t, chain: c}, nil
}

// write starts instances, each under an id of its own, until the context ends.
func (w *steady) write(ctx context.Context, writer int) error {
	for n := int64(0); ; n++ {
		id := w.id(writer, n)
		_, err := w.chain.client.Instances.StartInstance(ctx, connect.NewRequest(&v1.StartInstanceRequest{
			Namespace: w.chain.client.Namespace(), InstanceId: id, Workflow: w.chain.name, InputPayload: w.chain.payload(id),
		}))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("start instance %s: %w", id, err)
		}
		w.acked[writer].Store(n + 1)
		w.acknowledged()
		if pause(ctx, writeEvery) != nil {
			return nil
		}
	}
}

func (w *steady) id(writer int, n int64) string {
	return fmt.Sprintf("%s-%d-%d", w.chain.name, writer, n)
}

func (w *steady) acknowledged() {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.worst = max(w.worst, now.Sub(w.at))
	w.at = now
}

// reset forgets the gaps so far, but not the one that is open.
func (w *steady) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.worst = 0
}

func (w *steady) longest() (gap time.Duration, newest time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.worst, w.at
}

// settled is for how long writes go on, before the next kill and after one.
const settled = time.Second

// kill kills the leader and starts it again, and returns the longest gap from the kill until writes had gone on for a
// while after it.
func (w *steady) kill(ctx context.Context) (time.Duration, error) {
	if err := w.t.ready(ctx); err != nil {
		return 0, err
	}
	if err := pause(ctx, settled); err != nil {
		return 0, err
	}
	_, server, err := w.t.leader(ctx)
	if err != nil {
		return 0, err
	}
	number := w.t.number(server)
	w.reset()
	killed := time.Now()
	if err := w.t.own.Kill(number); err != nil {
		return 0, err
	}
	for {
		if _, newest := w.longest(); newest.After(killed.Add(20 * time.Millisecond)) { // not an answer that was on its way
			break
		}
		if time.Since(killed) > readyWithin {
			return 0, fmt.Errorf("no write was acknowledged within %s of a kill", readyWithin)
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
	if err := pause(ctx, settled); err != nil {
		return 0, err
	}
	gap, _ := w.longest()
	return gap, w.t.own.StartAttached(number)
}

// number of the node of an own cluster that has an address.
func (t *target) number(server string) int {
	for _, n := range t.own.Nodes {
		if n.API == server {
			return n.Number
		}
	}
	return 0
}

// check looks for every write that was acknowledged.
func (w *steady) check(ctx context.Context, figures Figures) error {
	if err := w.t.ready(ctx); err != nil {
		return err
	}
	there, err := w.there(ctx)
	if err != nil {
		return err
	}
	acknowledged, lost := 0, 0
	for writer := range w.acked {
		for n := range w.acked[writer].Load() {
			acknowledged++
			if !there[w.id(writer, n)] {
				lost++
			}
		}
	}
	figures["acknowledged"], figures["lost"] = float64(acknowledged), float64(lost)
	if lost > 0 {
		w.t.problem("%d of %d acknowledged writes are lost", lost, acknowledged)
	}
	return nil
}

func (w *steady) there(ctx context.Context) (map[string]bool, error) {
	c, err := client.New(client.Config{Servers: w.t.servers, Namespace: w.t.Namespace})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	there := map[string]bool{}
	for page := ""; ; {
		reply, err := c.Instances.ListInstances(ctx, connect.NewRequest(&v1.ListInstancesRequest{Namespace: c.Namespace(), Workflow: w.chain.name, Page: page, Limit: 1000}))
		if err != nil {
			return nil, err
		}
		for _, i := range reply.Msg.Instances {
			there[i.InstanceId] = true
		}
		if page = reply.Msg.NextPage; page == "" {
			return there, nil
		}
	}
}
