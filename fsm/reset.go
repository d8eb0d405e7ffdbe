package fsm

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An instance that runs can be set back to a step: that step and all that is behind it are done anew, and what is beside it goes on
// undisturbed. At most one completion of a run is ever accepted, so what is done anew is other runs: a reset adds a frame of the workflow,
// which has runs of the steps that are set back and of no others, with the number of the reset as their index. The runs that they supersede
// stay as they are, for history, and for what is to be undone: what was completed is kept, and undone with the instance, the newest frame
// first; or it is undone before what is new begins (resetundo.go). Those that have not ended are cancelled, and a lease of theirs is taken
// from its holder, whose token is refused from then on. An instance that one of them called is cancelled, too: the run ends with that, and
// what is done anew begins behind it. So nothing that the called instance undoes meets what is done again.
//
// Whoever needs a step, or waits for it, means its newest activation.

// resetLevel is the cluster level from which on instances are set back.
const resetLevel = 24

// MaxResets is how often an instance is set back.
const MaxResets = 1000

// codeReset is the code with which a run is cancelled that is superseded.
const codeReset = "RESET"

// codeCompensate is the code of a reset that undoes what was completed.
const codeCompensate = "COMPENSATE"

// now is where the newest activation is of a step that is in no other.
func (i *instance) now(node int32) at {
	if node < 0 || i.present == nil {
		return at{node: node}
	}
	return at{node, i.present[node]}
}

// before is where the run of a node is that a run of an activation, or a frame, builds on: of steps that are in no other that of the newest
// reset up to its own which set the node back.
func (i *instance) before(index int32, node int) at {
	if i.present == nil || i.graph.Nodes[node].Scope > 0 {
		return at{int32(node), index}
	}
	for ; index > 0; index-- {
		if i.activation(0, index).runs[node].State != unbegun {
			break
		}
	}
	return at{int32(node), index}
}

// behind is where the run of a node is that builds on a run.
func (i *instance) behind(run at, node int) at {
	if i.graph.Nodes[node].Scope > 0 {
		return run.beside(node)
	}
	return i.now(int32(node))
}

// outermosts are the frames of the workflow: the root, and those of resets, the newest last.
func (i *instance) outermosts() []*frame {
	frames := []*frame{&i.root}
	if i.present != nil {
		first, _ := i.seat(0, 0)
		frames = append(frames, i.bodies[first:]...)
	}
	return frames
}

// newest is the frame of the workflow whose expressions see the newest activation of all steps.
func (i *instance) newest() *frame {
	all := i.outermosts()
	return all[len(all)-1]
}

// sayEnded is what has become of a run, and which activation there is of one that was set back since.
func (i *instance) sayEnded(at at) string {
	state := runStateName(i.run(at).State)
	if i.step(at).Scope > 0 || isCompensation(i.step(at)) || at == i.now(at.node) {
		return state
	}
	return fmt.Sprintf("%s; it was set back, and its newest activation is %d", state, i.now(at.node).index)
}

// supersedes has the runs of a reset's frame be the newest of their steps.
func (i *instance) supersedes(f *frame) {
	if i.present == nil {
		i.present = make([]int32, len(i.root.runs))
	}
	for n, r := range f.runs {
		if r.State != unbegun && !isCompensation(i.step(f.at(n))) {
			i.present[n] = f.index
		}
	}
}

