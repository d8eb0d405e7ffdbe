package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// sessions keeps many sessions alive, each renewed every third of its TTL over unary calls, and measures what that costs
// the servers. None may expire.
func sessions(ctx context.Context, t *target) (Figures, error) {
	clients, free, err := t.clients(ctx, t.Clients)
	if err != nil {
		return nil, err
	}
	defer free()
	k := &keeping{t: t, ids: make([]string, t.Sessions)}
	meter, err := t.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer meter.cancel()
	figures := Figures{"sessions": float64(t.Sessions)}
	renewing, stop := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		failed := together(renewing, len(clients), func(ctx context.Context, caller int) error {
			return k.run(ctx, clients[caller], caller, len(clients))
		})
		if failed != nil {
			stop(failed)
		}
		ended <- failed
	}()
	err = k.measure(renewing, figures)
	stop(nil)
	if failed := <-ended; failed != nil && !errors.Is(failed, context.Canceled) {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	return figures, errors.Join(meter.stop(ctx, figures), together(ctx, len(clients), func(ctx context.Context, caller int) error {
		return k.close(ctx, clients[caller], caller, len(clients))
	}))
}

// close closes sessions. They are not renewed any more: one that has ended meanwhile is closed.
func (k *keeping) close(ctx context.Context, c *client.Client, from, stride int) error {
	for n := from; n < len(k.ids); n += stride {
		_, err := c.Workers.CloseSession(ctx, connect.NewRequest(&v1.CloseSessionRequest{Namespace: c.Namespace(), SessionId: k.ids[n]}))
		if refusal, ok := client.AsRefusal(err); err != nil && !(ok && refusal.Code == v1.Code_CODE_SESSION_EXPIRED) {
			return err
		}
	}
	return nil
}

// keeping renews sessions.
type keeping struct {
	t       *target
	ids     []string
	opened  atomic.Int64
	renewed atomic.Int64
}

// run opens every stride-th session from one on, and renews each every third of the TTL, evenly, until the context ends.
func (k *keeping) run(ctx context.Context, c *client.Client, from, stride int) error {
	mine := make([]int, 0, len(k.ids)/stride+1)
	renewed := time.Now()
	for n := from; n < len(k.ids); n += stride {
		reply, err := c.Workers.OpenSession(ctx, connect.NewRequest(&v1.OpenSessionRequest{
			Namespace: c.Namespace(), Ttl: durationpb.New(ttl), Worker: "bench",
		}))
		if err != nil {
			return k.unless(ctx, "open", err)
		}
		k.ids[n] = reply.Msg.SessionId
		mine = append(mine, n)
		k.opened.Add(1)
		if time.Since(renewed) > ttl/4 { // opening takes long: the first must not expire meanwhile
			if err := k.renew(ctx, c, mine, 0); err != nil {
				return k.unless(ctx, "renew", err)
			}
			renewed = time.Now()
		}
	}
	for len(mine) > 0 {
		if err := k.renew(ctx, c, mine, ttl/3/time.Duration(len(mine))); err != nil {
			return k.unless(ctx, "renew", err)
		}
	}
	return nil
}

// unless is no error once the time is over.
func (k *keeping) unless(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%s a session: %w", what, err)
}

// renew renews sessions once each, a while apart.
func (k *keeping) renew(ctx context.Context, c *client.Client, sessions []int, every time.Duration) error {
	for due, i := time.Now(), 0; i < len(sessions); i++ {
		if err := pause(ctx, time.Until(due)); err != nil {
			return err
		}
		due = due.Add(every)
		if _, err := c.Workers.KeepAlive(ctx, connect.NewRequest(&v1.KeepAliveRequest{Namespace: c.Namespace(), SessionId: k.ids[sessions[i]]})); err != nil {
			return err
		}
		k.renewed.Add(1)
	}
	return nil
}

func (k *keeping) measure(ctx context.Context, figures Figures) error {
	for int(k.opened.Load()) < len(k.ids) {
		k.t.Say(fmt.Sprintf("%d sessions are open", k.opened.Load()))
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return context.Cause(ctx)
		}
	}
	if err := pause(ctx, k.t.WarmUp); err != nil {
		return err
	}
	before, err := k.t.usage(ctx)
	if err != nil {
		return err
	}
	began, first := time.Now(), k.renewed.Load()
	for end := began.Add(k.t.Seconds); time.Now().Before(end); {
		if err := pause(ctx, min(time.Second, time.Until(end))); err != nil {
			return err
		}
		k.t.Say(fmt.Sprintf("%d sessions: %.0f renewals/s", len(k.ids), float64(k.renewed.Load()-first)/time.Since(began).Seconds()))
	}
	renewed := float64(k.renewed.Load() - first)
	figures["renewalsPerSecond"] = renewed / time.Since(began).Seconds()
	after, err := k.t.usage(ctx)
	if err != nil {
		return err
	}
	after.since(before, figures)
	after.per("Renewal", renewed, before, figures)
	return nil
}
