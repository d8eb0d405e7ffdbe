package cluster

import (
	"context"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

const (
	// retainEvery is how often a leader looks whether something is over its time.
	retainEvery = time.Second
	// retainShare is which part of the time removal takes at most: behind a slice it rests for so many times as long as that took, from proposing it
	// until it was applied. So a cluster that is busy, and answers later, removes less.
	retainShare = 4
	retainRest  = 10 * time.Millisecond // at least
)

// retain has what is over its time be removed, a slice an entry, while this node leads and until the group ends. Where nothing is, it
// proposes nothing.
func (g *group) retain() {
	timer := time.NewTimer(retainEvery)
	defer timer.Stop()
	for {
		select {
		case <-g.end:
			return
		case <-g.failed:
			return
		case <-timer.C:
			timer.Reset(g.retainSlices(g.life))
		}
	}
}

// retainSlices proposes a slice for each namespace that has something to remove, and says for how long to rest.
func (g *group) retainSlices(ctx context.Context) time.Duration {
	if !g.leads() {
		return retainEvery
	}
	var over []string
	_ = g.machine.view(func(m *fsm.Machine) error { // the function returns none
		over = m.Overdue(max(g.config.Wall(), m.Clock().Wall))
		return nil
	})
	began, removed := time.Now(), false
	for _, namespace := range over {
		outcomes, err := g.proposeAll(ctx, []*logv1.Command{{Envelope: &logv1.Envelope{Namespace: namespace}, Body: &logv1.Command_Retain{Retain: &logv1.Retain{}}}})
		if err != nil {
			if ctx.Err() == nil && g.leads() {
				g.logger.Warn("remove what is over its time", "namespace", namespace, "error", err) // the next look finds out what became of it
			}
			return retainEvery
		}
		did, is := outcomes[0].Reply.(*logv1.Retained)
		removed = removed || is && did.Instances+did.Events+did.Ordered > 0
	}
	if !removed {
		return retainEvery // by the time of the entry nothing was over, or it is needed for a moment
	}
	return min(retainEvery, max(retainRest, retainShare*time.Since(began)))
}
