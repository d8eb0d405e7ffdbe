package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

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
	t.Say(fmt.Sprintf("opening %d sessions", t.Sessions))
	err = together(ctx, len(clients), func(ctx context.Context, caller int) error {
		for n := caller; n < t.Sessions; n += len(clients) {
			reply, err := clients[caller].Workers.OpenSession(ctx, connect.NewRequest(&v1.OpenSessionRequest{
				Namespace: clients[caller].Namespace(), Ttl: durationpb.New(t.sessionTTL()), Worker: "bench",
			}))
			if err != nil {
				return err
			}
			k.ids[n] = reply.Msg.SessionId
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	meter, err := t.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer meter.cancel()
	figures := Figures{"sessions": float64(t.Sessions), "ttlSeconds": t.sessionTTL().Seconds()}
	renewing, stop := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- together(renewing, len(clients), func(ctx context.Context, caller int) error {
			return k.renew(ctx, caller, len(clients), func(id string) error {
				_, err := clients[caller].Workers.KeepAlive(ctx, connect.NewRequest(&v1.KeepAliveRequest{Namespace: clients[caller].Namespace(), SessionId: id}))
				return err
			})
		})
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
		for n := caller; n < t.Sessions; n += len(clients) {
			_, err := clients[caller].Workers.CloseSession(ctx, connect.NewRequest(&v1.CloseSessionRequest{Namespace: clients[caller].Namespace(), SessionId: k.ids[n]}))
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// sessionTTL is the default one, unless opening so many sessions takes longer than that.
func (t *target) sessionTTL() time.Duration {
	return max(ttl, time.Duration(t.Sessions)*time.Millisecond)
}

// keeping renews sessions.
type keeping struct {
	t       *target
	ids     []string
	renewed atomic.Int64
}

// renew renews every stride-th session from one on, evenly over a third of the TTL, again and again.
func (k *keeping) renew(ctx context.Context, from, stride int, one func(id string) error) error {
	mine := (len(k.ids) - from + stride - 1) / stride
	if mine <= 0 {
		return nil
	}
	every := k.t.sessionTTL() / 3 / time.Duration(mine)
	for due := time.Now(); ; {
		for n := from; n < len(k.ids); n += stride {
			if err := pause(ctx, time.Until(due)); err != nil {
				return nil
			}
			due = due.Add(every)
			if err := one(k.ids[n]); ctx.Err() != nil {
				return nil
			} else if err != nil {
				return fmt.Errorf("renew a session: %w", err)
			}
			k.renewed.Add(1)
		}
	}
}

func (k *keeping) measure(ctx context.Context, figures Figures) error {
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
	figures["renewalsPerSecond"] = float64(k.renewed.Load()-first) / time.Since(began).Seconds()
	after, err := k.t.usage(ctx)
	after.since(before, figures)
	return err
}
