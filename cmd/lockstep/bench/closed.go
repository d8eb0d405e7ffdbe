package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// window is the time of a load that is measured: what lies outside of it is warm-up, or comes too late.
type window struct{ from, till time.Time }

func newWindow(warmUp, d time.Duration) window {
	from := time.Now().Add(warmUp)
	return window{from, from.Add(d)}
}

func (w window) has(at time.Time) bool { return !at.Before(w.from) && at.Before(w.till) }
func (w window) seconds() float64      { return w.till.Sub(w.from).Seconds() }

// part is a share of the seconds that a run measures: a kind with several parts divides them.
func (t *target) part(of int) window {
	d := t.Seconds / time.Duration(of)
	return newWindow(min(t.WarmUp, d), d)
}

// closed has n callers each do an operation again and again until the window is over, and tells how many were done in it
// and how long they took.
func (t *target) closed(ctx context.Context, what string, n int, w window, do func(ctx context.Context, caller int) error) (perSecond float64, times latencies, err error) {
	each := make([]latencies, n)
	var done atomic.Int64
	defer t.pace(what, done.Load)()
	telling, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with this call, or a moment later
		for before := int64(0); pause(telling, time.Second) == nil; {
			now := done.Load()
			t.Say(fmt.Sprintf("%s: %d/s", what, now-before))
			before = now
		}
	}()
	err = together(ctx, n, func(ctx context.Context, caller int) error {
		each[caller] = newLatencies()
		for {
			began := time.Now()
			if began.After(w.till) {
				return nil
			}
			if err := do(ctx, caller); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			ended := time.Now()
			done.Add(1)
			if w.has(ended) {
				each[caller].add(ended.Sub(began))
			}
		}
	})
	times = newLatencies()
	for _, l := range each {
		times.merge(l)
	}
	t.spread(what, times)
	return float64(times.count()) / w.seconds(), times, err
}

// clients are n callers' clients. Callers share connections, eight to one, as they would in a process.
func (t *target) clients(ctx context.Context, n int) (all []*client.Client, end func(), err error) {
	const share = 8
	end = func() {
		for i := 0; i < len(all); i += share {
			all[i].Close()
		}
	}
	for i := range n {
		if i%share != 0 {
			all = append(all, all[i-1])
			continue
		}
		c, err := t.client(ctx)
		if err != nil {
			end()
			return nil, nil, err
		}
		all = append(all, c)
	}
	return all, end, nil
}

// bare is a session for streams that say themselves what they hold. It outlives a run without a renewal.
type bare struct {
	c  *client.Client
	id string
}

func openBare(ctx context.Context, c *client.Client) (bare, error) {
	reply, err := c.Workers.OpenSession(ctx, connect.NewRequest(&v1.OpenSessionRequest{Namespace: c.Namespace(), Ttl: durationpb.New(time.Hour), Worker: "bench"}))
	if err != nil {
		return bare{}, fmt.Errorf("open session: %w", err)
	}
	return bare{c, reply.Msg.SessionId}, nil
}

func (b bare) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := b.c.Workers.CloseSession(ctx, connect.NewRequest(&v1.CloseSessionRequest{Namespace: b.c.Namespace(), SessionId: b.id}))
	return err
}
