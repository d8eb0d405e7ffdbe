package fsm

import (
	"fmt"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A run with a body waits for its frames: one of a scope, one for each item of a forEach, and one for each turn of a loop. They are
// begun here, and when the last run of one has ended, what it puts out and what comes next is decided here.

// body is what a run that has one knows of its frames. It is made with the first.
type body struct {
	frames []*frame // in the order in which they were begun
	over   int      // those of them that are counted
	tally           // of all of them
	items  [][]byte // of a forEach, once they were asked for
}

// of are the frames of an activation: of the instance its root, and those of what was set back, and of a run those of its body in the order in which they were begun.
func (i *instance) of(owner at) []*frame {
	if owner == whole {
		return i.outermosts()
	}
	return i.run(owner).frames()
}

// inside counts the runs inside an activation.
func (i *instance) inside(owner at) tally {
	if owner == whole {
		return i.root.tally
	}
	if b := i.run(owner).body; b != nil {
		return b.tally
	}
	return tally{}
}

// frames are those of a run's body; none when it has none, or none yet.
func (r *run) frames() []*frame {
	if r.body == nil {
		return nil
	}
	return r.body.frames
}

// adopt puts a frame behind those of its run.
func (r *run) adopt(f *frame) {
	if r.body == nil {
		r.body = &body{}
	}
	r.body.frames = append(r.body.frames, f)
	if f.over {
		r.body.over++
	}
}

// awaitBody begins the body of a run. It tells whether the run has ended with it.
func (t *turn) awaitBody(i *instance, at at) (over bool) {
	n := i.step(at)
	waiting := &runWaiting{i: i, at: at}
	count := 1
	if n.Kind == graph.KindForEach {
		list, items, err := i.graph.Items(int(at.node), t.view(i, i.frame(at)))
		if err != nil {
			return t.incident(i, at, "ITEMS_INVALID", err)
		}
		if items == 0 {
			t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_SKIPPED, code: "NO_ITEMS", reason: "there are no items"})
			return true
		}
		waiting.input, count = &v1.Payload{Bytes: list}, items
	}
	t.emit(waiting)
	if n.Kind == graph.KindLoop {
		return t.nextTurn(i, at)
	}
	t.fill(i, at, count)
	return false
}

// fill begins frames of a scope or a forEach, of which there are to be so many, until as many are open as may be; or postpones the rest.
func (t *turn) fill(i *instance, at at, count int) {
	width := max(1, i.step(at).Width)
	if plant.Is(plant.WidthIgnored) {
		width = count
	}
	room := func(begun int) bool {
		frames, over := i.run(at).frames(), 0
		if len(frames) > 0 {
			over = i.run(at).body.over
		}
		if t.m.level() < workLevel { // what is begun behind an item that is over already comes on top of that
			return begun < width && len(frames) < count
		}
		return len(frames)-over < width && len(frames) < count
	}
	goesOn := func() bool { return i.stage(at) == stageRuns && i.wanted(at) || plant.Is(plant.ItemsGoOn) }
	for n := 0; goesOn() && room(n); n++ { // what fails as it begins stops what it is in
		if n > 0 && t.tired() {
			t.postpone(i, at)
			return
		}
		t.beginFrame(i, at)
	}
}

// nextTurn begins the next turn of a loop, unless it was the last. It tells whether the run has completed.
func (t *turn) nextTurn(i *instance, at at) (over bool) {
	turns, n := i.run(at).frames(), i.step(at)
	view := t.view(i, i.frame(at))
	view.Index, view.Last = len(turns), nil
	if len(turns) > 0 {
		view.Last = t.lastOf(i, turns[len(turns)-1])
	}
	again, err := i.graph.Again(int(at.node), view)
	switch {
	case err != nil:
		t.failBody(i, at, "CONDITION_INVALID", err.Error())
	case again && len(turns) < n.Turns:
		t.beginFrame(i, at)
	case again && i.graph.Conditional(int(at.node)):
		t.failBody(i, at, "LOOP_LIMIT", fmt.Sprintf("its condition still holds behind %d turns", n.Turns))
	default:
		t.emit(&runCompleted{i: i, at: at, output: payloadOf(view.Last.Bytes())})
		return true
	}
	return false
}

// payloadOf is JSON as a payload; none is none.
func payloadOf(json []byte) *v1.Payload {
	if json == nil {
		return nil
	}
	return &v1.Payload{Bytes: json}
}

