package fsm

import (
	"fmt"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What goes on by itself inside an instance is bounded as well: steps that are skipped, turns of a loop, items that their conditions
// decide. A run whose needs are settled is begun, or skipped, where that comes to be, until the entry has done so much. Behind that it
// is postponed: it stays PENDING, and is one of the things that are to be done (later.go), in their order. So an entry ends soon
// however much follows from a command, and what follows is the same. Of the runs of a frame that need nothing only the first is
// postponed, and those behind it are begun with it: so an entry that has done its share begins frames for next to nothing.

// workLevel is the cluster level from which on entries are bounded so.
const workLevel = 11

const (
	// workMost bounds what the commands and the tick of an entry do of this, and then again what it does later, in units of 100 ns or
	// so. What is begun below it is done to its end, which the limits of an evaluation bound.
	workMost = 1_000_000
	// RunWork is what it costs to begin a run, or to skip it, without its expressions; and so many bytes are decoded, or written, for
	// one unit.
	RunWork      = 100
	bytesPerWork = 4
)

// LimitWork has entries do less, for tests: all replicas of a log have the same limit.
func (m *Machine) LimitWork(most int) { m.workMost = most }

// worked is what the entry has done, in units of work. It is the same on all replicas.
func (t *turn) worked() int {
	return t.reached*RunWork + int(t.work.Cost) + (t.work.Decoded+t.work.Encoded)/bytesPerWork
}

// tired says that the entry begins nothing more by itself.
func (t *turn) tired() bool {
	return t.worked()-t.before >= t.m.workMost && t.m.level() >= workLevel && !plant.Is(plant.EntryUnbounded)
}

// nextShare has a new share begin: what is done later is not to wait for an entry without commands.
func (t *turn) nextShare() { t.before = t.worked() }

// reach begins a run whose needs are settled, or skips it, or postpones that. What is gated is reached once more when it is not any longer.
func (t *turn) reach(i *instance, at at, verdict joinVerdict) {
	if i.isGated(at) {
		return
	}
	if t.tired() || i.paused() {
		t.postpone(i, at)
		return
	}
	t.enact(i, at, verdict)
}

// postpone leaves to a later entry what is to be done about a run.
func (t *turn) postpone(i *instance, at at) {
	if i.run(at).Todo == 0 {
		t.m.change(i, at, func(r *run) { r.Todo = t.m.nextTodo() })
	}
}

// enact begins a run, or skips it. What has ended with that is told to the worklist of advanceInstance.
func (t *turn) enact(i *instance, at at, verdict joinVerdict) {
	t.reached++
	if verdict == joinSkip {
		t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_SKIPPED})
		t.over = append(t.over, at)
	} else if t.activate(i, at) {
		t.over = append(t.over, at)
	}
}

// takeUp does what was postponed.
func (t *turn) takeUp(i *instance, at at) {
	n := i.step(at)
	switch {
	case i.run(at).State != v1.RunState_RUN_STATE_PENDING:
		t.fill(i, at, len(t.items(i, at)))
	case isCompensation(n):
		t.reached++
		t.activate(i, at)
		return
	case i.isGated(at): // since it was postponed
		return
	case len(n.Needs) == 0:
		t.enact(i, at, joinGo)
		t.activateFrom(i, at.node+1, i.frame(at))
	default:
		t.enact(i, at, i.verdict(at))
	}
	t.advanceInstance(i)
}

// verdict is what the needs of a run have come to, which are settled: it does not change by what ends behind that.
func (i *instance) verdict(at at) joinVerdict {
	if plant.Is(plant.NeedsForgotten) {
		return joinGo
	}
	n, newest := i.step(at), needMet
	for _, need := range n.Needs {
		over := i.run(i.before(at.index, need))
		if n.Join == graph.JoinAll && ended(over.State) && meets(i.graph.Edge(need, int(at.node)), over) == needBarred {
			newest = needBarred
		}
	}
	return joined(n, i.run(at), newest)
}

// activateFrom begins the runs of a frame that need nothing, from a node on, or postpones the first of them.
func (t *turn) activateFrom(i *instance, node int32, f *frame) {
	for n := int(node - f.first); n < len(f.runs); n++ {
		at := f.at(n)
		if len(i.step(at).Needs) > 0 || i.run(at).State != v1.RunState_RUN_STATE_PENDING {
			continue
		}
		t.reach(i, at, joinGo)
		if i.run(at).Todo > 0 && i.run(at).State == v1.RunState_RUN_STATE_PENDING {
			return
		}
	}
}

// undoes begins a compensation, or postpones that.
func (t *turn) undoes(i *instance, at at) {
	if t.tired() || i.paused() {
		t.postpone(i, at)
		return
	}
	t.reached++
	t.activate(i, at)
}

// explainPostponed says of a run that has all that it needs why it is not begun.
func explainPostponed(e *v1.Explanation) {
	e.Sentence = fmt.Sprintf("Step %q waits for nothing: it is decided on in one of the next entries of the log, of which each does so much and no more.", e.Step)
}
