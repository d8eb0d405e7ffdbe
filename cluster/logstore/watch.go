package logstore

import (
	"sync"
	"time"
)

// look is how often the watch looks.
const look = 100 * time.Millisecond

// watch tells when an operation lasts too long while this node leads. It asks again and again while one is overdue: a
// node may come to lead in the middle of a stall. Time in which the process itself did not run, stopped or suspended,
// does not count: the disk had no chance to be seen answering. It keeps one goroutine until close.
type watch struct {
	stall func(what string, after time.Duration)
	after time.Duration
	leads func() bool
	end   chan struct{}
	ended chan struct{}

	mu      sync.Mutex // guards what follows
	running map[*operation]struct{}
	looked  time.Time
}

type operation struct {
	what  string
	since time.Time
}

func newWatch(after time.Duration, leads func() bool, stall func(string, time.Duration)) *watch {
	w := &watch{
		stall: stall, after: after, leads: leads, running: map[*operation]struct{}{},
		end: make(chan struct{}), ended: make(chan struct{}), looked: time.Now(),
	}
	go w.run()
	return w
}

// begin marks an operation; what it returns marks the end. Several may run at a time.
func (w *watch) begin(what string) (done func()) {
	o := &operation{what, time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[o] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.running, o)
	}
}

func (w *watch) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.running) > 0
}

func (w *watch) run() {
	defer close(w.ended)
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-w.end:
			return
		case <-ticker.C:
			now := time.Now() // the tick itself may be from before a pause
			if o, overdue := w.overdue(now); overdue && w.leads != nil && w.leads() {
				w.stall(o.what, now.Sub(o.since))
			}
		}
	}
}

// overdue returns the oldest operation that has lasted too long. It is called every look; what lies between two calls
// beyond twice that is not counted.
func (w *watch) overdue(now time.Time) (oldest operation, found bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if asleep := now.Sub(w.looked) - 2*look; asleep > 0 {
		for o := range w.running {
			o.since = o.since.Add(min(asleep, now.Sub(o.since)))
		}
	}
	w.looked = now
	for o := range w.running {
		if now.Sub(o.since) >= w.after && (!found || o.since.Before(oldest.since)) {
			oldest, found = *o, true
		}
	}
	return oldest, found
}

func (w *watch) close() {
	close(w.end)
	<-w.ended
}
