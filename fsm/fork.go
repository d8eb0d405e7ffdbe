package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A fork is a new instance in which everything before a step is done already, as another instance did it: the runs of what the step
// needs, and of what that needs, are copied with what they put out, and all else begins. The other instance stays as it is, and what was
// done in it is its own: what is copied was never leased in the fork, has no token there, and is never undone by it. So nothing is copied
// that the other has undone, or is about to undo, nor what holds a lock until the other has ended.

// forkLevel is the cluster level from which on instances are forked.
const forkLevel = 17

// ForkBytes is how much the copied steps of one fork may have put out: it is read and written in one entry.
const ForkBytes = 4 << 20

// fork is what an instance is forked from.
type fork struct {
	from         *instance
	step, reason string
	copies       []copiedRun
}

// copiedRun is a run that is copied: the newest activation in the one, and the first in the other. Neither is inside another step.
type copiedRun struct {
	from, to at
	output   *v1.Payload
}

// forkedFrom is what an instance was forked from; nil when it was not.
func (i *instance) forkedFrom() *v1.RunName {
	if i.rec.ForkedFrom == "" {
		return nil
	}
	return &v1.RunName{InstanceId: i.rec.ForkedFrom, Step: i.rec.ForkedStep}
}

// forkInstance forks an instance under the id that the caller chose; the same again finds the first, also when what it was forked from is
// there no more.
func (t *turn) forkInstance(r *v1.ForkInstanceRequest) (proto.Message, *Refusal) {
	if i := t.known(r.NewInstanceId); i != nil {
		if i.rec.ForkedFrom != r.InstanceId || i.rec.ForkedStep != r.FromStep || r.Version != 0 && r.Version != i.rec.Version {
			return nil, Refuse(v1.Code_CODE_INSTANCE_EXISTS, "instance %q exists, and is not forked from step %q of instance %q: it is %s version %d",
				r.NewInstanceId, r.FromStep, r.InstanceId, i.rec.Workflow, i.rec.Version)
		}
		return i.forkReply(true), nil
	}
	from, refusal := t.instance(r.InstanceId)
	if refusal != nil {
		return nil, refusal
	}
	if t.tired() {
		return nil, Refuse(v1.Code_CODE_OVERLOADED, "the entry of the log has done as much as one does; fork instance %q again", r.InstanceId)
	}
	start := &v1.StartInstanceRequest{
		InstanceId: r.NewInstanceId, Workflow: from.rec.Workflow, Version: r.Version, InputPayload: t.payload(from, whole, roleInput),
		Labels: pairMap(from.rec.Labels), Keys: r.Keys,
	}
	if start.Version == 0 {
		start.Version = from.rec.Version
	}
	v, refusal := t.startable(start)
	if refusal != nil {
		return nil, refusal
	}
	f := &fork{from: from, step: r.FromStep, reason: r.Reason}
	if f.copies, refusal = t.copiesOf(from, v, r.FromStep); refusal != nil {
		return nil, refusal
	}
	return t.forks(&instanceStarted{request: start, version: v, fork: f}).forkReply(false), nil
}

func (i *instance) forkReply(existing bool) *v1.ForkInstanceResponse {
	return &v1.ForkInstanceResponse{
		InstanceId: i.rec.InstanceId, Version: i.rec.Version, State: i.rec.State, Existing: existing, Copied: i.rec.Copied,
	}
}

// forks starts an instance with what it copies.
func (t *turn) forks(e *instanceStarted) *instance {
	t.emit(e)
	i := t.ns.instances[e.request.InstanceId]
	for _, c := range e.fork.copies {
		t.emit(&runCopied{i: i, copiedRun: c, of: e.fork.from})
	}
	t.emit(&instanceForked{e.fork, i})
	t.reached += len(e.fork.copies)
	t.takeKept(i)
	t.goesBehind(i, &i.root)
	var lost []at
	for _, c := range e.fork.copies {
		if i.run(c.to).State == v1.RunState_RUN_STATE_COMPLETED {
			lost = append(lost, t.endRace(i, c.to)...)
		}
	}
	t.advanceInstance(i, lost...)
	return i
}

