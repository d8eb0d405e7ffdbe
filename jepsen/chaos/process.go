package main

import (
	"context"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/lab"
)

func (h *harm) kill(ctx context.Context, nodes ...*lab.Node) (bool, error) {
	if nodes = given(nodes); len(nodes) == 0 {
		return false, errBusy
	}
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			return false, err
		}
	}
	h.strikes(nodes...)
	h.last(ctx, 200*time.Millisecond, 3*time.Second)
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (h *harm) stop(ctx context.Context, n *lab.Node) (bool, error) {
	if n == nil || !n.Running() {
		return false, errBusy
	}
	if err := n.Pause(); err != nil {
		return false, err
	}
	h.strikes(n)
	h.last(ctx, 500*time.Millisecond, 6*time.Second)
	silent := h.status(n) == nil
	return silent, n.Resume()
}

// transfer hands leadership over, again until another leads: another fault may have been in its way.
func (h *harm) transfer(ctx context.Context) (bool, error) {
	if h.leader() == nil {
		return false, errBusy
	}
	return h.until(ctx, 0, 1, func() bool {
		before := h.leader()
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if before == nil || h.handOver(asking) != nil {
			return false
		}
		return shows(ctx, func() bool { after := h.leader(); return after != nil && after != before })
	}), nil
}

// showsWithin bounds how long after an acknowledged hand-over the new leader may be looked for: it is known to others
// before it says so itself.
const showsWithin = 2 * time.Second

// shows waits for what is about to be seen, and says whether it was.
func shows(ctx context.Context, seen func() bool) bool {
	for limit := time.Now().Add(showsWithin); !seen(); pause(ctx, 10*time.Millisecond) {
		if ctx.Err() != nil || !time.Now().Before(limit) {
			return false
		}
	}
	return true
}

func (h *harm) rolling(ctx context.Context) (bool, error) {
	nodes := given(h.all())
	for _, n := range nodes {
		if err := n.Stop(); err != nil {
			return false, err
		}
		if err := n.Start(); err != nil {
			return false, err
		}
		if err := h.ready(ctx, n, 30*time.Second); err != nil {
			return false, err
		}
	}
	return len(nodes) > 0, nil
}
