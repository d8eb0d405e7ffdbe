package fsm

import (
	"slices"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A reset that compensates undoes what was completed from its step on, in the order in which an instance is undone, while the instance runs:
// what is beside goes on. What is new begins when all of that is undone, as it does behind what was called. An instance that stops meanwhile waits
// until it is, and then undoes the rest.

// backIn are the runs of steps that were set back, and inside them.
func (i *instance) backIn(back []int) func(yield func(at) bool) {
	return func(yield func(at) bool) {
		for at := range i.all() {
			outer := i.outdated(at)
			if _, is := slices.BinarySearch(back, int(outer.node)); is && outer != i.now(outer.node) && !yield(at) {
				return
			}
		}
	}
}

// toUndoBack are the completed runs of steps that are to be set back, and inside them, that have a compensation and are not undone.
func (t *turn) toUndoBack(i *instance, back []int) []at {
	return slices.DeleteFunc(t.toUndo(i, whole), func(at at) bool {
		_, is := slices.BinarySearch(back, int(i.outermost(at).node))
		return !is
	})
}

// undoBack begins what is to be undone next of what was set back: of the newest frame that has something, or the newest of all.
func (t *turn) undoBack(i *instance) {
	if i.graph.Sequential {
		t.undoNewestOf(i, slices.Values(i.leaving))
		return
	}
	for _, f := range slices.Backward(i.outermosts()) {
		if !i.undoesIn(f) {
			continue
		}
		var ends []at
		for n, r := range f.runs {
			at := f.at(n)
			if step := i.step(at); r.State != unbegun && !isCompensation(step) && len(step.Successors) == 0 && at != i.now(at.node) {
				ends = append(ends, at)
			}
		}
		t.undo(i, ends)
		return
	}
}

// undoesIn: something is to be undone of what a frame of the workflow has that was set back.
func (i *instance) undoesIn(f *frame) bool {
	return slices.ContainsFunc(i.leaving, func(at at) bool {
		return isCompensation(i.step(at)) && i.leaves(at) && i.frame(i.outdated(at)) == f
	})
}

// undoneBack is how much of what was set back is still to be undone.
func (i *instance) undoneBack() (n int) {
	for _, at := range i.leaving {
		if isCompensation(i.step(at)) && i.leaves(at) {
			n++
		}
	}
	return n
}

// backUndone goes on behind a compensation that is over of what was set back.
func (t *turn) backUndone(i *instance, over at) {
	of, _ := i.compensates(over)
	if i.graph.Sequential {
		t.undoBack(i)
	} else {
		t.undo(i, t.passBack(i, of))
		f := i.frame(over)
		for !f.outermost() && f.open == 0 && !t.undoFrames(i, f.owner) {
			step := f.owner
			f = i.frame(step)
			t.undo(i, t.passBack(i, step))
		}
		if f.outermost() && !i.undoesIn(f) {
			t.undoBack(i)
		}
	}
	if i.rec.State == v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.opens(i, over)
		return
	}
	t.endIn(i, i.outdated(over))
}