// goesBehind begins what a frame of an instance begins with, of which what is needed may have ended already. What that came to holds: nothing
// is followed that ends as it begins before each has what it came to.
func (t *turn) goesBehind(i *instance, f *frame) {
	verdicts := make([]joinVerdict, len(f.runs))
	for n, r := range f.runs {
		if at := f.at(n); r.State == v1.RunState_RUN_STATE_PENDING && len(i.step(at).Needs) > 0 {
			verdicts[n] = i.verdict(at)
		}
	}
	advancing := t.advancing
	t.advancing = advancing || t.m.level() >= resetLevel // as it was below
	t.activateFrom(i, f.first, f)
	for n, verdict := range verdicts {
		at := f.at(n)
		if r := i.run(at); verdict != joinWait && r.State == v1.RunState_RUN_STATE_PENDING && r.Todo == 0 && i.wanted(at) {
			t.reach(i, at, verdict)
		}
	}
	t.advancing = advancing
	t.advanceInstance(i)
}

// copiesOf are the runs that a fork from a step into a version copies, in the order of that version, or why there can be none.
func (t *turn) copiesOf(from *instance, v *version, step string) ([]copiedRun, *Refusal) {
	g := v.compiled()
	node, known := v.nodes[step]
	switch {
	case !known || isCompensation(&g.Nodes[node]):
		return nil, Refuse(v1.Code_CODE_STEP_NOT_FOUND, "workflow %s version %d has no step %q", v.rec.Workflow, v.rec.Version, step)
	case g.Nodes[node].Scope > 0:
		return nil, Refuse(v1.Code_CODE_INVALID, "step %q is inside another; name the step whose body it is in", step)
	}
	var copies []copiedRun
	undone := t.undoneSteps(from)
	size := 0
	for _, before := range g.Upstream(int(node)) {
		c, refusal := from.copyOf(v, before)
		if refusal == nil && undone[c.from.node] && !plant.Is(plant.CopyOfUndone) {
			refusal = from.unfit(v, before, "is undone, or is about to be")
		}
		if refusal != nil {
			return nil, refusal
		}
		c.output = t.payload(from, c.from, roleOutput)
		if size += len(c.output.GetBytes()); size > ForkBytes {
			return nil, Refuse(v1.Code_CODE_PAYLOAD_TOO_LARGE, "what instance %q has put out before step %q is more than %d bytes, which is the most that a fork copies; fork from an earlier step",
				from.rec.InstanceId, step, ForkBytes)
		}
		copies = append(copies, c)
	}
	t.work.Decoded += size
	t.work.Encoded += size
	return copies, nil
}

// copyOf is the run of an instance that is copied for a step of a version, or why it cannot be.
func (i *instance) copyOf(v *version, node int) (c copiedRun, refusal *Refusal) {
	g := v.compiled()
	n := &g.Nodes[node]
	c = copiedRun{from: i.now(i.node(n.ID)), to: at{node: int32(node)}}
	if c.from.node < 0 || !sameStep(i.graph, int(c.from.node), g, node) {
		return c, i.unfit(v, node, "is not the same there: it needs other steps, or is of another kind")
	}
	if g.Holds(node) > graph.HoldStep || i.graph.Holds(int(c.from.node)) > graph.HoldStep {
		return c, i.unfit(v, node, "takes a lock that is held for longer than it runs, and the fork would not hold")
	}
	switch r := i.run(c.from); {
	case !ended(r.State):
		return c, Refuse(v1.Code_CODE_UPSTREAM_PENDING, "step %q of instance %q is %s, and comes before; fork again when it has ended, or from it", n.ID, i.rec.InstanceId, runStateName(r.State))
	case r.State == v1.RunState_RUN_STATE_CANCELLED, r.State == v1.RunState_RUN_STATE_FAILED && !n.Takes(r.Code):
		return c, i.unfit(v, node, "is "+runStateName(r.State))
	}
	return c, nil
}

