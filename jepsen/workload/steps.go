package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Definitions are the workflows of the workloads: one whose steps are leased by name, one whose steps are polled, with
// locks of every kind, and both with rate limits; seven whose instances are undone, of which one calls another, and one holds locks; two that wait; one that
// schedules start; one for signals by key; one that is started under ids that are taken; one that operators take in hand; one that is set back; one of crowds; and one of which another engine does a step.
var Definitions = []string{`
workflow: named
steps:
  a: {queue: nobody}
  b: {needs: [a], queue: nobody, limits: [{key: "calls/${input.hot}", limit: 2, per: 4s}]}
  c: {needs: [a], queue: nobody, locks: ["hot/${input.hot}"]}
  d: {needs: [b, c], queue: nobody}
`, `
workflow: polled
steps:
  take: {queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, limits: [{key: takes, limit: 100, per: 2s}]}
  both: {needs: [take], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: ["left/${input.hot}", "right/${input.hot}"]}
  some: {needs: [take], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: [{name: permits-3, limit: 3, take: 1}, {name: "many/${input.hot}", shared: true}]}
  end: {needs: [both, some], queue: work, retry: {attempts: 50, backoff: 100ms, maxBackoff: 1s}, locks: ["many/${input.hot}"]}
`, saga, row, bill, trade, parcel, move, fleet, offer, rush, beat, letter, turn, hand, redo, crowd, book}

// Limited are how many rate limits the steps have that have some, by workflow and step.
var Limited = map[string]int{"named/b": 1, "polled/take": 1}

// Named starts instances and takes each of their steps by name, until the context ends, and reads them in between.
func (r *Recorder) Named(ctx context.Context, c *client.Client, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(lane)))
	for n := 0; ctx.Err() == nil; n++ {
		r.named(ctx, c, fmt.Sprintf("named-%d-%d", lane, n), chance)
	}
}

func (r *Recorder) named(ctx context.Context, c *client.Client, id string, chance *rand.Rand) {
	calling, cancel := call(ctx)
	defer cancel()
	session, err := c.OpenSession(calling, client.SessionConfig{TTL: 5 * time.Second})
	if err != nil {
		return
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = session.Close(closing) // it ends by itself
	}()
	hot := map[string]any{"hot": chance.IntN(3)}
	if r.Do(check.Op{Kind: "start", Instance: id}, func(*check.Op) error { _, err := c.Start(calling, "named", id, hot, client.StartOptions{}); return err }) != nil {
		return
	}
	order := []string{"a", "b", "c", "d"}
	if chance.IntN(2) == 0 {
		order = []string{"a", "c", "b", "d"}
	}
	for _, step := range order {
		err := r.step(ctx, session, id, step, 5*time.Second, chance)
		if refusal, ok := client.AsRefusal(err); err != nil && !(ok && refusal.Code == v1.Code_CODE_ALREADY_DONE) {
			return
		}
		_ = r.read(ctx, c, id) // what it says is compared later
	}
}

// Contend leases and completes by name steps of the instances that others are at, until the context ends: of those who
// ask for one run, each completion has one winner.
func (r *Recorder) Contend(ctx context.Context, c *client.Client, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, uint64(8000+lane)))
	for ctx.Err() == nil {
		calling, cancel := call(ctx)
		session, err := c.OpenSession(calling, client.SessionConfig{TTL: 5 * time.Second})
		cancel()
		if err != nil {
			continue
		}
		for range 20 {
			if id := r.instances.any(chance); id != "" {
				do := r.step
				if chance.IntN(3) == 0 {
					do = r.keep // until the session ends, with several leases
				}
				_ = do(ctx, session, id, string("abcd"[chance.IntN(4)]), 100*time.Millisecond, chance) // its outcome is on record
			}
			pause(ctx, time.Duration(20+chance.IntN(60))*time.Millisecond)
		}
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		_ = session.Close(closing) // it ends by itself
		cancel()
	}
}

func (r *Recorder) step(ctx context.Context, session *client.Session, id, step string, wait time.Duration, chance *rand.Rand) error {
	calling, cancel := call(ctx)
	defer cancel()
	lease, err := r.lease(calling, session, id, step, wait)
	if err != nil {
		return err
	}
	if chance.IntN(20) == 0 {
		return r.Do(check.Op{Kind: "release", Instance: id, Step: step, Token: lease.Token}, func(*check.Op) error { return lease.Release(calling, "chance") })
	}
	return r.Do(check.Op{Kind: "complete", Instance: id, Step: step, Token: lease.Token}, func(*check.Op) error {
		_, err := lease.Complete(calling, map[string]any{"token": lease.Token})
		if err == nil {
			r.instances.note(id)
		}
		return err
	})
}

func (r *Recorder) lease(ctx context.Context, session *client.Session, id, step string, wait time.Duration) (lease *client.Lease, err error) {
	err = r.Do(check.Op{Kind: "lease", Instance: id, Step: step}, func(op *check.Op) (err error) {
		if lease, err = session.LeaseStep(ctx, client.LeaseOptions{Instance: id, Step: step, Wait: wait}); err == nil {
			op.Token = lease.Token
		}
		return err
	})
	return lease, err
}

