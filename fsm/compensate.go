package fsm

import (
	"fmt"
	"iter"
	"slices"
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
	case isCompensation(i.step(at)):
		t.undone(i, at)
	case i.wanted(at):
		t.advanceInstance(i, at)
	default:
		t.endIn(i, at)
	}
}

// finish ends an activation of which nothing runs any more, behind the compensations of what was completed inside it.
func (t *turn) finish(i *instance, owner at, to v1.InstanceState, code, reason string) {
	undo := t.toUndo(i, owner)
	switch {
	case len(undo) == 0 && owner == whole:
		t.emit(&instanceChanged{i: i, to: to, code: code, reason: reason})
		return
	case len(undo) == 0:
		t.failedBody(i, owner)
		return
	case owner == whole:
		t.emit(&compensationBegun{instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_COMPENSATING, code: code, reason: reason}, to, undo})
	default:
		t.emit(&bodyUndoing{i, owner, undo})
	}
	if i.graph.Sequential {
		t.undoNewest(i, owner)
	} else {
		t.undoFrames(i, owner)
	}
}

// toUndo are the completed runs inside an activation that have a compensation and are not before the step from which on the instance
// is undone. What a body inside it that failed has undone already is not undone again; nor is what was copied, which is that of another.
func (t *turn) toUndo(i *instance, owner at) (undo []at) {
	if !i.graph.Compensable() {
		return nil
	}
	wanted := i.since(i.rec.CompensateFrom)
	for at, r := range runsOf(i.below(owner)) {
		done := r.State == v1.RunState_RUN_STATE_COMPLETED || plant.Is(plant.UndoesUndone) && r.Attempt > 0
		if plant.Is(plant.ResetNotUndone) && i.step(at).Scope == 0 && at != i.now(at.node) {
			continue
		}
		if plant.Is(plant.InsideNotUndone) && i.step(at).Scope > 0 || r.Copied && !plant.Is(plant.CopyUndone) {
			continue
		}
		if c := i.step(at).Compensation; done && c > 0 && i.run(at.beside(c)).State == unbegun && wanted(at) {
			undo = append(undo, at)
		}
	}
	return undo
}

// since tells the runs that are not before a step, which is counted from one; zero is before all. What is inside a step's body is where
// the step is.
func (i *instance) since(from int32) func(at) bool {
	if from == 0 {
		return func(at) bool { return true }
	}
	scope := int32(i.graph.Nodes[from-1].Scope)
	nodes := make([]bool, len(i.graph.Nodes))
	for _, node := range i.graph.After(int(from) - 1) {
		nodes[node] = true
	}
	return func(at at) bool {
		for f := i.frame(at); f.scope != scope && !f.outermost(); f = i.frame(at) {
			at = f.owner
		}
		return nodes[at.node]
	}
}

// undo begins the compensations of steps behind which all is undone, and of those before them that have nothing to undo.
func (t *turn) undo(i *instance, ready []at) {
	for len(ready) > 0 {
		step := ready[0]
		ready = ready[1:]
		n := i.step(step)
		switch {
		case n.Compensation > 0 && i.run(step.beside(n.Compensation)).State == v1.RunState_RUN_STATE_PENDING:
			t.undoes(i, step.beside(n.Compensation))
		case n.Body > 0 && t.undoFrames(i, step):
		default:
			ready = append(ready, t.passBack(i, step)...)
		}
	}
}

// undoFrames begins to undo the newest of an activation's frames that has something to undo. It tells whether there is one.
func (t *turn) undoFrames(i *instance, owner at) bool {
	for _, f := range slices.Backward(i.of(owner)) {
		if f.open == 0 {
			continue
		}
		var ends []at
		for n := range f.runs {
			at := f.at(n)
			if step := i.step(at); !isCompensation(step) && len(step.Successors) == 0 && f.runs[n].State != unbegun {
				ends = append(ends, at)
			}
		}
		t.undo(i, ends)
		return true
	}
	return false
}

// passBack counts a step as undone, and returns those before it behind which all is undone with that.
func (t *turn) passBack(i *instance, step at) (ready []at) {
	for _, need := range i.step(step).Needs {
		before := step.beside(need)
		if i.run(before).State == unbegun || i.stage(whole) != stageUndoes && i.step(before).Scope == 0 && before == i.now(before.node) {
			continue // it was not set back with the step, and is undone behind all that was
		}
		t.m.change(i, before, func(r *run) { r.Pending-- })
		if left := i.run(before).Pending; left == 0 || plant.Is(plant.UndoesEarly) && i.step(before).Compensation > 0 {
			ready = append(ready, before)
		}
	}
	return ready
}

// undoNewest begins the compensation of the newest completion inside an activation that is not undone.
func (t *turn) undoNewest(i *instance, owner at) {
	t.undoNewestOf(i, placesOf(runsOf(i.below(owner))))
}

func (t *turn) undoNewestOf(i *instance, runs iter.Seq[at]) {
	var newest at
	last := int64(0)
	for at := range runs {
		if of, is := i.compensates(at); is && i.run(at).State == v1.RunState_RUN_STATE_PENDING && i.run(of).CompletedAt > last {
			newest, last = at, i.run(of).CompletedAt
		}
	}
	if last > 0 {
		t.undoes(i, newest)
	}
}

