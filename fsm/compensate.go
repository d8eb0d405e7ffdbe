package fsm

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An instance that failed or was cancelled undoes what it completed before it ends. The compensation of a step is a run like
// any other, of a node of its own; it exists from the moment at which its step's completion is to be undone. It is ready when
// the compensations of all that came behind its step are over. What it is ready for is counted as joins are: while an instance
// compensates, a step's run counts in Pending its successors that are not undone yet, and a step without anything to undo is
// undone with the last of them. A compensation that does not succeed is an incident: it stands still, and so does what came
// before it, until somebody has it tried again or skipped.

// compensationLevel is the cluster level from which on workflows have compensations.
const compensationLevel = 4

// stopping: the instance waits for its leased runs to end, and wants nothing of them.
func (i *instance) stopping() bool {
	return i.rec.State == v1.InstanceState_INSTANCE_STATE_FAILING || i.rec.State == v1.InstanceState_INSTANCE_STATE_CANCELLING
}

func (i *instance) compensating() bool {
	return i.rec.State == v1.InstanceState_INSTANCE_STATE_COMPENSATING
}

// compensates says whether a run is a compensation, and of which step's run.
func (i *instance) compensates(at at) (of at, is bool) {
	step, is := i.step(at).Compensates()
	return at.beside(step), is
}

// moveOn has what follows a completed run happen.
func (t *turn) moveOn(i *instance, at at) {
	switch {
	case i.compensating():
		t.undone(i, at)
	case i.stopping():
		t.endStopped(i)
	default:
		t.advanceInstance(i, at)
	}
}

// finish ends an instance of which nothing runs any more, behind the compensations of what it completed.
func (t *turn) finish(i *instance, to v1.InstanceState, code, reason string) {
	undo := t.toUndo(i)
	if len(undo) == 0 {
		t.emit(&instanceChanged{i: i, to: to, code: code, reason: reason})
		return
	}
	t.emit(&compensationBegun{instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_COMPENSATING, code: code, reason: reason}, to, undo})
	if i.graph.Sequential {
		t.undoNewest(i)
		return
	}
	var ends []at
	for node := range i.graph.Nodes {
		n := &i.graph.Nodes[node]
		if _, is := n.Compensates(); !is && len(n.Successors) == 0 {
			ends = append(ends, i.root.at(node))
		}
	}
	t.undo(i, ends)
}

// toUndo are the completed runs that have a compensation and are not before the step from which on the instance is undone.
func (t *turn) toUndo(i *instance) (undo []at) {
	if !i.graph.Compensable() {
		return nil
	}
	wanted := i.since(i.rec.CompensateFrom)
	for at, r := range i.all() {
		done := r.State == v1.RunState_RUN_STATE_COMPLETED || plant.Is(plant.UndoesUndone) && r.Attempt > 0
		if done && i.step(at).Compensation > 0 && wanted(at) {
			undo = append(undo, at)
		}
	}
	return undo
}

// since tells the steps that are not before one, which is counted from one; zero is before all.
func (i *instance) since(from int32) func(at) bool {
	if from == 0 {
		return func(at) bool { return true }
	}
	nodes := make([]bool, len(i.graph.Nodes))
	for _, node := range i.graph.After(int(from) - 1) {
		nodes[node] = true
	}
	return func(at at) bool { return nodes[at.node] }
}

// undo begins the compensations of steps behind which all is undone, and of those before them that have nothing to undo.
func (t *turn) undo(i *instance, ready []at) {
	for len(ready) > 0 {
		step := ready[0]
		ready = ready[1:]
		n := i.step(step)
		if n.Compensation > 0 && i.run(step.beside(n.Compensation)).State == v1.RunState_RUN_STATE_PENDING {
			t.activate(i, step.beside(n.Compensation))
			continue
		}
		ready = append(ready, t.passBack(i, step)...)
	}
}

// passBack counts a step as undone, and returns those before it behind which all is undone with that.
func (t *turn) passBack(i *instance, step at) (ready []at) {
	for _, need := range i.step(step).Needs {
		before := step.beside(need)
		t.m.change(i, before, func(r *run) { r.Pending-- })
		if left := i.run(before).Pending; left == 0 || plant.Is(plant.UndoesEarly) && i.step(before).Compensation > 0 {
			ready = append(ready, before)
		}
	}
	return ready
}

// undoNewest begins the compensation of the newest completion that is not undone.
func (t *turn) undoNewest(i *instance) {
	var newest at
	last := int64(0)
	for at, r := range i.all() {
		if of, is := i.compensates(at); is && r.State == v1.RunState_RUN_STATE_PENDING && i.run(of).CompletedAt > last {
			newest, last = at, i.run(of).CompletedAt
		}
	}
	if last > 0 {
		t.activate(i, newest)
	}
}

// undone goes on behind a compensation that is over, and ends the instance behind the last.
func (t *turn) undone(i *instance, at at) {
	switch of, _ := i.compensates(at); {
	case i.root.open == 0:
		t.emit(&instanceChanged{i: i, to: i.rec.Ends, code: i.rec.Code, reason: i.rec.Reason})
	case i.graph.Sequential:
		t.undoNewest(i)
	default:
		t.undo(i, t.passBack(i, of))
	}
}

// inputOf is what a run is given, if it is not the instance's input. A compensation without a mapping is given what its step
// was, and what that put out.
func (t *turn) inputOf(i *instance, at at) (*v1.Payload, error) {
	of, compensates := i.compensates(at)
	var value []byte
	var err error
	switch {
	case i.step(at).HasInput:
		value, err = i.graph.Input(int(at.node), t.view(i, i.frame(at)))
	case compensates:
		given := of
		if !i.step(of).HasInput {
			given = whole
		}
		value, err = graph.Undo(jsonOf(t.payload(i, given, roleInput)), jsonOf(t.payload(i, of, roleOutput)))
	}
	if value == nil || err != nil {
		return nil, err
	}
	return &v1.Payload{Bytes: value}, nil
}

