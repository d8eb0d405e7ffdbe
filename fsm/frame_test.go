package fsm

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A request names a run by its step and the index of its frame. The workflow is activated once.
func TestARunOfNoFrameIsNotFound(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a: {queue: q}\n")
	worker := r.session(1000 * second)
	r.start("w", "i", `{}`)
	token := r.poll(worker, "q", 1)[0].Token
	for _, index := range []int32{1, -1, math.MaxInt32, math.MinInt32} {
		for _, c := range []*logv1.Command{
			{Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{InstanceId: "i", Step: "a", Index: index, Token: token}}},
			{Body: &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{InstanceId: "i", Step: "a", Index: index, Token: token}}},
			{Body: &logv1.Command_ReleaseStep{ReleaseStep: &v1.ReleaseStepRequest{InstanceId: "i", Step: "a", Index: index, Token: token}}},
			{Body: &logv1.Command_ReportProgress{ReportProgress: &v1.ReportProgressRequest{InstanceId: "i", Step: "a", Index: index, Token: token}}},
			{Body: &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{Session: worker, InstanceId: "i", Step: "a", Index: index, Wait: second}}},
		} {
			if reply, refusal := r.do(c); refusal.GetCode() != v1.Code_CODE_RUN_NOT_FOUND {
				t.Errorf("index %d of %T: %v, %v", index, c.Body, reply, refusal)
			}
		}
	}
	if err := check(r.m); err != nil {
		t.Error(err)
	}
}

// nested is a graph of a workflow of three steps, with a body of pageRuns+2 behind them that the second owns.
func nested() *graph.Graph {
	g := &graph.Graph{Nodes: make([]graph.Node, 3+pageRuns+2)}
	g.Scopes = []graph.Scope{{Count: 3, Owner: -1}, {First: 3, Count: pageRuns + 2, Owner: 1}}
	for node := range g.Nodes[3:] {
		g.Nodes[3+node].Scope = 1
	}
	return g
}

func TestAFrameKnowsWhereItsRunsAre(t *testing.T) {
	g := nested()
	for _, c := range []struct {
		scope, index int32
		n            int
		want         at
	}{{0, 0, 0, at{0, 0}}, {0, 0, 2, at{2, 0}}, {1, 0, 0, at{3, 0}}, {1, 7, pageRuns, at{3 + pageRuns, 7}}} {
		f := newFrame(g, c.scope, c.index)
		if got := f.at(c.n); got != c.want {
			t.Errorf("run %d of frame %d of scope %d is at %v, not %v", c.n, c.index, c.scope, got, c.want)
		}
		if len(f.runs) != g.Scopes[c.scope].Count || len(f.page(0)) > pageRuns {
			t.Errorf("frame %d of scope %d has %d runs, and %d in its first page", c.index, c.scope, len(f.runs), len(f.page(0)))
		}
	}
	if got := (at{4, 7}).beside(5); got != (at{5, 7}) {
		t.Errorf("beside run 7 of node 4 is %v", got)
	}
}

// A run is found in the root by its node alone; of a scope that was not activated there is none.
func TestARunIsFoundInItsFrame(t *testing.T) {
	g := nested()
	i := &instance{graph: g, root: newFrame(g, 0, 0)}
	for node := range int32(3) {
		if i.frame(at{node, 0}) != &i.root || i.run(at{node, 0}) != i.root.runs[node] {
			t.Errorf("run 0 of node %d is not in the root", node)
		}
	}
	for _, none := range []at{{0, 1}, {2, -1}, {3, 0}, {3, 1}} {
		if f := i.frame(none); f != nil {
			t.Errorf("%v is in frame %+v", none, f)
		}
	}
	if i.frame(whole) != &i.root {
		t.Error("the instance's own payloads are not with the root's")
	}
	for _, r := range i.root.runs {
		r.State = v1.RunState_RUN_STATE_PENDING
	}
	var seen []at
	for at, run := range i.all() {
		if seen = append(seen, at); run != i.run(at) {
			t.Errorf("%v is another run", at)
		}
	}
	if want := []at{{0, 0}, {1, 0}, {2, 0}}; !slices.Equal(seen, want) {
		t.Errorf("all are %v, not %v", seen, want)
	}
}

