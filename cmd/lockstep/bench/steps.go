package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// load is one run of workers on a chain: instances first, then warm-up, the window that is measured, and then the end of
// every instance, so that all of them can be verified.
type load struct {
	t       *target
	chain   *chain
	workers []*worker
	calling []*caller // in place of workers
	offered *offered  // nil: the loop is closed
	zero    time.Time
	feeds   atomic.Bool

	cycles     atomic.Int64 // in all
	from, till atomic.Int64 // the window, in nanoseconds since zero; none while from is zero
	inWindow   atomic.Int64
}

func (l *load) now() time.Duration { return time.Since(l.zero) }

// done counts a cycle, and says whether it is in the window.
func (l *load) done(now time.Duration) bool {
	l.cycles.Add(1)
	from, till := l.from.Load(), l.till.Load()
	if from == 0 || int64(now) < from || till != 0 && int64(now) >= till {
		return false
	}
	l.inWindow.Add(1)
	return true
}

// steps measures cycles of steps over worker streams.
func steps(ctx context.Context, t *target) (Figures, error) {
	figures, l, err := t.drive(ctx)
	if err != nil {
		return nil, err
	}
	figures["stepCyclesPerSecond"] = float64(l.inWindow.Load()) / figures["seconds"]
	// What a cycle costs all servers together: unlike the rate it hardly depends on who else uses the machine.
	figures["serverCpuMicrosPerCycle"] = 1e6 * figures["serverCpuCores"] / max(1, figures["stepCyclesPerSecond"])
	if t.Rate > 0 {
		figures["rate"] = t.Rate
		if behind(t.Rate, figures["seconds"], figures["cycles"]) {
			t.problem("the cluster did %.0f of %.0f cycles a second that were due: the times are those of a growing queue", figures["stepCyclesPerSecond"], t.Rate)
		}
	}
	return figures, nil
}

// behind says that a cluster does not keep up with a rate: it is short of more than a twentieth of what fell due, and of more
// than falls due in a second, which may be on its way when a short window ends.
func behind(rate, seconds, done float64) bool {
	return rate*seconds-done > max(rate*seconds/20, rate)
}

