package logstore

import (
	"sync"
	"time"
)

// watch tells when a write lasts too long while this node leads. It asks again and again while the write is
// overdue: a node may come to lead in the middle of a stall.
type watch struct {
	stall func(what string, after time.Duration)
	after time.Duration
	leads func() bool
	end   chan struct{}
	ended chan struct{}

	mu    sync.Mutex // guards what follows
	what  string
	since time.Time // zero while nothing is written
	told  bool
}

// look is how often the watch looks.
const look = 100 * time.Millisecond

func newWatch(after time.Duration, leads func() bool, stall func(string, time.Duration)) *watch {
	w := &watch{stall: stall, after: after, leads: leads, end: make(chan struct{}), ended: make(chan struct{})}
	go w.run()
	return w
}

// begin marks a write; what it returns marks the end. raft writes from one goroutine at a time.
func (w *watch) begin(what string) (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.what, w.since = what, time.Now()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.since = time.Time{}
	}
}

func (w *watch) run() {
	defer close(w.ended)
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-w.end:
			return
		case now := <-ticker.C:
			w.check(now)
		}
	}
}

func (w *watch) check(now time.Time) {
	w.mu.Lock()
	overdue := !w.since.IsZero() && now.Sub(w.since) >= w.after && !w.told
	what, lasted := w.what, now.Sub(w.since)
	w.mu.Unlock()
	if !overdue || w.leads == nil || !w.leads() {
		return
	}
	w.mu.Lock()
	w.told = true
	w.mu.Unlock()
	w.stall(what, lasted)
}

func (w *watch) close() {
	close(w.end)
	<-w.ended
}