// What becomes of a run is counted in its frame, and in all that this is in.
func TestAFrameCountsWhatItsRunsDo(t *testing.T) {
	const (
		pending, ready, leased = v1.RunState_RUN_STATE_PENDING, v1.RunState_RUN_STATE_READY, v1.RunState_RUN_STATE_LEASED
		waiting, completed     = v1.RunState_RUN_STATE_WAITING, v1.RunState_RUN_STATE_COMPLETED
	)
	g := nested()
	i := &instance{graph: g, root: newFrame(g, 0, 0)}
	inner := newFrame(g, 1, 0)
	inner.owner = at{1, 0}
	i.add(&inner)
	r := inner.runs[0]
	for _, c := range []struct {
		state v1.RunState
		stage stage
		want  tally
	}{
		{unbegun, 0, tally{}}, {pending, 0, tally{1, 0, 0}}, {ready, 0, tally{1, 0, 0}}, {leased, 0, tally{1, 1, 0}}, {ready, 0, tally{1, 0, 0}},
		{leased, 0, tally{1, 1, 0}}, {completed, 0, tally{}}, {pending, 0, tally{1, 0, 0}},
		{waiting, stageStops, tally{1, 0, 0}}, {waiting, stageUndoes, tally{1, 0, 1}}, {completed, stageUndoes, tally{}},
	} {
		was := r.tally()
		r.State, r.Stage = c.state, c.stage
		i.count(&inner, was, r.tally())
		for what, counted := range map[string]tally{"its frame": inner.tally, "the body": i.inside(inner.owner), "the root": i.root.tally} {
			if counted != c.want {
				t.Errorf("%s, stage %d: %s counts %v, not %v", c.state, c.stage, what, counted, c.want)
			}
		}
	}
}

// The rows of frames stand together behind the instance's id, those of the root first, and are read as what was written.
func TestRowsOfFramesAreInOrder(t *testing.T) {
	g := nested()
	last := ""
	for _, name := range [][2]int32{{0, 0}, {1, 0}, {1, 1}, {1, math.MaxInt32}, {0, 1}, {0, math.MaxInt32}} {
		f := newFrame(g, name[0], name[1])
		for _, number := range []uint64{0, 1, 156, math.MaxUint32} {
			k := f.appendRowNumber(nil, number)
			if string(k) <= last {
				t.Errorf("%x of frame %v is not behind %x", k, name, last)
			}
			last = string(k)
			scope, index, got, ok := cutRowNumber(k)
			if !ok || scope != name[0] || index != name[1] || got != number {
				t.Errorf("row %d of frame %v became %d of %d, %d, %v", number, name, got, scope, index, ok)
			}
			for short := range len(k) {
				if scope, index, got, ok := cutRowNumber(k[:short]); ok && scope == name[0] && index == name[1] && got == number {
					t.Errorf("%x is the key %x", k[:short], k)
				}
			}
			if _, _, _, ok := cutRowNumber(append(k, 0)); ok {
				t.Errorf("%x with something behind it is a key", k)
			}
		}
	}
}

// The keys of the root's rows are those that instances had before there were frames: their states are read as they are.
func TestTheRootHasNoName(t *testing.T) {
	root := newFrame(nested(), 0, 0)
	if k := fmt.Sprintf("%x", root.appendRowNumber(nil, 5)); k != "0000000000000005" {
		t.Errorf("page 5 of the root is %s", k)
	}
	if k := fmt.Sprintf("%x", root.appendPayloadKey(nil, 2, roleProgress)); k != "000000000000000e" {
		t.Errorf("the progress of node 2 is %s", k)
	}
	if k := fmt.Sprintf("%x", root.appendPayloadKey(nil, whole.node, roleInput)); k != "0000000000000001" {
		t.Errorf("the instance's input is %s", k)
	}
}