// resetInstance sets an instance back to a step. It names the run that is set back, which happens once: the same again finds that.
func (t *turn) resetInstance(r *v1.ResetInstanceRequest) (proto.Message, *Refusal) {
	i, refusal := t.instance(r.InstanceId)
	if refusal != nil {
		return nil, refusal
	}
	from := i.node(r.FromStep)
	switch {
	case from < 0 || isCompensation(&i.graph.Nodes[from]):
		return nil, Refuse(v1.Code_CODE_STEP_NOT_FOUND, "workflow %s version %d of instance %q has no step %q", i.rec.Workflow, i.rec.Version, r.InstanceId, r.FromStep)
	case i.graph.Nodes[from].Scope > 0:
		return nil, Refuse(v1.Code_CODE_INVALID, "step %q is inside another; name the step whose body it is in", r.FromStep)
	}
	if _, refusal := i.named(r.FromStep, r.Index); refusal != nil {
		return nil, refusal
	}
	back := i.setBack(int(from))
	if r.Index < i.now(from).index {
		return i.resetReply(from, back, true), nil
	}
	if refusal := t.resettable(i, from, back, r.Compensate); refusal != nil {
		return nil, refusal
	}
	e := &instanceReset{i: i, from: from, back: back, reason: r.Reason, compensate: r.Compensate}
	if r.Compensate {
		e.undo = t.toUndoBack(i, back)
	}
	t.reset(e)
	reply := i.resetReply(from, back, false)
	reply.Undone = int32(len(e.undo))
	return reply, nil
}

func (i *instance) resetReply(from int32, back []int, existing bool) *v1.ResetInstanceResponse {
	return &v1.ResetInstanceResponse{Index: i.now(from).index, Steps: int32(len(back)), Existing: existing, State: i.rec.State}
}

