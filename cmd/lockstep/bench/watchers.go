package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

// watchers has many watches on one server that follows, each of one instance, and starts those evenly over the time. It
// measures what the watches cost while nothing happens, and how long it takes from before an instance is started until its
// watcher is told. Each must be told once.
func watchers(ctx context.Context, t *target) (Figures, error) {
	c, err := newChain(ctx, t)
	if err != nil {
		return nil, err
	}
	defer c.client.Close()
	server, err := t.follower(ctx)
	if err != nil {
		return nil, err
	}
	meter, err := t.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer meter.cancel()
	g := &gallery{t: t, chain: c, zero: time.Now(), began: make([]atomic.Int64, t.Watchers), times: newLatencies()}
	figures := Figures{"watchers": float64(t.Watchers)}
	watching, stop := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		failed := g.watchAll(watching, server)
		if failed != nil {
			stop(failed)
		}
		ended <- failed
	}()
	err = g.measure(watching, figures)
	stop(nil)
	if failed := <-ended; failed != nil && !errors.Is(failed, context.Canceled) {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	t.spread("told", g.times)
	figures["toldP50Ms"], figures["toldP99Ms"], figures["told"] = g.times.ms(50), g.times.ms(99), float64(g.times.count())
	return figures, meter.stop(ctx, figures)
}

// follower is a server that does not lead; the only one, where there is no other.
func (t *target) follower(ctx context.Context) (string, error) {
	_, lead, err := t.leader(ctx)
	if err != nil {
		return "", err
	}
	for _, s := range t.servers {
		if s != lead {
			return s, nil
		}
	}
	return lead, nil
}

// gallery is the watchers.
type gallery struct {
	t     *target
	chain *chain
	zero  time.Time
	began []atomic.Int64 // when each instance was about to be started, since zero

	open, told atomic.Int64

	mu    sync.Mutex // guards what follows
	times latencies
}

// watchesShare is how many watches share a connection.
const watchesShare = 100

// watchAll watches until the context ends.
func (g *gallery) watchAll(ctx context.Context, server string) error {
	shared := make([]*http.Client, (g.t.Watchers+watchesShare-1)/watchesShare)
	for i := range shared {
		shared[i] = newHTTPClient()
		defer shared[i].CloseIdleConnections()
	}
	return together(ctx, g.t.Watchers, func(ctx context.Context, n int) error {
		err := g.watch(ctx, lockstepv1.NewEventServiceClient(shared[n/watchesShare], url(server)), n)
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("watch %d: %w", n, err)
	})
}

// watch is one watch. It ends with an error, or the context.
func (g *gallery) watch(ctx context.Context, events lockstepv1.EventServiceClient, n int) error {
	id := g.chain.instance(int64(n))
	stream, err := events.WatchEvents(ctx, connect.NewRequest(&v1.WatchEventsRequest{
		Namespace: g.chain.client.Namespace(), After: client.FromNow, InstanceId: id, Types: []string{"lockstep.instance.started.v1"},
	}))
	if err != nil {
		return err
	}
	defer stream.Close()
	told := false
	for first := true; stream.Receive(); first = false {
		if first { // it says from where it watches
			g.open.Add(1)
		}
		for _, e := range stream.Msg().Events {
			if told || e.Data.InstanceId != id {
				return fmt.Errorf("it was told of position %d, about %s", e.Position, e.Subject)
			}
			told = true
			g.tell(time.Since(g.zero) - time.Duration(g.began[n].Load()))
		}
	}
	return errors.Join(stream.Err(), errors.New("the stream ended"))
}

func (g *gallery) tell(took time.Duration) {
	g.mu.Lock()
	g.times.add(took)
	g.mu.Unlock()
	g.told.Add(1)
}

func (g *gallery) measure(ctx context.Context, figures Figures) error {
	if err := g.until(ctx, &g.open, "watches are open"); err != nil {
		return err
	}
	idle, err := g.t.usage(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, max(time.Second, g.t.WarmUp)); err != nil {
		return context.Cause(ctx)
	}
	before, err := g.t.usage(ctx)
	if err != nil {
		return err
	}
	still := Figures{}
	before.since(idle, still)
	figures["idleServerCpuCores"] = still["serverCpuCores"]
	if err := g.startAll(ctx, figures); err != nil {
		return err
	}
	after, err := g.t.usage(ctx)
	if err != nil {
		return err
	}
	after.since(before, figures)
	after.per("Event", float64(g.t.Watchers), before, figures)
	return g.until(ctx, &g.told, "watchers were told")
}

// startAll starts each instance when it is due.
func (g *gallery) startAll(ctx context.Context, figures Figures) error {
	clients, free, err := g.t.clients(ctx, g.t.Clients)
	if err != nil {
		return err
	}
	defer free()
	every := g.t.Seconds / time.Duration(g.t.Watchers)
	began := time.Since(g.zero)
	err = together(ctx, g.t.Clients, func(ctx context.Context, caller int) error {
		for n := caller; n < g.t.Watchers; n += g.t.Clients {
			due := began + time.Duration(n)*every
			if err := pause(ctx, due-time.Since(g.zero)); err != nil {
				return err
			}
			g.began[n].Store(int64(time.Since(g.zero)))
			if err := g.chain.startOne(ctx, clients[caller], int64(n)); err != nil {
				return err
			}
		}
		return nil
	})
	figures["eventsPerSecond"] = float64(g.t.Watchers) / (time.Since(g.zero) - began).Seconds()
	return err
}

// toldWithin is how long all watchers may take after the last instance was started.
const toldWithin = 30 * time.Second

// until waits until as many as there are watchers. Servers are processes: they can only be asked.
func (g *gallery) until(ctx context.Context, count *atomic.Int64, what string) error {
	for before, quiet := int64(-1), time.Now(); count.Load() < int64(g.t.Watchers); {
		g.t.Say(fmt.Sprintf("%d %s", count.Load(), what))
		if now := count.Load(); now != before {
			before, quiet = now, time.Now()
		} else if time.Since(quiet) > toldWithin {
			return fmt.Errorf("%d of %d %s, and no more in %s", before, g.t.Watchers, what, toldWithin)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}
