package fsm

import (
	"math"
	"slices"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
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

func TestAFrameCountsWhatItsRunsDo(t *testing.T) {
	const (
		pending, ready, leased = v1.RunState_RUN_STATE_PENDING, v1.RunState_RUN_STATE_READY, v1.RunState_RUN_STATE_LEASED
		completed, skipped     = v1.RunState_RUN_STATE_COMPLETED, v1.RunState_RUN_STATE_SKIPPED
	)
	f := frame{open: 3}
	for _, c := range []struct {
		was, is      v1.RunState
		open, leased int32
	}{
		{pending, pending, 3, 0}, {pending, ready, 3, 0}, {ready, leased, 3, 1}, {leased, leased, 3, 1}, {leased, ready, 3, 0},
		{ready, leased, 3, 1}, {leased, completed, 2, 0}, {completed, completed, 2, 0}, {ready, completed, 1, 0}, {pending, skipped, 0, 0},
	} {
		if f.count(c.was, c.is); f.open != c.open || f.leased != c.leased {
			t.Errorf("%s to %s: %d are open and %d leased, not %d and %d", c.was, c.is, f.open, f.leased, c.open, c.leased)
		}
	}
}
