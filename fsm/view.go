package fsm

import (
	"github.com/lockstep-dev/lockstep/fsm/graph"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What expressions read of an instance is decoded once in an entry, however many of them read it: ten thousand conditions over one
// input cost one decoding. It is kept for the instance that is looked at, and gone with the entry. How much was decoded is part of
// what an entry may do (work.go), so what is kept follows from the entry alone, and from nothing that replicas differ in.

// keptData is how many bytes of JSON are kept decoded, but for the newest. Decoded they take ten times that.
const keptData = 4 << 20

// data is what was read of one instance.
type data struct {
	of         *instance
	since      int // bytes that were decoded before
	input      graph.Data
	item, last placed             // of the newest frame that saw one
	outputs    map[at]*graph.Data // of runs
}

// placed are data of a frame.
type placed struct {
	of at
	*graph.Data
}

// about is what was read of an instance in this entry, and not let go.
func (t *turn) about(i *instance) *data {
	d := &t.data
	if d.of != i || t.work.Decoded-d.since > keptData {
		*d = data{of: i, since: t.work.Decoded, input: *graph.JSON(jsonOf(t.payload(i, whole, roleInput)))}
	}
	return d
}

// view is what the expressions of a frame see: its own runs, and those of the frames that it is in.
func (t *turn) view(i *instance, f *frame) graph.View {
	d := t.about(i)
	v := graph.View{
		Input: &d.input, Index: int(f.place), Work: &t.work,
		Output: func(node int) (*graph.Data, bool) {
			at := i.seen(f, node)
			if i.run(at).State != v1.RunState_RUN_STATE_COMPLETED {
				return nil, false
			}
			return t.outputOf(d, at), true
		},
		Failure: func(node int) (code, reason string, failed bool) {
			r := i.run(i.seen(f, node))
			return r.Code, r.Reason, r.State == v1.RunState_RUN_STATE_FAILED
		},
	}
	t.viewBodies(i, f, &v)
	return v
}

// seen is where the run of a node is that a frame sees.
func (i *instance) seen(f *frame, node int) at {
	for int32(i.graph.Nodes[node].Scope) != f.scope {
		f = i.frame(f.owner)
	}
	return i.before(f.index, node)
}

// outputOf is what a completed run has put out, which does not change.
func (t *turn) outputOf(d *data, run at) *graph.Data {
	if known := d.outputs[run]; known != nil {
		return known
	}
	if d.outputs == nil {
		d.outputs = map[at]*graph.Data{}
	}
	output := graph.JSON(jsonOf(t.payload(d.of, run, roleOutput)))
	d.outputs[run] = output
	return output
}

// viewBodies adds to what a frame sees the item of the innermost list, and what the turn before of the innermost loop put out.
func (t *turn) viewBodies(i *instance, f *frame, v *graph.View) {
	item, last := false, false
	for ; !f.outermost() && !(item && last); f = i.frame(f.owner) {
		switch kind := i.step(f.owner).Kind; {
		case kind == graph.KindForEach && !item:
			v.Item, item = t.itemOf(i, f), true
		case kind == graph.KindLoop && !last:
			if last = true; f.place > 0 {
				v.Last = t.lastOf(i, i.run(f.owner).frames()[f.place-1])
			}
		}
	}
}

// itemOf is the item of a list for which a frame is.
func (t *turn) itemOf(i *instance, f *frame) *graph.Data {
	d := t.about(i)
	if d.item.Data == nil || d.item.of != f.self() {
		d.item = placed{f.self(), graph.JSON(t.items(i, f.owner)[f.place])}
	}
	return d.item.Data
}

// lastOf is what a turn of a loop has put out, for the turn behind it.
func (t *turn) lastOf(i *instance, f *frame) *graph.Data {
	d := t.about(i)
	if d.last.Data == nil || d.last.of != f.self() {
		d.last = placed{f.self(), graph.JSON(t.output(i, f))}
	}
	return d.last.Data
}
