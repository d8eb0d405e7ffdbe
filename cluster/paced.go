package cluster

import (
	"context"
	"time"
)

const (
	// pacedShare is which part of the time each of what is done in slices takes at most: behind a slice it rests for so many times as long as that
	// took, from proposing it until it was applied. So a cluster that is busy, and answers later, does less of it.
	pacedShare = 4
	pacedRest  = 10 * time.Millisecond // at least
)

// paced has a slice of something long be done again and again, while this node leads and until the group ends. slice proposes it, and says
// whether there may be more; where there is not, it looks again as often as every says. A slice whose outcome is not known may have been
// applied, or not: the next goes on from where the state says.
func (g *group) paced(every time.Duration, slice func(context.Context) (more bool)) {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-g.end:
			return
		case <-g.failed:
			return
		case <-timer.C:
		}
		rest, began := every, time.Now()
		if g.leads() && slice(g.life) {
			rest = min(every, max(pacedRest, pacedShare*time.Since(began)))
		}
		timer.Reset(rest)
	}
}
