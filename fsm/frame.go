package fsm

import (
	"iter"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// at is where a run is in its instance: the node of its step, and the frame by its count among those of the node's scope.
// So (step, index) names a run to those outside.
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

// frame is one activation of a scope: the runs of its nodes. That of the workflow is the root. It is kept in its instance,
// as its counters are in the instance's head, so that a workflow without bodies pays nothing for frames.
type frame struct {
	scope, index int32
	first        int32  // node of the scope
	runs         []*run // by their nodes, from the first
	open, leased int32  // runs that have not ended, and those that are leased
	pages        []bool // dirty pages of runs
	stored       []bool // pages of which the engine has a row of what is pending
}

// newFrame is a frame whose runs are blank.
func newFrame(g *graph.Graph, scope, index int32) frame {
	s := g.Scopes[scope]
	pages := (s.Count + pageRuns - 1) / pageRuns
	f := frame{
		scope: scope, index: index, first: int32(s.First), runs: make([]*run, s.Count),
		stored: make([]bool, pages), pages: make([]bool, pages),
	}
	together := make([]run, s.Count)
	for n := range together {
		f.runs[n] = &together[n]
	}
	return f
}

// at is where the nth run of the frame is.
func (f *frame) at(n int) at { return at{f.first + int32(n), f.index} }

// count has the counters follow a run's change of state.
func (f *frame) count(was, is v1.RunState) {
	if was == v1.RunState_RUN_STATE_LEASED {
		f.leased--
	}
	if is == v1.RunState_RUN_STATE_LEASED {
		f.leased++
	}
	if was == unbegun && is != unbegun {
		f.open++
	}
	if ended(is) && !ended(was) {
		f.open--
	}
}

// frame finds the frame of a run; nil when there is none.
func (i *instance) frame(at at) *frame {
	if at.index == 0 && int(at.node) < len(i.root.runs) {
		return &i.root
	}
	return i.activation(int32(i.graph.Nodes[at.node].Scope), at.index)
}

// activation finds the frame of a scope that has an index; nil when there is none. Only the workflow is a scope yet, and it
// is activated once.
func (i *instance) activation(scope, index int32) *frame {
	if scope == 0 && index == 0 {
		return &i.root
	}
	return nil
}

// frames are those of the instance in the order of their rows, the root first.
func (i *instance) frames() iter.Seq[*frame] {
	return func(yield func(*frame) bool) { yield(&i.root) }
}

// all are the runs of all frames, but for compensations that are not begun.
func (i *instance) all() iter.Seq2[at, *run] {
	return func(yield func(at, *run) bool) {
		for f := range i.frames() {
			for n, r := range f.runs {
				if r.State != unbegun && !yield(f.at(n), r) {
					return
				}
			}
		}
	}
}

// run is the one at a place that some frame has.
func (i *instance) run(at at) *run {
	f := i.frame(at)
	return f.runs[at.node-f.first]
}

// leased is how many runs are.
func (i *instance) leased() (n int32) {
	for f := range i.frames() {
		n += f.leased
	}
	return n
}

// step is the node of a run.
func (i *instance) step(at at) *graph.Node { return &i.graph.Nodes[at.node] }