// Frames of one scope do not read each other's rows, nor the root theirs.
func TestFramesHaveRowsOfTheirOwn(t *testing.T) {
	g, engine, b := nested(), table.NewMemory(), &table.Batch{}
	i := &instance{ns: &namespace{rec: &logv1.Namespace{Namespace: "n"}}, rec: &logv1.Instance{InstanceId: "i"}, graph: g, root: newFrame(g, 0, 0)}
	names := [][2]int32{{0, 0}, {1, 0}, {1, 1}, {1, 2}}
	token := func(f *frame, n int) int64 { return int64(f.scope)<<40 | int64(f.index)<<20 | int64(n) }
	for _, name := range names {
		f := newFrame(g, name[0], name[1])
		f.owner, f.place = at{1, 0}, f.index
		for n, r := range f.runs {
			r.Token = token(&f, n)
			payload := &v1.Payload{Bytes: fmt.Appendf(nil, "%d", r.Token)}
			b.Put(f.appendPayloadKey(key(tablePayload, "n", "i"), f.at(n).node, roleOutput), encode(payload))
			b.Put(f.appendPayloadKey(key(tablePayload, "n", "i"), f.at(n).node, roleInput), encode(&v1.Payload{}))
		}
		for p := range f.pages {
			b.Put(f.appendRowNumber(key(tablePage, "n", "i"), uint64(p)), f.appendPage(nil, p))
		}
	}
	must(engine.Write(b))
	if err := i.readFrames(engine); err != nil {
		t.Fatal(err)
	}
	for k, name := range names {
		f := i.activation(name[0], name[1])
		if k > 0 && (f.owner != (at{1, 0}) || int(f.place) != k-1 || i.run(at{1, 0}).frames()[k-1] != f) {
			t.Errorf("frame %v is %d of %v", name, f.place, f.owner)
		}
		for n, r := range f.runs {
			if r.has = 1 << roleOutput; r.Token != token(f, n) {
				t.Errorf("run %d of frame %v has token %d", n, name, r.Token)
			}
		}
		outputs, err := i.outputs(engine, f)
		if err != nil || len(outputs) != len(f.runs) {
			t.Fatalf("frame %v: %d outputs, %v", name, len(outputs), err)
		}
		for n, output := range outputs {
			if want := fmt.Sprint(token(f, n)); string(output.GetBytes()) != want {
				t.Errorf("output %d of frame %v is %q", n, name, output.GetBytes())
			}
		}
	}
	b.Reset()
	lacks := newFrame(g, 1, 3)
	b.Put(lacks.appendRowNumber(key(tablePage, "n", "i"), 0), lacks.appendPage(nil, 0))
	must(engine.Write(b))
	again := &instance{ns: i.ns, rec: i.rec, graph: g, root: newFrame(g, 0, 0)}
	if err := again.readFrames(engine); err == nil || !strings.Contains(err.Error(), "lacks runs") {
		t.Errorf("a frame without its last page is read: %v", err)
	}
}

// What orders a pending run knows its frame from the row's key, and a key that is none stops the start.
func TestAPendingRowNamesItsFrame(t *testing.T) {
	f := newFrame(nested(), 1, 7)
	waiting := appendPlace(nil, 4, place{state: v1.RunState_RUN_STATE_READY, queue: "q"})
	open := func(k []byte) (*Machine, error) {
		engine, b := table.NewMemory(), &table.Batch{}
		b.Put(k, waiting)
		must(engine.Write(b))
		m, err := Open(engine)
		return m, err
	}
	k := f.appendRowNumber(key(tablePending, DefaultNamespace, "i"), 0)
	m, err := open(k)
	if err != nil {
		t.Fatal(err)
	}
	if first, ok := m.namespaces[DefaultNamespace].queue("q").first(); !ok || *first.run != (runKey{DefaultNamespace, "i", at{4, 7}}) {
		t.Errorf("the queue has %+v", first.run)
	}
	if _, err := open(k[:len(k)-8]); err == nil {
		t.Errorf("the key %x of no page is read", k[:len(k)-8])
	}
}
