package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/client/core"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// runner is one Run of a worker: the driver of a core.Worker.
type runner struct {
	*Worker
	// values is Run's context: handlers get its values, and the worker stops when it ends.
	values context.Context
	zero   time.Time
	// wake has the sender look for something to send.
	wake     chan struct{}
	handlers sync.WaitGroup
	// quiet is closed when the worker has stopped.
	quiet chan struct{}

	mu    sync.Mutex
	core  *core.Worker
	steps map[int64]*working
}

// working is a run that a handler works on, or whose result is unanswered.
type working struct {
	step    *Step
	session *Session
	cancel  context.CancelCauseFunc
}

func (r *runner) now() time.Duration { return time.Since(r.zero) }

// run serves sessions, one after the other, until the worker has stopped.
func (r *runner) run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer r.handlers.Wait()
	var stopper sync.WaitGroup
	stopper.Go(func() { r.stop(work, cancel) })
	defer stopper.Wait()
	defer cancel()
	for work.Err() == nil && !r.stopped() {
		opening := ctx
		if !r.idle() {
			opening = work
		}
		session, err := r.c.OpenSession(opening, r.config.Session)
		switch {
		case opening.Err() != nil:
			r.update(nil, func(w *core.Worker) { w.Drain() })
			continue
		case err != nil:
			return err
		}
		r.serve(work, session)
		closing, done := context.WithTimeout(context.WithoutCancel(ctx), session.TTL()/2)
		if err := session.Close(closing); err != nil {
			r.c.logger.Info("session left to expire", "session", session.ID(), "error", err)
		}
		done()
	}
	return nil
}

// stop ends the worker when its context does: no more runs, then time for those that run, then their end.
func (r *runner) stop(work context.Context, end context.CancelFunc) {
	defer end()
	select {
	case <-r.values.Done():
	case <-work.Done():
		return
	}
	r.update(nil, func(w *core.Worker) { w.Drain() })
	if r.settle(work, r.config.Grace) {
		return
	}
	r.interrupt(ErrStopping)
	if r.settle(work, lastGrace) {
		return
	}
	r.update(nil, func(w *core.Worker) { w.GiveUp("the worker stopped") })
	r.settle(work, lastGrace)
}

// settle waits for at most d until all results are answered, and says whether they are.
func (r *runner) settle(work context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-r.quiet:
		return true
	case <-work.Done():
	case <-timer.C:
	}
	return false
}

// stopped says that the worker takes nothing more, and that all results are answered.
func (r *runner) stopped() bool {
	select {
	case <-r.quiet:
		return true
	default:
		return false
	}
}

func (r *runner) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.Idle()
}

// interrupt ends the contexts of all handlers.
func (r *runner) interrupt(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.steps {
		s.cancel(cause)
	}
}

// update changes the core, and does what it then wants: new runs start under session.
func (r *runner) update(session *Session, change func(*core.Worker)) {
	r.mu.Lock()
	change(r.core)
	for _, run := range r.core.Start() {
		r.start(session, run)
	}
	for _, token := range r.core.Lost() {
		if s := r.steps[token]; s != nil {
			s.session.interrupt(token, ErrLeaseLost)
		}
	}
	answers := r.core.Done()
	steps := make([]*Step, len(answers))
	for i, a := range answers {
		if s := r.steps[a.Run.Token]; s != nil {
			s.session.drop(a.Run.Token, ErrReleased)
			delete(r.steps, a.Run.Token)
			steps[i] = s.step
		}
	}
	if r.core.Stopped() && !r.stopped() {
		close(r.quiet)
	}
	r.mu.Unlock()
	for i, a := range answers {
		r.answered(steps[i], a)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// start has a handler do a run. The caller holds the mutex.
func (r *runner) start(session *Session, run *v1.LeasedRun) {
	h := session.hold(r.values, run.Token)
	step := newStep(r.c, run, time.Now(), h.cancel)
	r.steps[run.Token] = &working{step, session, h.cancel}
	r.handlers.Go(func() {
		result := r.do(h.ctx, step)
		r.update(session, func(w *core.Worker) { w.Finished(step.Token, result) })
	})
}

// answered tells what became of a result.
func (r *runner) answered(step *Step, a core.Answer) {
	if step == nil { // released before it began
		return
	}
	var err error
	if a.Refusal != nil {
		err = newRefusal(a.Refusal, nil)
		r.c.logger.Warn("result refused", "instance", step.InstanceID, "step", step.Step, "token", step.Token, "error", err)
	} else if a.Result.Outcome == core.Dropped {
		err = ErrLeaseLost
	}
	if r.config.Answered != nil {
		r.config.Answered(step, err)
	}
}

func (r *runner) message() (*v1.WorkRequest, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.Message(r.now())
}

// rest waits until there may be something to send: at again if that is not zero, and after any change. The error says why
// there will not be.
func (r *runner) rest(ctx context.Context, again time.Duration, ended <-chan error) error {
	var timer <-chan time.Time
	if again > 0 {
		t := time.NewTimer(again - r.now())
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-r.wake:
		return nil
	case <-timer:
		return nil
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve works in one session until it is over, or the worker has stopped.
func (r *runner) serve(ctx context.Context, session *Session) {
	ctx, cancel := session.bound(ctx)
	defer cancel()
	poll := r.config.Poll
	for tries := 0; ctx.Err() == nil && !r.stopped(); {
		var opened bool
		var err error
		if poll {
			err = r.poll(ctx, session)
		} else {
			opened, err = r.stream(ctx, session)
		}
		switch {
		case ctx.Err() != nil || err == nil:
			continue
		case isSessionExpired(err):
			session.end(ErrSessionExpired)
			continue
		case errors.Is(err, errNoStreams), connect.CodeOf(err) == connect.CodeUnimplemented: // or a proxy that passes no streams on
			r.c.logger.Info("no stream to the server: polling", "error", err)
			poll = true
			continue
		case opened:
			tries = 0
		}
		r.c.logger.Info("worker reconnects", "session", session.ID(), "error", err)
		pause(ctx, core.Backoff(tries, session.TTL()/200, session.TTL()/6, rand.Float64()))
		tries++
	}
}
