package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
)

// pulse writes without pause and keeps when it was acknowledged: what the cluster could do, seen from outside.
type pulse struct {
	now func() time.Duration

	mu   sync.Mutex // guards beats
	list []beat
}

// beat is one write, of which the cluster said something.
type beat struct{ asked, told time.Duration }

func newPulse(now func() time.Duration) *pulse { return &pulse{now: now} }

func (p *pulse) run(ctx context.Context, c *client.Client) {
	for n := 0; ctx.Err() == nil; n++ {
		asked := p.now()
		calling, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
		// The instance does not exist, which only the log can say.
		_, err := c.Signal(calling, "pulse", "beat", fmt.Sprint(n), nil, client.SignalOptions{})
		cancel()
		if r, ok := client.AsRefusal(err); ok && client.CodeName(r.Code) == "INSTANCE_NOT_FOUND" {
			p.mu.Lock()
			p.list = append(p.list, beat{asked, p.now()})
			p.mu.Unlock()
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// next is when the first write was answered that was asked after a time; zero when none was yet.
func (p *pulse) next(after time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.list, after, func(b beat, after time.Duration) int { return cmp.Compare(b.asked, after) })
	if i == len(p.list) {
		return 0
	}
	return p.list[i].told
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