// compensateInstance stops an instance and undoes it from a step on. One that compensates already has what stands still tried
// again, or skipped.
func (t *turn) compensateInstance(r *v1.CompensateInstanceRequest) (proto.Message, *Refusal) {
	i, refusal := t.instance(r.InstanceId)
	if refusal != nil {
		return nil, refusal
	}
	from := int32(0)
	if r.FromStep != "" {
		from = i.node(r.FromStep) + 1
		if from == 0 || isCompensation(&i.graph.Nodes[from-1]) {
			return nil, Refuse(v1.Code_CODE_STEP_NOT_FOUND, "workflow %s version %d of instance %q has no step %q", i.rec.Workflow, i.rec.Version, r.InstanceId, r.FromStep)
		}
	}
	switch {
	case !i.live():
		return nil, Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s", r.InstanceId, stateName(i.rec.State))
	case !i.graph.Compensable():
		return nil, Refuse(v1.Code_CODE_INVALID, "workflow %s version %d has no compensations; cancel the instance", i.rec.Workflow, i.rec.Version)
	case i.compensating():
		return t.resume(i, from, r), nil
	case r.Skip:
		return nil, Refuse(v1.Code_CODE_INVALID, "instance %q does not compensate yet: it is %s; skip is for what stands still", r.InstanceId, stateName(i.rec.State))
	case i.rec.State != v1.InstanceState_INSTANCE_STATE_CANCELLING:
		t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_CANCELLING, reason: r.Reason, from: from})
		t.stopRuns(i)
	case i.rec.CompensateFrom != from:
		return nil, Refuse(v1.Code_CODE_INVALID, "instance %q is being cancelled already, and compensates %s", r.InstanceId, i.sayFrom())
	}
	return &v1.CompensateInstanceResponse{State: i.rec.State}, nil
}

func isCompensation(n *graph.Node) bool {
	_, is := n.Compensates()
	return is
}

func (i *instance) sayFrom() string {
	if i.rec.CompensateFrom == 0 {
		return "all of it"
	}
	return "from step " + i.graph.Nodes[i.rec.CompensateFrom-1].ID + " on"
}

// resume has compensations that stand still tried again, with all their attempts, or skips them: those of a step and of what
// came behind it.
func (t *turn) resume(i *instance, from int32, r *v1.CompensateInstanceRequest) *v1.CompensateInstanceResponse {
	reply := &v1.CompensateInstanceResponse{}
	wanted := i.since(from)
	var still []at
	for at, run := range i.all() {
		if of, _ := i.compensates(at); run.State == v1.RunState_RUN_STATE_INCIDENT && wanted(of) {
			still = append(still, at)
		}
	}
	for _, at := range still {
		reply.Steps = append(reply.Steps, i.step(at).ID)
		if r.Skip {
			t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_SKIPPED, reason: r.Reason})
			t.undone(i, at)
			continue
		}
		t.emit(&runResumed{i: i, at: at, reason: r.Reason})
		t.activate(i, at)
	}
	reply.State = i.rec.State
	return reply
}

// compensationBegun has the runs of compensations come to be.
type compensationBegun struct {
	instanceChanged
	ends v1.InstanceState
	undo []at
}

func (e *compensationBegun) evolve(t *turn) {
	e.instanceChanged.evolve(t)
	e.i.rec.Ends = e.ends
	for at := range e.i.all() {
		t.m.change(e.i, at, func(r *run) { r.Pending = int32(len(e.i.step(at).Successors)) })
	}
	for _, at := range e.undo {
		t.m.change(e.i, at.beside(e.i.step(at).Compensation), func(r *run) {
			r.State, r.ChangedWall = v1.RunState_RUN_STATE_PENDING, t.wall()
		})
	}
}

// explainCompensation tells how far an instance is.
func (i *instance) explainCompensation() *v1.Explanation {
	over, all := 0, 0
	for at, r := range i.all() {
		if isCompensation(i.step(at)) {
			if all++; ended(r.State) {
				over++
			}
		}
	}
	return &v1.Explanation{
		Code:     v1.ExplainCode_EXPLAIN_CODE_COMPENSATING,
		Sentence: fmt.Sprintf("The instance is COMPENSATING: %d of %d compensations are over, and behind the last it is %s. %s", over, all, stateName(i.rec.Ends), i.rec.Reason),
	}
}

// explainUndo tells for what a compensation waits: those of steps that came behind its own.
func (i *instance) explainUndo(of at, e *v1.Explanation) {
	e.Code = v1.ExplainCode_EXPLAIN_CODE_NEEDS_PENDING
	behind := i.graph.After(int(of.node))[1:]
	if i.graph.Sequential {
		behind = behind[:0]
		for node := range i.graph.Nodes {
			if i.run(of.beside(node)).CompletedAt > i.run(of).CompletedAt {
				behind = append(behind, node)
			}
		}
	}
	for _, node := range behind {
		if c := i.graph.Nodes[node].Compensation; c > 0 {
			if r := i.run(of.beside(c)); r.State != unbegun && !ended(r.State) {
				e.Missing = append(e.Missing, i.graph.Nodes[c].ID)
			}
		}
	}
	e.Sentence = fmt.Sprintf("Step %q is undone behind %s.", i.step(of).ID, strings.Join(e.Missing, ", "))
}
