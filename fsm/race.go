package fsm

import (
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Of the waits in a race one completes. Which one follows from the order in which things happen: a signal or a decision is a
// command, and so comes before the tick of its entry; a tick takes timers in its own order (Machine.tick); and waits that are
// over as they begin are begun in the order of the definition.

// lost says whether another of a run's race has completed: then the run is skipped, and not begun.
func (i *instance) lost(at at) bool {
	_, lost := i.winner(at)
	return lost && !plant.Is(plant.RaceWonTwice)
}

// winner is the step of a run's race that has completed, if it is another.
func (i *instance) winner(at at) (step string, ok bool) {
	for _, rival := range i.step(at).Rivals {
		if i.run(at.beside(rival)).State == v1.RunState_RUN_STATE_COMPLETED {
			return i.graph.Nodes[rival].ID, true
		}
	}
	return "", false
}

// skipLost skips a run whose race another has won.
func (t *turn) skipLost(i *instance, at at) {
	step, _ := i.winner(at)
	t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_SKIPPED, code: "RACE_LOST", reason: "step " + step + " completed first"})
}

// endRace skips the others of a completed run's race that have not ended, and returns them.
func (t *turn) endRace(i *instance, won at) (skipped []at) {
	for _, rival := range i.step(won).Rivals {
		if other := won.beside(rival); !ended(i.run(other).State) {
			postponed := i.run(other).Todo > 0
			t.skipLost(i, other)
			skipped = append(skipped, other)
			if postponed && len(i.step(other).Needs) == 0 { // those behind it were to be begun with it
				t.activateFrom(i, other.node+1, i.frame(other))
			}
		}
	}
	return skipped
}
