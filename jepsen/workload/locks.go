package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Locks acquires, releases and looks at a few locks until the context ends. Its sessions outlive every fault, so that a
// lock changes hands only by these calls: what was answered must fit one order of them.
func (r *Recorder) Locks(ctx context.Context, c *client.Client, lane, keys int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(2000+lane)))
	var session *client.Session
	for session == nil && ctx.Err() == nil {
		calling, cancel := call(ctx)
		s, err := c.OpenSession(calling, client.SessionConfig{TTL: time.Hour})
		cancel()
		if err == nil {
			session = s
		}
	}
	held := map[string]*client.Lock{}
	for ctx.Err() == nil {
		// Other keys every while: a lock whose grant nobody knows may stay held, and short histories are checked faster.
		key := fmt.Sprintf("key-%d-%d", r.Now()/(10*time.Second), chance.IntN(keys))
		switch l := held[key]; {
		case chance.IntN(3) == 0:
			r.look(ctx, c, "look", key)
		case l != nil:
			// Asked again until the answer is known: releasing is idempotent by its token.
			for r.release(ctx, c, key, l.Token) == check.Unknown && ctx.Err() == nil {
			}
			delete(held, key)
		default:
			if l := r.acquire(ctx, session, key); l != nil {
				held[key] = l
			}
		}
		pause(ctx, time.Duration(chance.IntN(30))*time.Millisecond)
	}
}

func (r *Recorder) acquire(ctx context.Context, session *client.Session, key string) (l *client.Lock) {
	calling, cancel := call(ctx)
	defer cancel()
	_ = r.Do(check.Op{Kind: "acquire", Lock: key}, func(op *check.Op) (err error) {
		if l, err = session.Lock(calling, key, client.LockOptions{}); err == nil {
			op.Token = l.Token
			r.locks.note(key)
		}
		return err
	}) // its outcome is on record
	return l
}

func (r *Recorder) release(ctx context.Context, c *client.Client, key string, token int64) string {
	calling, cancel := call(ctx)
	defer cancel()
	var outcome string
	_ = r.Do(check.Op{Kind: "unlock", Lock: key, Token: token}, func(op *check.Op) error {
		_, err := c.Locks.ReleaseLock(calling, connect.NewRequest(&v1.ReleaseLockRequest{Lock: key, Token: token}))
		if err == nil {
			r.locks.note(key)
		}
		if refusal, ok := client.AsRefusal(err); err == nil || ok && !open(refusal) {
			outcome = check.OK
		} else {
			outcome = check.Unknown
		}
		return err
	}) // its outcome is on record
	return outcome
}

func (r *Recorder) look(ctx context.Context, c *client.Client, kind, key string) {
	calling, cancel := call(ctx)
	defer cancel()
	_ = r.Do(check.Op{Kind: kind, Lock: key}, func(op *check.Op) error {
		res, err := c.Locks.GetLock(calling, connect.NewRequest(&v1.GetLockRequest{Lock: key}))
		if refusal, ok := client.AsRefusal(err); ok && refusal.Code == v1.Code_CODE_LOCK_NOT_FOUND {
			return nil // nobody has it
		}
		if err == nil && len(res.Msg.Holders) > 0 {
			op.Token = res.Msg.Holders[0].Token
		}
		return err
	}) // its outcome is on record
}

// Lapse holds a lock under a short session, writes to the register under its token, and now and then goes on writing
// after it stopped renewing, as a program that was stopped would.
func (r *Recorder) Lapse(ctx context.Context, c *client.Client, register *Register, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(3000+lane)))
	for ctx.Err() == nil {
		calling, cancel := call(ctx)
		until := r.Now() + time.Second
		opened, err := c.Workers.OpenSession(calling, connect.NewRequest(&v1.OpenSessionRequest{Ttl: seconds(1)}))
		cancel()
		if err != nil {
			continue
		}
		r.lapse(ctx, c, register, opened.Msg.SessionId, until, chance)
	}
}

func (r *Recorder) lapse(ctx context.Context, c *client.Client, register *Register, session string, until time.Duration, chance *rand.Rand) {
	const lock = "lapsing"
	calling, cancel := call(ctx)
	defer cancel()
	var token int64
	err := r.Do(check.Op{Kind: "acquire", Lock: lock, Lapses: true, Until: until}, func(op *check.Op) error {
		res, err := c.Locks.AcquireLock(calling, connect.NewRequest(&v1.AcquireLockRequest{SessionId: session, Lock: lock, RequestId: 1, Wait: seconds(8)}))
		if err == nil {
			token, op.Token = res.Msg.Token, res.Msg.Token
		}
		return err
	})
	if err != nil {
		return
	}
	register.Write(lock, token)
	if chance.IntN(2) == 0 {
		// Nobody renews it: by the time of the write somebody else may have the lock, and the register knows.
		pause(ctx, time.Duration(500+chance.IntN(2500))*time.Millisecond)
		register.Write(lock, token)
		return
	}
	_ = r.release(ctx, c, lock, token) // its outcome is on record
}

func seconds(n int64) *durationpb.Duration { return &durationpb.Duration{Seconds: n} }
