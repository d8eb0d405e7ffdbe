package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An approval step waits until somebody approves it, or rejects it, which fails it. The first decision counts. Who decided,
// and why, is in the event, and in the output of a step that was approved. Roles are kept and shown, and not checked yet.

// rejected is the code with which a step fails that somebody rejected.
const rejected = "REJECTED"

// approveStep completes a step that waits for an approval.
func (t *turn) approveStep(r *v1.ApproveStepRequest) (proto.Message, *Refusal) {
	i, at, again, refusal := t.findWaiting(r.InstanceId, r.Step, r.Index, func(r *run) bool { return r.State == v1.RunState_RUN_STATE_COMPLETED })
	if refusal != nil {
		return nil, refusal
	}
	if !again {
		t.emit(&runDecided{i: i, at: at, approved: true, reason: r.Reason})
		t.emit(&runCompleted{i: i, at: at, output: &v1.Payload{Bytes: graph.Decision(t.env.Author.GetPrincipal(), r.Reason)}})
		t.advanceInstance(i, at)
	}
	return &v1.ApproveStepResponse{InstanceState: i.rec.State, Duplicate: again}, nil
}

// rejectStep fails a step that waits for an approval.
func (t *turn) rejectStep(r *v1.RejectStepRequest) (proto.Message, *Refusal) {
	i, at, again, refusal := t.findWaiting(r.InstanceId, r.Step, r.Index, func(r *run) bool {
		return r.State == v1.RunState_RUN_STATE_FAILED && r.Code == rejected
	})
	if refusal != nil {
		return nil, refusal
	}
	if !again {
		t.emit(&runDecided{i: i, at: at, reason: r.Reason})
		t.failRun(i, at, rejected, r.Reason, false)
	}
	return &v1.RejectStepResponse{InstanceState: i.rec.State, Duplicate: again}, nil
}

// findWaiting names the run that somebody decides on: it waits for that, or the same was decided before.
func (t *turn) findWaiting(id, step string, index int32, same func(*run) bool) (i *instance, at at, again bool, refusal *Refusal) {
	i, at, refusal = t.find(id, step, index)
	if refusal != nil {
		return nil, at, false, refusal
	}
	r := i.run(at)
	switch {
	case i.step(at).Kind != graph.KindApproval:
		refusal = Refuse(v1.Code_CODE_INVALID, "step %q of instance %q waits for nobody's approval", step, id)
	case same(r):
		again = true
	case ended(r.State):
		refusal = Refuse(v1.Code_CODE_ALREADY_DONE, "step %q of instance %q has ended: it is %s", step, id, runStateName(r.State))
	case r.State != v1.RunState_RUN_STATE_WAITING:
		refusal = Refuse(v1.Code_CODE_NOT_READY, "step %q of instance %q cannot be decided on yet: it is %s", step, id, runStateName(r.State))
	}
	return i, at, again, refusal
}

// runDecided tells of a decision. What becomes of the run is told by the event behind it.
type runDecided struct {
	i        *instance
	at       at
	approved bool
	reason   string
}

func (e *runDecided) kind() string {
	if e.approved {
		return "lockstep.step.approved.v1"
	}
	return "lockstep.step.rejected.v1"
}
func (e *runDecided) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Name, d.Reason = e.i.step(e.at).Role, e.reason
	return e.i.subject()
}
func (e *runDecided) evolve(*turn) {}