// drive runs a load on a chain from its first instance to the last.
func (t *target) drive(ctx context.Context) (_ Figures, l *load, err error) {
	l = &load{t: t, zero: time.Now()}
	if l.chain, err = newChain(ctx, t); err != nil {
		return nil, nil, err
	}
	defer l.chain.client.Close()
	meter, err := t.watch(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer meter.cancel()
	figures := Figures{}
	t.Say(fmt.Sprintf("starting %d instances", t.Instances))
	if figures["startsPerSecond"], err = l.chain.fill(ctx); err != nil {
		return nil, nil, err
	}
	if err := l.work(ctx, figures); err != nil {
		return nil, nil, err
	}
	if err := meter.stop(ctx, figures); err != nil {
		return nil, nil, err
	}
	return figures, l, l.check(ctx, figures)
}

// work has the workers work until every instance has ended.
func (l *load) work(ctx context.Context, figures Figures) (err error) {
	end, err := l.recruit(ctx)
	defer func() { err = errors.Join(err, end()) }()
	if err != nil {
		return err
	}
	working, stop := context.WithCancelCause(ctx)
	fed := make(chan struct{})
	var tasks sync.WaitGroup
	task := func(do func(context.Context) error) {
		tasks.Go(func() {
			if err := do(working); err != nil {
				stop(err)
			}
		})
	}
	l.feeds.Store(!l.t.offers())
	if l.t.offers() {
		l.offered = newOffered(l)
	}
	task(func(ctx context.Context) error { return l.chain.feed(ctx, fed) })
	for _, w := range l.workers {
		task(w.run)
	}
	for _, c := range l.calling {
		task(c.run)
	}
	if l.offered != nil {
		task(func(ctx context.Context) error { return l.offered.offer(ctx, fed) })
	}
	err = l.window(working, figures)
	l.feeds.Store(false)
	close(fed)
	if err == nil {
		err = l.drain(working)
	}
	if failed := context.Cause(working); failed != nil {
		err = failed
	}
	stop(nil)
	tasks.Wait()
	return err
}

// recruit brings workers, or callers in their place. It returns what sends them home also when it fails.
func (l *load) recruit(ctx context.Context) (end func() error, err error) {
	if l.t.Unary {
		l.calling, end, err = l.callers(ctx)
		if err != nil {
			return func() error { return nil }, err
		}
		return end, nil
	}
	end = func() (err error) {
		for _, w := range l.workers {
			err = errors.Join(err, w.close())
		}
		return err
	}
	for range l.t.Workers {
		w, err := l.newWorker(ctx)
		if err != nil {
			return end, err
		}
		l.workers = append(l.workers, w)
	}
	return end, nil
}

// window lets the workers warm up, and measures.
func (l *load) window(ctx context.Context, figures Figures) error {
	if err := l.tell(ctx, "warming up", l.t.WarmUp); err != nil {
		return err
	}
	before, err := l.t.usage(ctx)
	if err != nil {
		return err
	}
	from := l.now()
	l.from.Store(int64(from))
	profiled := l.t.profile(ctx)
	drawn := l.t.pace("cycles", l.cycles.Load)
	err = errors.Join(l.tell(ctx, "measuring", l.t.Seconds), profiled())
	drawn()
	if err != nil {
		return err
	}
	till := l.now()
	l.till.Store(int64(till))
	after, err := l.t.usage(ctx)
	if err != nil {
		return err
	}
	after.since(before, figures)
	after.per("Cycle", float64(l.inWindow.Load()), before, figures)
	figures["seconds"] = (till - from).Seconds()
	return nil
}

// tell waits, and says each second how many cycles were done in it.
func (l *load) tell(ctx context.Context, what string, d time.Duration) error {
	for end := l.now() + d; ; {
		left := end - l.now()
		if left <= 0 {
			return nil
		}
		before, began := l.cycles.Load(), l.now()
		if err := pause(ctx, min(left, time.Second)); err != nil {
			return err
		}
		rate := float64(l.cycles.Load()-before) / (l.now() - began).Seconds()
		l.t.Say(fmt.Sprintf("%s: %.0f cycles/s, %d instances live", what, rate, l.chain.live()))
	}
}

// drain has every instance end.
func (l *load) drain(ctx context.Context) error {
	if l.offered != nil {
		for _, w := range l.workers {
			w.want(l.chain.queues()) // those that rested too
		}
	}
	for before, quiet := int64(-1), time.Now(); l.chain.live() > 0; {
		l.t.Say(fmt.Sprintf("%d instances to end", l.chain.live()))
		if now := l.cycles.Load(); now != before {
			before, quiet = now, time.Now()
		} else if time.Since(quiet) > 30*time.Second {
			return fmt.Errorf("%d instances do not end: nothing was done for 30 s", l.chain.live())
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// check verifies what was done, and tells the times of cycles.
func (l *load) check(ctx context.Context, figures Figures) error {
	times := newLatencies()
	for _, w := range l.workers {
		times.merge(w.times)
	}
	for _, c := range l.calling {
		times.merge(c.times)
	}
	l.t.spread("cycle", times)
	figures["p50Ms"], figures["p99Ms"], figures["p999Ms"] = times.ms(50), times.ms(99), times.ms(99.9)
	figures["cycles"], figures["instances"] = float64(l.inWindow.Load()), float64(l.chain.started.Load())
	if want := l.chain.started.Load() * int64(l.t.Steps); l.cycles.Load() != want {
		l.t.problem("%d completions were accepted, and the instances have %d runs", l.cycles.Load(), want)
	}
	l.t.Say("verifying outputs")
	verified, err := l.chain.verify(ctx)
	figures["verified"] = float64(verified)
	return err
}
