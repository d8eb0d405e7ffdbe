package cluster

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

const (
	// pacedShare is which part of the time each of what is done in slices takes at most: behind a slice it rests for so many times as long as that
	// took, from proposing it until it was applied. So a cluster that is busy, and answers later, does less of it.
	pacedShare = 4
	pacedRest  = 10 * time.Millisecond // at least

	// pacedApply is what a slice is to take of the state machine: everything else waits for that long.
	pacedApply = 2 * time.Millisecond
	pacedLeast = 5 // instances of a slice
)

// paced is something long that is done in slices, an entry for each namespace that has something to do, while a node leads.
type paced struct {
	what  string                                 // for the log
	every time.Duration                          // between looks, where there is nothing to do
	due   func(*fsm.Machine) (names []string)    // the namespaces
	slice func(most int32) *logv1.Command        // of so many instances at most; zero is as many as there may be
	more  func(reply proto.Message) (again bool) // says what became of one

	bound int32        // instances that a slice may be of
	most  atomic.Int32 // and that the next is of
}

// took takes in how long a slice was applied, and has the next be smaller, or larger: what instances take differs, by what they have and by
// how far from memory that is.
func (p *paced) took(apply time.Duration) {
	most := p.most.Load()
	switch {
	case apply > 2*pacedApply:
		most /= 2
	case apply > pacedApply:
		most -= most / 8
	default:
		most += 2
	}
	p.most.Store(min(max(most, pacedLeast), p.bound))
}

// pace does the next slices again and again, until the group ends. Where nothing is to be done it proposes nothing. A slice whose outcome is not known
// may have been applied, or not: the next goes on from where the state says.
func (g *group) pace(p *paced) {
	timer := time.NewTimer(p.every)
	defer timer.Stop()
	for {
		select {
		case <-g.end:
			return
		case <-g.failed:
			return
		case <-timer.C:
		}
		rest, began := p.every, time.Now()
		if g.leads() && g.slices(g.life, p) {
			rest = min(p.every, max(pacedRest, pacedShare*time.Since(began)))
		}
		timer.Reset(rest)
	}
}

// slices does the next slice of each namespace, and says whether there may be more.
func (g *group) slices(ctx context.Context, p *paced) (more bool) {
	var names []string
	_ = g.machine.view(func(m *fsm.Machine) error { // the function returns none
		names = p.due(m)
		return nil
	})
	for _, namespace := range names {
		most := int32(0)
		if g.level() >= fsm.SizedLevel {
			most = p.most.Load()
		}
		c := p.slice(most)
		c.Envelope = &logv1.Envelope{Namespace: namespace}
		outcomes, err := g.proposeAll(ctx, []*logv1.Command{c})
		if err != nil {
			if ctx.Err() == nil && g.leads() {
				g.logger.Warn(p.what, "namespace", namespace, "error", err) // the next look finds out what became of it
			}
			return false
		}
		more = p.more(outcomes[0].Reply) || more
	}
	return more
}
