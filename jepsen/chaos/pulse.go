package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
)

// pulse writes without pause and keeps when it was acknowledged: what the cluster could do, seen from outside. Several
// clients may write for it.
type pulse struct {
	now func() time.Duration

	mu   sync.Mutex // guards list
	list []beat     // in the order in which they were told
}

// beat is one write, of which the cluster said something.
type beat struct{ asked, told time.Duration }

func newPulse(now func() time.Duration) *pulse { return &pulse{now: now} }

const beatEvery = 20 * time.Millisecond

func (p *pulse) run(ctx context.Context, c *client.Client, every time.Duration) {
	for n := 0; ctx.Err() == nil; n++ {
		asked := p.now()
		calling, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
		// The instance does not exist, which only the log can say.
		_, err := c.Signal(calling, "pulse", "beat", fmt.Sprint(n), nil, client.SignalOptions{})
		cancel()
		if r, ok := client.AsRefusal(err); ok && client.CodeName(r.Code) == "INSTANCE_NOT_FOUND" {
			p.mu.Lock()
			p.list = append(p.list, beat{asked, p.now()}) // under the lock: in order
			p.mu.Unlock()
		}
		pause(ctx, every)
	}
}

// next is when the first write was answered that was asked after a time; zero when none was yet.
func (p *pulse) next(after time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.list {
		if b.asked >= after {
			return b.told
		}
	}
	return 0
}

// took is how long each write took that was answered between two times, from when it was due: the next is due beatEvery after
// an answer, whether it was asked then, or only after others that got none. One that waits stands for all that would have
// been asked meanwhile: a silence counts for as long as it lasts.
func (p *pulse) took(from, to time.Duration) (out []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := time.Duration(-1)
	for _, b := range p.list {
		if due < 0 {
			due = b.asked
		}
		if b.told > from && b.told < to {
			for waited := b.told - due; waited > 0; waited -= beatEvery {
				out = append(out, waited)
			}
		}
		due = b.told + beatEvery
	}
	return out
}

// longest is the longest time without an answer between two times.
func (p *pulse) longest(from, to time.Duration) (gap time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := from
	for _, b := range p.list {
		if b.told > from && b.told < to {
			gap = max(gap, b.told-last)
			last = b.told
		}
	}
	return max(gap, to-last)
}
