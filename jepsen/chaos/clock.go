package main

import (
	"context"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/lab"
	"github.com/lockstep-dev/lockstep/jepsen/lab/clock"
)

// clockStep sets the leader's wall clock to another time, and back: others may lead meanwhile, or it again. The log's wall time never goes back:
// behind a leap ahead no date comes until the clocks have made up for it. So long leaps come late in a run.
func (h *harm) clockStep(ctx context.Context) (bool, error) {
	const least, short, long = 100 * time.Millisecond, 5 * time.Second, 2 * time.Hour
	if h.chance.IntN(2) == 0 {
		return h.clock(ctx, clock.Fault{Offset: -h.between(least, long)})
	}
	most := short
	if h.history.Now() > h.Time*2/3 {
		most = long
	}
	return h.clock(ctx, clock.Fault{Offset: h.between(least, most)})
}

// clockRate has it run at half to three times its rate.
func (h *harm) clockRate(ctx context.Context) (bool, error) {
	return h.clock(ctx, clock.Fault{Rate: 2.5*h.chance.Float64() - 0.5, Since: time.Now().UnixNano()})
}

// clock moves the leader's clock. Nobody else reads its own: when others led before it was read, theirs is moved.
func (h *harm) clock(ctx context.Context, f clock.Fault) (observed bool, err error) {
	for range 5 {
		if observed, err = h.clockOnce(ctx, f); observed || err != nil {
			break
		}
	}
	return observed, err
}

func (h *harm) clockOnce(ctx context.Context, f clock.Fault) (bool, error) {
	n := h.leader()
	if n == nil || !h.takeClock(n) {
		return false, errBusy
	}
	defer h.giveClock(n)
	said := len(n.Log())
	if err := n.Clock(f); err != nil {
		return false, err
	}
	h.last(ctx, 2*time.Second, 7*time.Second)
	observed := strings.Contains(n.Log()[said:], clock.Moved)
	return observed, n.Clock(clock.Fault{})
}

// takeClock reserves a node's clock, unless another fault has it.
func (h *harm) takeClock(n *lab.Node) bool {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	free := !h.moved[n]
	h.moved[n] = true
	return free
}

func (h *harm) giveClock(n *lab.Node) {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	delete(h.moved, n)
}
