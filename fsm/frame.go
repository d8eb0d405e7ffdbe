package fsm

import (
	"cmp"
	"iter"
	"slices"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// at is where a run is in its instance: the node of its step, and the frame by its count among those of the node's scope.
// So (step, index) names a run to those outside. A negative node is the frame itself: -1 is the workflow's, and so on.
type at struct{ node, index int32 }

// beside is where the run of another node of the frame is.
func (a at) beside(node int) at { return at{int32(node), a.index} }

// atOf is where the run is that a record names.
func atOf(r interface {
	GetNode() int32
	GetIndex() int32
}) at {
	return at{r.GetNode(), r.GetIndex()}
}

// tally counts runs.
type tally struct {
	open    int32 // have not ended
	leased  int32
	undoing int32 // undo what was completed inside them
}

func (y *tally) add(by tally) {
	y.open += by.open
	y.leased += by.leased
	y.undoing += by.undoing
}

// tally is what the run counts for.
func (r *run) tally() (y tally) {
	if r.State == unbegun || ended(r.State) {
		return y
	}
	y.open = 1
	if r.State == v1.RunState_RUN_STATE_LEASED {
		y.leased = 1
	}
	if r.Stage == stageUndoes {
		y.undoing = 1
	}
	return y
}

// frame is one activation of a scope: the runs of its nodes. That of the workflow is the root. It is kept in its instance,
// as its counters are in the instance's head, so that a workflow without bodies pays nothing for frames.
type frame struct {
	scope, index int32
	first        int32  // node of the scope
	runs         []*run // by their nodes, from the first
	tally               // of its runs, and of all that is inside them
	pages        []bool // dirty pages of runs
	stored       []bool // pages of which the engine has a row of what is pending
	payloads            // the frame's own: what it puts out, and of the root what the instance was given

	// Of one that is not the root: the run whose body it is, its place among the items or turns of that, and that what came of it
	// is counted there.
	owner at
	place int32
	over  bool
}

// newFrame is a frame whose runs are blank.
func newFrame(g *graph.Graph, scope, index int32) frame {
	s := g.Scopes[scope]
	pages := (s.Count + pageRuns - 1) / pageRuns
	f := frame{
		scope: scope, index: index, first: int32(s.First), runs: make([]*run, s.Count), owner: whole,
		stored: make([]bool, pages), pages: make([]bool, pages),
	}
	together := make([]run, s.Count)
	for n := range together {
		together[n] = blank()
		f.runs[n] = &together[n]
	}
	return f
}

// at is where the nth run of the frame is.
func (f *frame) at(n int) at { return at{f.first + int32(n), f.index} }

// self is where the frame itself is. Those of the workflow are all the instance.
func (f *frame) self() at {
	if f.outermost() {
		return whole
	}
	return at{-1 - f.scope, f.index}
}

// outermost: the frame is inside no run. It is the root, or one of what was set back (reset.go).
func (f *frame) outermost() bool { return f.scope == 0 }

// count has the counters of a frame, and of what it is in, follow what became of its runs.
func (i *instance) count(f *frame, was, is tally) {
	if was == is {
		return
	}
	is.add(tally{-was.open, -was.leased, -was.undoing})
	for f.add(is); f != &i.root; f.add(is) {
		if !f.outermost() {
			i.run(f.owner).body.add(is)
		}
		f = i.frame(f.owner)
	}
}

// frame finds the frame of a run; nil when there is none.
func (i *instance) frame(at at) *frame {
	if at.index == 0 && int(at.node) < len(i.root.runs) && at.node >= whole.node {
		return &i.root
	}
	scope := -1 - at.node
	if at.node >= 0 {
		scope = int32(i.graph.Nodes[at.node].Scope)
	}
	return i.activation(scope, at.index)
}

// activation finds the frame of a scope that has an index; nil when there is none.
func (i *instance) activation(scope, index int32) *frame {
	if scope == 0 && index == 0 {
		return &i.root
	}
	if n, found := i.seat(scope, index); found {
		return i.bodies[n]
	}
	return nil
}

// seat is where a frame stands, or would, among those that are not the root.
func (i *instance) seat(scope, index int32) (n int, found bool) {
	return slices.BinarySearchFunc(i.bodies, at{scope, index}, func(f *frame, name at) int {
		return cmp.Or(cmp.Compare(rowScope(f.scope), rowScope(name.node)), cmp.Compare(f.index, name.index))
	})
}

// add puts a frame that is not the root in its place, behind those of its scope and of its owner.
func (i *instance) add(f *frame) {
	n, _ := i.seat(f.scope, f.index)
	i.bodies = slices.Insert(i.bodies, n, f)
	i.within += len(f.runs)
	if !f.outermost() {
		i.run(f.owner).adopt(f)
	}
}

// frames are those of the instance in the order of their rows, the root first.
func (i *instance) frames() iter.Seq[*frame] {
	return func(yield func(*frame) bool) {
		if !yield(&i.root) {
			return
		}
		for _, f := range i.bodies {
			if !yield(f) {
				return
			}
		}
	}
}

// below are the frames of an activation, and those inside them: a frame comes before what is inside it.
func (i *instance) below(owner at) iter.Seq[*frame] {
	return func(yield func(*frame) bool) { i.eachBelow(owner, yield) }
}

func (i *instance) eachBelow(owner at, yield func(*frame) bool) bool {
	for _, f := range i.of(owner) {
		if !i.eachIn(f, yield) {
			return false
		}
	}
	return true
}

// eachIn is eachBelow of one frame.
func (i *instance) eachIn(f *frame, yield func(*frame) bool) bool {
	if !yield(f) {
		return false
	}
	if len(i.bodies) == 0 {
		return true
	}
	for n, r := range f.runs {
		if r.body != nil && !i.eachBelow(f.at(n), yield) {
			return false
		}
	}
	return true
}

// all are the runs of all frames, but for compensations that are not begun.
func (i *instance) all() iter.Seq2[at, *run] { return runsOf(i.frames()) }

// runsOf are the runs of frames, but for compensations that are not begun.
func runsOf(frames iter.Seq[*frame]) iter.Seq2[at, *run] {
	return func(yield func(at, *run) bool) {
		for f := range frames {
			for n, r := range f.runs {
				if r.State != unbegun && !yield(f.at(n), r) {
					return
				}
			}
		}
	}
}

// placesOf are where runs are.
func placesOf(runs iter.Seq2[at, *run]) iter.Seq[at] {
	return func(yield func(at) bool) {
		for at := range runs {
			if !yield(at) {
				return
			}
		}
	}
}

// run is the one at a place that some frame has.
func (i *instance) run(at at) *run {
	f := i.frame(at)
	return f.runs[at.node-f.first]
}

// step is the node of a run.
func (i *instance) step(at at) *graph.Node { return &i.graph.Nodes[at.node] }
