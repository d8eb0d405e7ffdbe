package bench

import (
	"context"
	"sync"
	"time"
)

// offered is an open loop: instances fall due at a rate, whatever becomes of them, and workers wait for their runs with all
// their credit. As many instances as are to live beside them rest in a queue of which nobody takes runs before the
// window is over.
//
// A cycle's time counts from when the cycle before it in its instance was acknowledged, of the first from when the instance
// was due to be started. So the times of an instance's cycles add up to that from when it was due until its end was
// known, and nothing that waits is left out.
type offered struct {
	load  *load
	every time.Duration // an instance falls due
	began time.Duration
	first int64 // number of the instance that was due then

	mu    sync.Mutex               // guards acked
	acked map[string]time.Duration // by instance: when its newest cycle was acknowledged
}

func newOffered(l *load) *offered {
	every := time.Duration(float64(time.Second) * float64(l.t.Steps) / l.t.Rate)
	return &offered{load: l, every: every, began: l.now(), first: l.chain.started.Load(), acked: map[string]time.Duration{}}
}

// offer has instances fall due until the channel is closed or the context ends.
func (o *offered) offer(ctx context.Context, until <-chan struct{}) error {
	tick := time.NewTicker(max(min(o.every, time.Second), time.Millisecond))
	defer tick.Stop()
	for due := o.began; ; {
		for ; due <= o.load.now(); due += o.every {
			select {
			case o.load.chain.wanted <- 1:
			case <-until:
				return nil
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-until:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// since says from when the time of a cycle counts that was acknowledged now.
func (o *offered) since(h held, now time.Duration) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	since, found := o.acked[h.instance]
	if !found {
		since = o.began + time.Duration(o.load.chain.number(h.instance)-o.first)*o.every
	}
	if h.last {
		delete(o.acked, h.instance)
	} else {
		o.acked[h.instance] = now
	}
	return since
}