// setBack are the steps that are set back with one, in the order of the definition: those behind it, and of a race all that run in it, for one
// that was won would not be run again otherwise.
func (i *instance) setBack(from int) []int {
	back := make([]bool, len(i.graph.Nodes))
	for list := []int{from}; len(list) > 0; {
		node := list[len(list)-1]
		if list = list[:len(list)-1]; back[node] {
			continue
		}
		for _, behind := range i.graph.After(node) {
			if !back[behind] {
				back[behind] = true
				list = append(list, i.graph.Nodes[behind].Rivals...)
			}
		}
	}
	var nodes []int
	for node, is := range back {
		if is {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// resettable refuses to set an instance back that does not run, or of which something is being ended from the step on.
func (t *turn) resettable(i *instance, from int32, back []int, compensate bool) *Refusal {
	id, step := i.rec.InstanceId, i.graph.Nodes[from].ID
	switch {
	case !i.live():
		return Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s; fork it from step %q", id, stateName(i.rec.State), step)
	case i.rec.State != v1.InstanceState_INSTANCE_STATE_RUNNING:
		return Refuse(v1.Code_CODE_NOT_RUNNING, "instance %q is %s, and is not set back", id, stateName(i.rec.State))
	case i.run(i.now(from)).State == v1.RunState_RUN_STATE_PENDING:
		return Refuse(v1.Code_CODE_STEP_NOT_BEGUN, "step %q of instance %q has not begun; there is nothing to set back", step, id)
	case t.tired():
		return Refuse(v1.Code_CODE_OVERLOADED, "the entry of the log has done as much as one does; reset instance %q again", id)
	case i.rec.Resets >= MaxResets, i.within+len(i.root.runs) > graph.MaxInside:
		return Refuse(v1.Code_CODE_INVALID, "instance %q was set back %d times and has %d runs beside its first; %d times and %d runs are the most. Fork it from step %q", id, i.rec.Resets, i.within, MaxResets, graph.MaxInside, step)
	}
	for at, r := range i.superseded(back) {
		switch {
		case i.calls(at) && i.step(at).Scope > 0:
			return Refuse(v1.Code_CODE_RESET_BUSY, "step %q of instance %q, which is inside another, has called instance %q, which goes on; cancel that", i.step(at).ID, id, r.Other)
		case i.calls(at) && compensate:
			return Refuse(v1.Code_CODE_RESET_BUSY, "step %q of instance %q has called instance %q, which goes on; cancel that, or keep what was completed", i.step(at).ID, id, r.Other)
		case r.Stage != stageRuns:
			return Refuse(v1.Code_CODE_RESET_BUSY, "step %q of instance %q fails (%s), and is not at its end", i.step(at).ID, id, r.Code)
		}
	}
	for _, at := range i.leaving {
		if i.leaves(at) && compensate { // what is undone at a time is in one order
			return Refuse(v1.Code_CODE_RESET_BUSY, "step %q of instance %q was set back before, and is not at its end", i.step(i.outdated(at)).ID, id)
		}
	}
	return nil
}

// superseded are the runs of steps that are set back, and inside them, which have not ended, but for what was set back before.
func (i *instance) superseded(back []int) func(yield func(at, *run) bool) {
	return func(yield func(at, *run) bool) {
		for at, r := range i.all() {
			if ended(r.State) || isCompensation(i.step(at)) {
				continue
			}
			outer := i.outermost(at)
			if _, is := slices.BinarySearch(back, int(outer.node)); is && outer == i.now(outer.node) && !yield(at, r) {
				return
			}
		}
	}
}

// leaves: a run was set back and ends with what it called, or it undoes what was.
func (i *instance) leaves(at at) bool {
	if s := i.run(at).State; s == unbegun || ended(s) {
		return false
	}
	outer := i.outdated(at)
	return outer != i.now(outer.node)
}

// findLeaving finds what an instance that is read waits for of what was set back.
func (i *instance) findLeaving() {
	if i.present == nil {
		return
	}
	for at := range i.all() {
		if i.leaves(at) {
			i.leaving = append(i.leaving, at)
		}
	}
}

// outdated is the run of a step that is in no other which a run is, undoes, or is inside of.
func (i *instance) outdated(at at) (outer at) {
	outer = i.outermost(at)
	if of, is := i.compensates(outer); is {
		outer = of
	}
	return outer
}

// gated: what begins anew in a frame waits for the end of what was called before by a step of it, and of what undoes such a step. It is the
// first of these.
func (i *instance) gated(f *frame) (by at, is bool) {
	for _, at := range i.leaving {
		if f.outermost() && i.leaves(at) && i.outdated(at).before(f) {
			return at, true
		}
	}
	return by, false
}

// isGated: a run is gated with its frame.
func (i *instance) isGated(at at) bool {
	if len(i.leaving) == 0 || plant.Is(plant.ResetUngated) {
		return false
	}
	_, is := i.gated(i.frame(at))
	return is
}

// before: a frame of the workflow has a newer activation of a step.
func (outer at) before(f *frame) bool {
	return outer.index < f.index && f.runs[outer.node-f.first].State != unbegun
}

// opens begins what waited for the end of a run in frames which have a newer activation of its step, and for nothing else.
func (t *turn) opens(i *instance, at at) {
	outer := i.outdated(at)
	for _, f := range i.outermosts() {
		if outer.before(f) {
			t.goesBehind(i, f)
		}
	}
	t.advanceInstance(i)
}

// left ends a run that was set back as that has ended which it called, and begins what waited for that.
func (t *turn) left(i *instance, at at, o outcome) {
	if o.state == v1.RunState_RUN_STATE_COMPLETED {
		t.emit(&runCompleted{i: i, at: at, output: o.output}) // before it was cancelled: it is kept
	} else {
		t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_CANCELLED, code: codeReset, reason: o.reason})
	}
	t.opens(i, at)
}

// reset sets an instance back, and begins what can begin of that.
func (t *turn) reset(e *instanceReset) {
	i := e.i
	var old, leased, claims, left []at
	for at, r := range i.superseded(e.back) {
		if i.calls(at) {
			e.calls = append(e.calls, at)
			continue
		}
		if r.State == v1.RunState_RUN_STATE_LEASED {
			leased = append(leased, at)
			continue
		}
		if old = append(old, at); r.State == v1.RunState_RUN_STATE_PENDING && r.Todo > 0 && len(i.step(at).Needs) == 0 {
			left = append(left, at) // those behind it were to be begun with it
		}
	}
	t.emit(e)
	for _, at := range old {
		t.dropLapsed(i, at)
		if i.run(at).claimed() {
			claims = append(claims, at)
		}
		t.emit(e.ends(at))
	}
	for _, at := range leased { // behind the others, so that none of them is leased for a lock that one of these gives back
		t.endLeased(i, at, e.ends(at))
	}
	for _, at := range claims {
		t.freeLocks(i, at, i.run(at).Token, false)
	}
	for _, at := range left {
		t.activateFrom(i, at.node+1, i.frame(at))
	}
	t.reached += len(e.back)
	if len(e.undo) > 0 {
		t.undoBack(i)
	}
	t.goesBehind(i, i.activation(0, e.made))
}

// instanceReset has a frame come to be with new runs of the steps that are set back.
type instanceReset struct {
	i      *instance
	from   int32
	back   []int
	calls  []at // of these, what is to end before
	undo   []at // what is undone before
	reason string
	// Whether what was completed was to be undone; there may be nothing.
	compensate bool

	made int32 // the index of the frame
}

// ends is the end of a run that is set back.
func (e *instanceReset) ends(at at) *runEnded {
	return &runEnded{i: e.i, at: at, to: v1.RunState_RUN_STATE_CANCELLED, code: codeReset, reason: e.reason}
}

func (e *instanceReset) kind() string { return "lockstep.instance.reset.v1" }
func (e *instanceReset) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version = e.i.rec.InstanceId, e.i.rec.Workflow, e.i.rec.Version
	d.Name, d.Index, d.Count, d.Reason = e.i.graph.Nodes[e.from].ID, e.made, int32(len(e.back)), e.reason
	d.Labels = pairMap(e.i.rec.Labels)
	if e.compensate {
		d.Code = codeCompensate
	}
	return e.i.subject()
}
func (e *instanceReset) evolve(t *turn) {
	i := e.i
	for _, node := range e.back {
		t.forgets(i, i.now(int32(node)))
	}
	i.rec.Resets++
	e.made = i.rec.Resets
	f := newFrame(i.graph, 0, e.made)
	var open tally
	for _, node := range e.back {
		r := f.runs[node]
		r.State, r.ChangedWall = v1.RunState_RUN_STATE_PENDING, t.wall()
		for _, need := range i.graph.Nodes[node].Needs {
			_, too := slices.BinarySearch(e.back, need)
			switch over := i.run(i.now(int32(need))); {
			case too && plant.Is(plant.ResetUnordered):
				r.Done++
			case too || !ended(over.State):
				r.Pending++
			case meets(i.graph.Edge(need, node), over) == needMet:
				r.Done++
			}
		}
		open.open++
	}
	i.add(&f)
	i.supersedes(&f)
	for _, at := range e.calls {
		t.stopCall(i, at)
	}
	i.leaving = append(slices.DeleteFunc(i.leaving, func(at at) bool { return !i.leaves(at) }), e.calls...)
	if len(e.undo) > 0 {
		t.beginUndo(i, i.backIn(e.back), e.undo)
	}
	for _, at := range e.undo {
		i.leaving = append(i.leaving, at.beside(i.step(at).Compensation))
	}
	i.count(&f, tally{}, open)
	for p := range f.pages {
		f.pages[p] = true
	}
	t.m.dirtyBytes += 32 * len(f.runs)
	t.m.touch(i)
}

// forgets: who waits for a step that is set back, and was not told of its end yet, waits for what comes now.
func (t *turn) forgets(i *instance, at at) {
	if !ended(i.run(at).State) {
		return
	}
	if i.run(at).Todo > 0 {
		t.m.todo(i, at, 0)
	}
	if t.ns.censuses.Len() == 0 {
		return
	}
	for _, p := range i.rec.Keys {
		if c, ok := t.ns.censuses.Get(censusNamed(p.Key, p.Value, i.step(at).ID)); ok && c.counts(i.rec.InstanceId) {
			t.m.unlist(c)
			c.rec = &logv1.Census{Key: p.Key, Value: p.Value, Step: i.step(at).ID}
			t.m.again(c)
		}
	}
}
