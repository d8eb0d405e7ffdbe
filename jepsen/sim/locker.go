package sim

import (
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/model"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// locker takes locks by itself, writes under them, and gives them back; or forgets to, or is too late.
type locker struct {
	c    *client
	s    *session
	ttl  time.Duration
	held []heldLock
}

type heldLock struct {
	lock  string
	token int64
}

// theLocks are what sessions take: some are also in claims of steps.
var theLocks = []model.Want{
	{Lock: "x0", Take: 1}, {Lock: "x1", Take: 1}, {Lock: "s0", Take: 1}, {Lock: "s0", Shared: true, Take: 1},
	{Lock: "p0", Limit: 3, Take: 1}, {Lock: "p0", Limit: 3, Take: 2}, {Lock: "y0", Take: 1}, {Lock: "y1", Shared: true, Take: 1},
	{Lock: "y1", Take: 1}, {Lock: "z", Limit: 2, Take: 1}, {Lock: "z", Limit: 4, Take: 3},
}

func (w *world) locker(name string, d draws) *locker {
	k := &locker{c: w.client(name, d), ttl: d.between(time.Second, 5*time.Second)}
	k.open()
	return k
}

func (k *locker) open() {
	k.c.open(k.ttl, func(s *session) {
		k.s = s
		s.onEnd = func() {
			if !k.c.w.stopping {
				k.open()
			}
		}
		k.next()
	})
}

// next begins with the next lock, in a while.
func (k *locker) next() {
	d, s := k.c.draws, k.s
	k.c.w.by(k.c.process, d.between(0, 200*time.Millisecond), func() {
		switch {
		case s.ended || k.s != s:
		case k.c.w.stopping:
			s.close()
		case len(k.held) > 0 && d.one(2):
			k.release()
		case d.one(60):
			s.close()
		default:
			k.acquire()
		}
	})
}

func (k *locker) acquire() {
	d, s := k.c.draws, k.s
	want := pick(d, theLocks)
	wait := time.Duration(0)
	if !d.one(3) {
		wait = d.between(0, 4*time.Second)
	}
	envelope, answered := s.envelope()
	r := &request{commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: envelope(), Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{
			Session: s.id, Lock: want.Lock, Shared: want.Shared, Limit: want.Limit, Take: want.Take, Wait: int64(wait), Note: k.c.name,
		}}}}
	}}
	k.c.call(r, options{kind: "acquire", patience: wait + 2*time.Second, over: func() bool { return s.ended }}, func(res *response) {
		answered()
		if res.ok() && res.outcomes[0].Refusal == nil {
			token := res.outcomes[0].Reply.(*v1.AcquireLockResponse).Token
			if !s.ended {
				s.keeper.Hold(token)
			}
			k.held = append(k.held, heldLock{want.Lock, token})
			k.c.w.crew.hearLock(want.Lock, token)
			if want.Limit == 0 && !want.Shared {
				k.c.w.by(k.c.process, d.between(0, 100*time.Millisecond), func() {
					k.c.w.register.write(k.c, "lock/"+want.Lock, token, func(bool) {})
				})
			}
		}
		if k.s == s {
			k.next()
		}
	})
}

func (k *locker) release() {
	s := k.s
	at := k.c.draws.IntN(len(k.held))
	h := k.held[at]
	k.held = append(k.held[:at:at], k.held[at+1:]...)
	r := &request{commands: func() []*logv1.Command {
		return []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: h.lock, Token: h.token}}}}
	}}
	k.c.call(r, options{kind: "unlock"}, func(*response) {
		s.keeper.Drop(h.token)
		if k.s == s {
			k.next()
		}
	})
}