// undone goes on behind a compensation that is over, and ends what is undone behind the last.
func (t *turn) undone(i *instance, at at) {
	owner := i.undoing(at)
	if owner == whole && i.stage(whole) != stageUndoes {
		t.backUndone(i, at)
		return
	}
	open := i.inside(owner).open
	of, _ := i.compensates(at)
	switch {
	case open == 0 && owner == whole:
		t.emit(&instanceChanged{i: i, to: i.rec.Ends, code: i.rec.Code, reason: i.rec.Reason})
	case open == 0:
		t.failedBody(i, owner)
	case i.graph.Sequential:
		t.undoNewest(i, owner)
	default:
		t.undo(i, t.passBack(i, of))
		t.frameUndone(i, owner, i.frame(at))
	}
}

// frameUndone goes on behind a frame of which all is undone: with one that was begun before it, or behind the step whose body it is.
func (t *turn) frameUndone(i *instance, owner at, f *frame) {
	for f != &i.root && f.open == 0 {
		if t.undoFrames(i, f.owner) || f.owner == owner {
			return
		}
		step := f.owner
		f = i.frame(step)
		t.undo(i, t.passBack(i, step))
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
		t.work.Encoded += 2 * len(value) // it is decoded for that
	}
	if value == nil || err != nil {
		return nil, err
	}
	return &v1.Payload{Bytes: value}, nil
}

// compensateInstance has what stands still of an instance tried again, or skipped. Where nothing does, it stops the instance and undoes
// it from a step on.
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
	case from > 0 && i.graph.Nodes[from-1].Scope > 0:
		return nil, Refuse(v1.Code_CODE_INVALID, "step %q is inside another; name the step whose body it is in", r.FromStep)
	case i.compensating() || len(i.still(from)) > 0:
		return t.resume(i, from, r), nil
	case !i.graph.Compensable():
		return nil, Refuse(v1.Code_CODE_INVALID, "workflow %s version %d has no compensations; cancel the instance", i.rec.Workflow, i.rec.Version)
	case r.Skip:
		return nil, Refuse(v1.Code_CODE_INVALID, "instance %q does not compensate yet: it is %s; skip is for what stands still", r.InstanceId, stateName(i.rec.State))
	case i.rec.State != v1.InstanceState_INSTANCE_STATE_CANCELLING:
		t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_CANCELLING, reason: r.Reason, from: from})
		t.stopRuns(i, whole)
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
	for _, at := range i.still(from) {
		reply.Steps = append(reply.Steps, i.step(at).ID)
		if r.Skip {
			t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_SKIPPED, reason: r.Reason})
			t.undone(i, at)
			continue
		}
		t.tryAgain(i, at, r.Reason)
	}
	reply.State = i.rec.State
	return reply
}

// still are the compensations that stand still: of a step, counted from one, and of what came behind it; zero is all.
func (i *instance) still(from int32) (still []at) {
	wanted := i.since(from)
	for at, run := range i.all() {
		if of, is := i.compensates(at); is && run.State == v1.RunState_RUN_STATE_INCIDENT && wanted(of) {
			still = append(still, at)
		}
	}
	return still
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
	t.beginUndo(e.i, placesOf(runsOf(e.i.below(whole))), e.undo)
}

// beginUndo has the runs of compensations come to be, and steps count what is behind them.
func (t *turn) beginUndo(i *instance, runs iter.Seq[at], undo []at) {
	for at := range runs {
		if !isCompensation(i.step(at)) {
			t.m.change(i, at, func(r *run) { r.Pending = int32(len(i.step(at).Successors)) })
		}
	}
	for _, at := range undo {
		t.m.change(i, at.beside(i.step(at).Compensation), func(r *run) {
			r.State, r.ChangedWall = v1.RunState_RUN_STATE_PENDING, t.wall()
		})
	}
}

// bodyUndoing has a run with a body that failed undo what was completed inside it.
type bodyUndoing struct {
	i    *instance
	at   at
	undo []at
}

func (e *bodyUndoing) kind() string { return "lockstep.step.compensating.v1" }
func (e *bodyUndoing) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	return e.i.subject()
}
func (e *bodyUndoing) evolve(t *turn) {
	t.m.change(e.i, e.at, func(r *run) { r.Stage, r.ChangedWall = stageUndoes, t.wall() })
	t.beginUndo(e.i, placesOf(runsOf(e.i.below(e.at))), e.undo)
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
	for _, f := range i.outermosts() { // what was done again is undone before what it was built on
		for n, r := range f.runs {
			if at := f.at(n); f.index > i.outdated(of).index && isCompensation(i.step(at)) && r.State != unbegun && !ended(r.State) {
				e.Missing = append(e.Missing, i.step(at).ID)
			}
		}
	}
	e.Sentence = fmt.Sprintf("Step %q is undone behind %s.", i.step(of).ID, strings.Join(e.Missing, ", "))
}
