package cluster

import (
	"context"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

const (
	// advanceEvery is how often a leader looks whether a bulk operation runs.
	advanceEvery = 100 * time.Millisecond
	// advanceShare is which part of the time bulk operations take at most: behind a slice they rest for so many times as long as that took, from
	// proposing it until it was applied. So a cluster that is busy, and answers later, does less of them.
	advanceShare = 4
	advanceRest  = 10 * time.Millisecond // at least
)

// advance has bulk operations go on, a slice an entry, while this node leads and until the group ends. Where none runs it proposes nothing.
// A slice whose outcome is not known may have been applied, or not: the next goes on from where the state says.
func (g *group) advance() {
	timer := time.NewTimer(advanceEvery)
	defer timer.Stop()
	for {
		select {
		case <-g.end:
			return
		case <-g.failed:
			return
		case <-timer.C:
			timer.Reset(g.advanceSlices(g.life))
		}
	}
}

// advanceSlices proposes a slice for each namespace in which a bulk operation runs, and says for how long to rest.
func (g *group) advanceSlices(ctx context.Context) time.Duration {
	if !g.leads() {
		return advanceEvery
	}
	var running []string
	_ = g.machine.view(func(m *fsm.Machine) error { // the function returns none
		running = m.Advancing()
		return nil
	})
	began := time.Now()
	for _, namespace := range running {
		_, err := g.proposeAll(ctx, []*logv1.Command{{Envelope: &logv1.Envelope{Namespace: namespace}, Body: &logv1.Command_AdvanceBulk{AdvanceBulk: &logv1.AdvanceBulk{}}}})
		if err != nil {
			if ctx.Err() == nil && g.leads() {
				g.logger.Warn("have bulk operations go on", "namespace", namespace, "error", err)
			}
			return advanceEvery
		}
	}
	if len(running) == 0 {
		return advanceEvery
	}
	return min(advanceEvery, max(advanceRest, advanceShare*time.Since(began)))
}
