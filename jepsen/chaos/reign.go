package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/lab"
)

// lookEvery is how often a node is asked whether it leads: a reign that is shorter may be missing on the page, where it is
// shown and nowhere counted.
const lookEvery = 100 * time.Millisecond

// reigns keeps when a node said that it leads, for the page. Two that say so at once are no violation: the older one does
// not know yet, and nothing that it answers may show it.
func (w *world) reigns(ctx context.Context, n *lab.Node) {
	name := fmt.Sprintf("node %d leads", n.Number)
	var since time.Duration // zero: it does not lead
	for {
		leads, now := false, w.history.Now()
		if s := w.status(n); s != nil {
			leads = s.State == "Leader"
		}
		switch over := ctx.Err() != nil; {
		case leads && since == 0 && !over:
			since = now
		case since != 0 && (!leads || over):
			w.report.reigned(span{Name: name, From: since, To: now, Observed: true})
			since = 0
		}
		if ctx.Err() != nil {
			return
		}
		pause(ctx, lookEvery)
	}
}

func (r *report) reigned(s span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leads = append(r.leads, s)
}
