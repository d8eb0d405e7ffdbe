package sound

import (
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// known is what a test knows of a kind: a step of it, a code with which it can fail, one with which it cannot, and whether it waits to
// be heard of.
type known struct {
	step          string
	fails, cannot string
	heard         bool
}

// kinds has each kind of the language. Who adds one says here what is known of it, and in kind.go.
var kinds = map[graph.Kind]known{
	graph.KindTask:     {"{}", "ANY", "", false},
	graph.KindSignal:   {"{signal: {name: n}}", timeoutTotal, rejected, true},
	graph.KindTimer:    {"{timer: {after: 1s}}", "", timeoutTotal, false},
	graph.KindApproval: {"{approval: {}}", rejected, "ANY", true},
	graph.KindCall:     {"{call: {workflow: w, detach: true}}", workflowNotFound, rejected, false},
	graph.KindAwait:    {"{await: {instance: i}}", "ANY", "", true},
	graph.KindBarrier:  {"{barrier: {name: n, parties: 2}}", partiesDiffer, rejected, true},
	graph.KindScope:    {"{scope: {steps: {i: {approval: {}}}}}", rejected, loopLimit, false},
	graph.KindForEach:  {"{forEach: {in: [1], steps: {i: {approval: {}}}}}", rejected, loopLimit, false},
	graph.KindLoop:     {"{loop: {while: \"index < 1\", steps: {i: {timer: {after: 1s}}}}}", loopLimit, rejected, false},
}

// Each kind that the language has is known here.
func TestKindsAreKnown(t *testing.T) {
	for _, k := range graph.Kinds() {
		is, ok := kinds[k]
		if !ok {
			t.Errorf("kind %d: nothing is known of it", k)
			continue
		}
		c := newCheck(parse(t, "workflow: w\nsteps:\n  s: "+is.step+"\n").Checked, MaxStates)
		c.all()
		fails, ok := c.codesOf(0)
		if c.g.Nodes[0].Kind != k || !ok || c.budget.spent() {
			t.Errorf("%s is of kind %d, known %v; spent %v", is.step, c.g.Nodes[0].Kind, ok, c.budget.spent())
		}
		if is.fails != "" && !fails.has(is.fails) || is.cannot != "" && fails.has(is.cannot) {
			t.Errorf("%s: it fails with %+v", is.step, fails)
		}
		if heard(&c.g.Nodes[0]) != is.heard {
			t.Errorf("%s: that it waits to be heard of is %v", is.step, !is.heard)
		}
	}
}

// Of a wait by a key it is known that failures are not counted where a number is waited for, and are where all are.
func TestWaitsByKeyFailAsTheySay(t *testing.T) {
	for of, fails := range map[string]bool{"": false, ", of: {atLeast: 3}": false, ", of: all": true} {
		c := newCheck(parse(t, "workflow: w\nsteps:\n  s: {await: {key: {k: v}, step: t"+of+"}}\n").Checked, MaxStates)
		c.all()
		codes, ok := c.codesOf(0)
		if !ok || codes.has("ANY") != fails || !codes.has(timeoutTotal) || !codes.has(awaitTooWide) || c.skipsItself(0) != fails || !heard(&c.g.Nodes[0]) {
			t.Errorf("%q: it fails with %+v, and is skipped: %v", of, codes, c.skipsItself(0))
		}
	}
}

// Of a kind that is not known nothing is told, and it is said where that is.
func TestAKindThatIsNotKnownIsNotChecked(t *testing.T) {
	d := parse(t, "workflow: w\nsteps:\n  a: {timer: {after: 1s}}\n  b: {needs: [a]}\n  c: {needs: [{step: b, ends: failed}]}\n")
	d.Checked.Graph.Nodes[1].Kind = graph.Kind(len(graph.Kinds()))
	if r := Check(d.Checked); r.Verdict != NotChecked || r.Step != "b" || r.Path != "steps.b" || len(r.Findings) > 0 {
		t.Errorf("of a new kind is told: %+v", r)
	}
}