// keep leases a step and does nothing with it.
func (r *Recorder) keep(ctx context.Context, session *client.Session, id, step string, wait time.Duration, _ *rand.Rand) error {
	calling, cancel := call(ctx)
	defer cancel()
	_, err := r.lease(calling, session, id, step, wait)
	return err
}

// read is a linearizable one.
func (r *Recorder) read(ctx context.Context, c *client.Client, id string) error {
	calling, cancel := call(ctx)
	defer cancel()
	return r.Do(check.Op{Kind: "read", Instance: id}, func(op *check.Op) error {
		i, err := c.Get(calling, id)
		if err != nil {
			return err
		}
		op.Seen = completed(i)
		return nil
	})
}

func completed(i *v1.Instance) (steps []string) {
	for _, run := range i.Runs {
		if run.State == v1.RunState_RUN_STATE_COMPLETED {
			steps = append(steps, check.RunName(run.Step, run.Index))
		}
	}
	return steps
}

// Start starts instances for the workers' queue until the context ends, while no more than most of them run.
func (r *Recorder) Start(ctx context.Context, c *client.Client, lane int, seed uint64, every time.Duration, most int) {
	chance := rand.New(rand.NewPCG(seed, uint64(1000+lane)))
	running := backlog{most: most}
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("polled-%d-%d", lane, n)
		if !running.take(ctx, id, ends(c)) {
			return
		}
		calling, cancel := call(ctx)
		_ = r.Do(check.Op{Kind: "start", Instance: id}, func(*check.Op) error {
			_, err := c.Start(calling, "polled", id, map[string]any{"hot": chance.IntN(3)}, client.StartOptions{})
			return err
		}) // its outcome is on record
		cancel()
		pause(ctx, every)
	}
}

// Work is a worker process: it takes steps of the queue, writes to the register under its token whatever its context
// says by then, as a program that was stopped would, and completes, or fails if it is told to.
func Work(ctx context.Context, servers []string, register, name string, ttl time.Duration) error {
	c, err := client.New(client.Config{Servers: servers, Author: name})
	if err != nil {
		return err
	}
	defer c.Close()
	var done atomic.Int64 // the token that is being completed; what is answered else is a failure or a release
	chance := rand.New(rand.NewPCG(uint64(len(name)), uint64(name[len(name)-1])))
	w, err := c.Worker(client.WorkerConfig{
		Queues: []string{"work"}, Concurrency: 1, Grace: -1, Session: client.SessionConfig{TTL: ttl, Worker: name},
		Answered: func(s *client.Step, err error) {
			if err == nil && done.CompareAndSwap(s.Token, 0) {
				go func() {
					_ = post(register, Write{Lease: s.InstanceID + "/" + check.RunName(s.Step, s.Index), Token: s.Token, Completed: true}) // what is not told is not checked
				}()
			}
		},
		Handler: func(_ context.Context, s *client.Step) (any, error) {
			time.Sleep(time.Duration(10+chance.IntN(60)) * time.Millisecond) // the work itself
			names := []string{s.IdempotencyKey}
			for _, l := range s.Locks {
				if l.Slot == 0 && !l.Shared {
					names = append(names, "lock/"+l.Lock)
				}
			}
			for _, lease := range names {
				if err := post(register, Write{Lease: lease, Token: s.Token}); err != nil {
					return nil, err
				}
			}
			if code := chosen(s); code != "" {
				return nil, client.Fail(code, "the step is to fail here")
			}
			done.Store(s.Token)
			return map[string]any{"token": s.Token}, nil
		},
	})
	if err != nil {
		return err
	}
	if err := w.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

func post(register string, w Write) error {
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	res, err := http.Post(register, "application/json", bytes.NewReader(b))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusConflict {
		return fmt.Errorf("the register says %s", res.Status)
	}
	return nil // a refusal is the register's to remember
}

// Finish takes what is left of named instances to its end, now that nothing is broken any more.
func Finish(ctx context.Context, c *client.Client, ids []string) error {
	session, err := c.OpenSession(ctx, client.SessionConfig{TTL: 10 * time.Second})
	if err != nil {
		return err
	}
	defer func() { _ = session.Close(context.WithoutCancel(ctx)) }()
	var errs []error
	for _, id := range ids {
		i, err := c.Get(ctx, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", id, err))
			continue
		}
		if i.State == v1.InstanceState_INSTANCE_STATE_COMPLETED {
			continue
		}
		for _, step := range []string{"a", "b", "c", "d"} {
			if err := finish(ctx, session, id, step); err != nil {
				errs = append(errs, fmt.Errorf("%s: step %s: %w", id, step, err))
				break
			}
		}
	}
	return errors.Join(errs...)
}

func finish(ctx context.Context, session *client.Session, id, step string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	lease, err := session.LeaseStep(ctx, client.LeaseOptions{Instance: id, Step: step, Wait: 15 * time.Second})
	if refusal, ok := client.AsRefusal(err); ok && refusal.Code == v1.Code_CODE_ALREADY_DONE {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = lease.Complete(ctx, nil)
	return err
}
