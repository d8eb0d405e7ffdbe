package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What drawn definitions call, what they meet, and what they wait for: a step that ends in any way, and one that may be skipped.
const (
	kid   = "workflow: kid\nsteps:\n  t: {queue: t, retry: {attempts: 1}}\n"
	mate  = "workflow: mate\nsteps:\n  t: {barrier: {name: \"${input.at}\", parties: 2}}\n"
	other = "workflow: other\nsteps:\n  t: {when: input.go, queue: t, retry: {attempts: 1}}\n"
)

// await draws a wait for an instance that is the step's own, or for its step.
func (d *drawnSteps) await(indent, id string) {
	instance := "other-${input.run}-" + id
	if up := d.up[id]; d.reads && len(up) > 0 && !d.one(3) {
		instance += fmt.Sprintf("-${size([steps.%s.output])}", up[d.IntN(len(up))])
	}
	fmt.Fprintf(&d.b, "%sawait: {instance: \"%s\"%s}\n%stimeouts: {total: %s}\n", indent, instance, []string{"", ", step: t"}[d.IntN(2)], indent, d.time())
}

// call draws a call, which is given what may not be there: where it counts who reads steps, no field of the input.
func (d *drawnSteps) call(indent, id string) {
	input, detach := "input.given_"+id, []string{"", ", detach: true"}[d.IntN(2)]
	switch up := d.up[id]; {
	case d.reads && len(up) > 0 && !d.one(3):
		input = fmt.Sprintf("steps.%s.output", up[d.IntN(len(up))])
	case d.reads: // so that its time cannot pass, if it is only started
		input, detach = "index", ""
	}
	fmt.Fprintf(&d.b, "%scall: {workflow: kid%s}\n%sinput: \"${%s}\"\n%stimeouts: {total: %s}\n",
		indent, detach, indent, input, indent, d.time())
}

// barrier draws one at which the step's own mate comes, or does not. Of a race one is a barrier.
func (d *drawnSteps) barrier(indent, id string) (races bool) {
	name := "meet-${input.run}-" + id
	if up := d.up[id]; d.reads && len(up) > 0 && !d.one(3) {
		name += fmt.Sprintf("-${size([steps.%s.output])}", up[d.IntN(len(up))])
	}
	fmt.Fprintf(&d.b, "%sbarrier: {name: \"%s\", parties: 2}\n%stimeouts: {total: %s}\n", indent, name, indent, d.time())
	races, d.met = !d.met, true
	return races
}

// taken has ids that an instance calls its children by be taken, now and then.
func (w *wanderer) taken(id string) {
	version, refusal := w.m.namespaces[DefaultNamespace].version("w", 0)
	must(refusalError(refusal))
	nodes := version.compiled().Nodes
	for n := range nodes {
		if nodes[n].Kind == graph.KindCall && w.rng.IntN(6) == 0 {
			w.begin("kid", id+":"+nodes[n].ID)
		}
	}
}

func (w *wanderer) begin(workflow, id string) {
	w.others = append(w.others, id)
	w.tell(startOf(workflow, id, fmt.Sprintf(`{"go":%v}`, w.rng.IntN(3) > 0)))
}

// leave ends what an instance was to find, and has not ended.
func (w *wanderer) leave() {
	for _, id := range w.others {
		if i := w.m.namespaces[DefaultNamespace].instances[id]; i != nil && i.live() { // what ended long ago is gone
			w.tell(cancelOf(id))
		}
	}
	w.others = nil
}

// mateMoves are what can happen to a run that waits at a barrier: it is met. Runs of one step that wait there at a time meet each other.
func (w *wanderer) mateMoves(barrier string) []func() *logv1.Command {
	return []func() *logv1.Command{func() *logv1.Command {
		id := fmt.Sprint("mate-", len(w.others), "-", w.runs)
		w.others = append(w.others, id)
		return startOf("mate", id, fmt.Sprintf(`{"at":%q}`, barrier))
	}}
}

// otherMoves are what can happen to an instance that a run waits for. One that is not there can be started.
func (w *wanderer) otherMoves(id string) (moves []func() *logv1.Command) {
	of := w.m.namespaces[DefaultNamespace].instances[id]
	switch {
	case of == nil && strings.HasPrefix(id, "other-"):
		return append(moves, func() *logv1.Command {
			w.others = append(w.others, id)
			return startOf("other", id, fmt.Sprintf(`{"go":%v}`, w.rng.IntN(3) > 0))
		})
	case of == nil || !of.live() || of.run(at{}).State != v1.RunState_RUN_STATE_READY:
		return nil
	}
	return append(moves, func() *logv1.Command {
		if w.rng.IntN(8) == 0 {
			return cancelOf(id)
		}
		reply, refusal := w.do(&logv1.Command{Body: &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{
			Session: w.session(600 * second), InstanceId: id, Step: "t",
		}}})
		if refusal != nil {
			w.t.Fatal(refusal)
		}
		return w.ends(reply.(*v1.LeaseStepResponse).Run)
	})
}

// The definitions that the checker is tried on have each kind of step that the language has.
func TestAllKindsAreDrawn(t *testing.T) {
	missing := graph.Kinds()
	for seed := range uint64(25) {
		d, err := source.Parse([]byte(drawn(seed, 0, false)), "yaml")
		if err != nil {
			t.Fatal(err)
		}
		for n := range d.Checked.Graph.Nodes {
			missing = slices.DeleteFunc(missing, func(k graph.Kind) bool { return k == d.Checked.Graph.Nodes[n].Kind })
		}
	}
	if len(missing) > 0 {
		t.Errorf("none of 25 definitions has steps of the kinds %v", missing)
	}
}
