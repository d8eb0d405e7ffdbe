package main

import (
	"context"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/lab/clock"
)

// clockStep sets the leader's wall clock to another time, and back: others may lead meanwhile, or it again.
func (h *harm) clockStep(ctx context.Context) (bool, error) {
	step := h.between(100*time.Millisecond, 2*time.Hour)
	if h.chance.IntN(2) == 0 {
		step = -step
	}
	return h.clock(ctx, clock.Fault{Offset: step})
}

// clockRate has it run at half to three times its rate.
func (h *harm) clockRate(ctx context.Context) (bool, error) {
	return h.clock(ctx, clock.Fault{Rate: 2.5*h.chance.Float64() - 0.5, Since: time.Now().UnixNano()})
}

func (h *harm) clock(ctx context.Context, f clock.Fault) (bool, error) {
	n := h.leader()
	if n == nil {
		return false, errBusy
	}
	said := len(n.Log())
	if err := n.Clock(f); err != nil {
		return false, err
	}
	h.last(ctx, 2*time.Second, 7*time.Second)
	observed := strings.Contains(n.Log()[said:], clock.Moved)
	return observed, n.Clock(clock.Fault{})
}
