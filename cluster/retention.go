package cluster

import (
	"context"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// retainEvery is how often a leader looks whether something is over its time.
const retainEvery = time.Second

// retain has what is over its time be removed, a slice an entry for each namespace that has something. Where nothing is, it proposes nothing.
func (g *group) retain() {
	g.paced(retainEvery, func(ctx context.Context) (removed bool) {
		var over []string
		_ = g.machine.view(func(m *fsm.Machine) error { // the function returns none
			over = m.Overdue(max(g.config.Wall(), m.Clock().Wall))
			return nil
		})
		for _, namespace := range over {
			outcomes, err := g.proposeAll(ctx, []*logv1.Command{{Envelope: &logv1.Envelope{Namespace: namespace}, Body: &logv1.Command_Retain{Retain: &logv1.Retain{}}}})
			if err != nil {
				if ctx.Err() == nil && g.leads() {
					g.logger.Warn("remove what is over its time", "namespace", namespace, "error", err) // the next look finds out what became of it
				}
				return false
			}
			did, is := outcomes[0].Reply.(*logv1.Retained)
			removed = removed || is && did.Instances+did.Events+did.Ordered > 0 // if not, by the time of the entry nothing was over, or it is needed for a moment
		}
		return removed
	})
}
