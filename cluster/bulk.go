package cluster

import (
	"context"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// advanceEvery is how often a leader looks whether a bulk operation runs.
const advanceEvery = 100 * time.Millisecond

// advance has bulk operations go on, a slice an entry for each namespace in which one runs. Where none does it proposes nothing.
func (g *group) advance() {
	g.paced(advanceEvery, func(ctx context.Context) (more bool) {
		var running []string
		_ = g.machine.view(func(m *fsm.Machine) error { // the function returns none
			running = m.Advancing()
			return nil
		})
		for _, namespace := range running {
			_, err := g.proposeAll(ctx, []*logv1.Command{{Envelope: &logv1.Envelope{Namespace: namespace}, Body: &logv1.Command_AdvanceBulk{AdvanceBulk: &logv1.AdvanceBulk{}}}})
			if err != nil {
				if ctx.Err() == nil && g.leads() {
					g.logger.Warn("have bulk operations go on", "namespace", namespace, "error", err)
				}
				return false
			}
		}
		return len(running) > 0
	})
}