// output is what a frame has put out, JSON; nil is null.
func (t *turn) output(i *instance, f *frame) []byte {
	return jsonOf(t.payload(i, f.self(), roleOutput))
}

// beginFrame begins the next frame of a run's body, or fails the run if there are too many. What ends with that is told to the worklist
// of advanceInstance.
func (t *turn) beginFrame(i *instance, owner at) {
	scope := int32(i.step(owner).Body)
	if i.within+i.graph.Scopes[scope].Count > graph.MaxInside {
		t.failBody(i, owner, "TOO_MANY_RUNS", fmt.Sprintf("instance %q would have more than %d runs inside its steps", i.rec.InstanceId, graph.MaxInside))
		return
	}
	next, _ := i.seat(scope+1, -1) // behind all of the scope
	index := int32(0)
	if next > 0 && i.bodies[next-1].scope == scope {
		index = i.bodies[next-1].index + 1
	}
	made := newFrame(i.graph, scope, index)
	f := &made
	f.owner, f.place = owner, int32(len(i.run(owner).frames()))
	i.add(f)
	t.begin(i, f)
	t.m.touch(i)
	t.activateFrom(i, f.first, f)
}

// frameOver counts a frame whose runs have all ended, and goes on with its run's body. It tells whether the run has completed.
func (t *turn) frameOver(i *instance, f *frame) (over bool) {
	owner := f.owner
	node := int(owner.node)
	var output *v1.Payload
	if i.graph.HasBodyOutput(node) {
		value, err := i.graph.BodyOutput(node, t.view(i, f))
		if err != nil {
			t.failBody(i, owner, "OUTPUT_INVALID", err.Error())
			return false
		}
		output = &v1.Payload{Bytes: value}
	}
	t.m.frameOver(i, f, output)
	t.unholds(i)
	switch i.step(owner).Kind {
	case graph.KindScope:
		t.emit(&runCompleted{i: i, at: owner, output: output})
		return true
	case graph.KindLoop:
		return t.nextTurn(i, owner)
	}
	b := i.run(owner).body
	if len(b.frames) < len(t.items(i, owner)) {
		t.beginFrame(i, owner)
		return false
	}
	if b.over < len(b.frames) {
		return false
	}
	outputs := make([][]byte, len(b.frames))
	for at, f := range b.frames {
		outputs[at] = t.output(i, f)
	}
	list, err := graph.List(outputs)
	if err != nil {
		t.failBody(i, owner, "OUTPUT_INVALID", err.Error())
		return false
	}
	t.emit(&runCompleted{i: i, at: owner, output: &v1.Payload{Bytes: list}})
	return true
}

// frameOver marks a frame as counted, with what it puts out.
func (m *Machine) frameOver(i *instance, f *frame, output *v1.Payload) {
	f.over, f.pages[0] = true, true
	i.run(f.owner).body.over++
	m.setPayload(i, f.self(), roleOutput, output)
	m.touch(i)
}

// items are those of a forEach, each as JSON.
func (t *turn) items(i *instance, at at) [][]byte {
	b := i.run(at).body
	if b.items == nil {
		items, err := graph.Split(jsonOf(t.payload(i, at, roleInput)))
		must(err)
		b.items = items
	}
	return b.items
}

// explainBody says how far a run with a body is.
func (m *Machine) explainBody(i *instance, at at, e *v1.Explanation) {
	r, n := i.run(at), i.step(at)
	e.Code = v1.ExplainCode_EXPLAIN_CODE_NEEDS_PENDING
	switch {
	case r.Stage == stageStops:
		e.Sentence = fmt.Sprintf("Step %q fails (%s): it ends when nothing inside it is leased any more.", n.ID, r.Code)
	case r.Stage == stageUndoes:
		e.Sentence = fmt.Sprintf("Step %q has failed (%s), and what was completed inside it is undone.", n.ID, r.Code)
	case n.Kind == graph.KindForEach:
		e.Sentence = fmt.Sprintf("Step %q waits for what is inside it: %d items are begun, and %d of these are done.", n.ID, len(r.frames()), r.body.over)
	case n.Kind == graph.KindLoop:
		e.Sentence = fmt.Sprintf("Step %q waits for what is inside it: it is at turn %d.", n.ID, len(r.frames()))
	default:
		e.Sentence = fmt.Sprintf("Step %q waits for what is inside it.", n.ID)
	}
}