// unfit refuses to copy the run of a step.
func (i *instance) unfit(v *version, node int, why string) *Refusal {
	step := v.compiled().Nodes[node].ID
	return Refuse(v1.Code_CODE_UPSTREAM_UNFIT, "step %q of version %d comes before, and that of instance %q %s; fork from that step, or from one before it", step, v.rec.Version, i.rec.InstanceId, why)
}

// sameStep says whether steps of two versions are the same to what comes behind them: of one kind, with the same needs, beside each other.
func sameStep(g *graph.Graph, a int, h *graph.Graph, b int) bool {
	if g == h {
		return true
	}
	x, y := &g.Nodes[a], &h.Nodes[b]
	if x.Scope != 0 || x.Kind != y.Kind || isCompensation(x) || len(x.Needs) != len(y.Needs) {
		return false
	}
	for _, need := range x.Needs {
		at := slices.IndexFunc(y.Needs, func(other int) bool { return h.Nodes[other].ID == g.Nodes[need].ID })
		if at < 0 {
			return false
		}
		e, f := g.Edge(need, a), h.Edge(y.Needs[at], b)
		if e.Ends != f.Ends || !slices.Equal(e.Codes, f.Codes) {
			return false
		}
	}
	return true
}

// undoneSteps are the steps of an instance, by their nodes, of which something is undone, or is to be when what is leased has ended.
func (t *turn) undoneSteps(i *instance) map[int32]bool {
	undone := map[int32]bool{}
	add := func(at at) {
		if at = i.outermost(at); at == i.now(at.node) { // what was set back is not copied
			undone[at.node] = true
		}
	}
	for at := range i.all() {
		if of, is := i.compensates(at); is {
			add(of)
		}
	}
	if i.stage(whole) == stageStops {
		for _, at := range t.toUndo(i, whole) {
			add(at)
		}
	}
	return undone
}

// runCopied is a run that ended in another instance, and counts as ended so in the fork of that.
type runCopied struct {
	i *instance
	copiedRun
	of *instance

	digest []byte
}

func (e *runCopied) kind() string { return "lockstep.step.copied.v1" }
func (e *runCopied) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.to)
	r := e.i.run(e.to)
	d.Code, d.Reason, d.Name = r.Code, r.Reason, runStateName(r.State)
	d.PayloadDigest, d.PayloadSize = e.digest, int64(len(e.output.GetBytes()))
	d.OtherInstance, d.OtherStep = e.of.rec.InstanceId, d.Step
	return e.i.subject()
}
func (e *runCopied) evolve(t *turn) {
	e.digest = t.payloadDigest(e.output)
	was := e.of.run(e.from)
	t.m.change(e.i, e.to, func(r *run) {
		r.State, r.Copied, r.ChangedWall = was.State, true, t.wall()
		r.Code, r.Reason = was.Code, was.Reason
	})
	t.m.setPayload(e.i, e.to, roleOutput, e.output)
	successors := e.i.step(e.to).Successors
	for k := range successors {
		need := &successors[k]
		met := meets(need, e.i.run(e.to)) == needMet
		t.m.change(e.i, e.to.beside(need.To), func(r *run) {
			r.Pending--
			if met {
				r.Done++
			}
		})
	}
	t.overRun(e.i, e.to)
}

// instanceForked tells in the history of an instance that another was forked from it.
type instanceForked struct {
	*fork
	to *instance
}

func (e *instanceForked) kind() string { return "lockstep.instance.forked.v1" }
func (e *instanceForked) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version = e.from.rec.InstanceId, e.from.rec.Workflow, e.from.rec.Version
	d.OtherInstance, d.Name, d.Reason, d.Count = e.to.rec.InstanceId, e.step, e.reason, int32(len(e.copies))
	d.Labels = pairMap(e.from.rec.Labels)
	return e.from.subject()
}
func (e *instanceForked) evolve(t *turn) { t.m.touch(e.from) }
