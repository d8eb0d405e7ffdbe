package fsm

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const approved = `
workflow: w
steps:
  a: {queue: q}
  b: {needs: [a], approval: {role: finance}, timeouts: {total: 10s}}
  c: {needs: [b], queue: q, input: {by: "${steps.b.output.by}", why: "${steps.b.output.reason}"}}
`

func approve(id, step, reason string) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{Author: &v1.Author{Principal: "ann", Kind: "person"}}, Body: &logv1.Command_ApproveStep{ApproveStep: &v1.ApproveStepRequest{
		InstanceId: id, Step: step, Reason: reason,
	}}}
}

func reject(id, step, reason string) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{Author: &v1.Author{Principal: "bob"}}, Body: &logv1.Command_RejectStep{RejectStep: &v1.RejectStepRequest{
		InstanceId: id, Step: step, Reason: reason,
	}}}
}

// toApprove has instances whose step b waits for an approval.
func (r *rig) toApprove(ids ...string) {
	r.t.Helper()
	r.register(approved)
	worker := r.session(60 * second)
	for _, id := range ids {
		r.start("w", id, `{}`)
		r.complete(r.poll(worker, "q", 1)[0], `{}`)
	}
	r.midway()
}

// Who approves completes the step: it is told with who that was and why, and the step's output says so.
func TestAnApprovalCompletesItsStep(t *testing.T) {
	scenario(t, func(r *rig) {
		r.toApprove("i")
		if e := r.why("i", "b"); e.Code != v1.ExplainCode_EXPLAIN_CODE_APPROVAL_PENDING || fmt.Sprint(e.Missing) != "[finance]" || e.NextIn.AsDuration() != 10e9 {
			r.t.Fatalf("explained as %v", e)
		}
		got := r.tell(approve("i", "b", "it is fine"))
		if want := "[step.approved b step.completed b step.ready c]"; fmt.Sprint(kinds(got)) != want {
			r.t.Fatalf("got %v", kinds(got))
		}
		if e := got.Events()[0]; e.Author.GetPrincipal() != "ann" || e.Data.Reason != "it is fine" || e.Data.Name != "finance" {
			r.t.Fatalf("told as %v", e)
		}
		r.midway()
		run := r.poll(r.session(60*second), "q", 1)[0]
		if string(run.InputPayload.Bytes) != `{"by":"ann","why":"it is fine"}` {
			r.t.Fatalf("what follows sees %s", run.InputPayload.Bytes)
		}
	})
}

// Who rejects fails the step, and with it the instance.
func TestARejectionFailsItsStep(t *testing.T) {
	scenario(t, func(r *rig) {
		r.toApprove("i")
		got := r.tell(reject("i", "b", "too dear"))
		if want := "[step.rejected b step.failed b instance.failing step.cancelled c instance.failed]"; fmt.Sprint(kinds(got)) != want {
			r.t.Fatalf("got %v", kinds(got))
		}
		i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"})
		if err != nil || i.Code != "REJECTED" || i.Reason != "step b failed: too dear" {
			r.t.Fatalf("the instance is %v, %v", i, err)
		}
	})
}

// The first decision counts. The same again is answered so, and changes nothing; the other one is refused.
func TestTheFirstDecisionCounts(t *testing.T) {
	scenario(t, func(r *rig) {
		r.toApprove("yes", "no")
		r.do(approve("yes", "b", ""))
		r.do(reject("no", "b", ""))
		r.midway()
		position := r.m.namespaces[DefaultNamespace].rec.Position
		again, _ := r.do(approve("yes", "b", "once more"))
		if want := (&v1.ApproveStepResponse{InstanceState: v1.InstanceState_INSTANCE_STATE_RUNNING, Duplicate: true}); !proto.Equal(again, want) {
			r.t.Errorf("approved again: %v", again)
		}
		again, _ = r.do(reject("no", "b", "once more"))
		if want := (&v1.RejectStepResponse{InstanceState: v1.InstanceState_INSTANCE_STATE_FAILED, Duplicate: true}); !proto.Equal(again, want) {
			r.t.Errorf("rejected again: %v", again)
		}
		for _, c := range []*logv1.Command{reject("yes", "b", ""), approve("no", "b", "")} {
			if _, refusal := r.do(c); refusal.GetCode() != v1.Code_CODE_ALREADY_DONE {
				r.t.Errorf("otherwise: %v", refusal)
			}
		}
		if now := r.m.namespaces[DefaultNamespace].rec.Position; now != position {
			r.t.Errorf("%d events more", now-position)
		}
	})
}

// Only what waits for an approval can be decided on.
func TestWhatCannotBeDecidedOn(t *testing.T) {
	r := newRig(t)
	r.register(approved)
	r.start("w", "i", `{}`)
	for code, c := range map[v1.Code]*logv1.Command{
		v1.Code_CODE_INSTANCE_NOT_FOUND: approve("none", "b", ""), v1.Code_CODE_STEP_NOT_FOUND: approve("i", "none", ""),
		v1.Code_CODE_INVALID: approve("i", "a", ""), v1.Code_CODE_NOT_READY: reject("i", "b", ""),
	} {
		if _, refusal := r.do(c); refusal.GetCode() != code {
			r.t.Errorf("%v: %v", code, refusal)
		}
	}
	c := approve("i", "b", "")
	c.GetApproveStep().Index = 1
	if _, refusal := r.do(c); refusal.GetCode() != v1.Code_CODE_RUN_NOT_FOUND {
		r.t.Errorf("another run: %v", refusal)
	}
}

// Nobody decides: the step fails at its total timeout.
func TestAnApprovalHasADeadline(t *testing.T) {
	scenario(t, func(r *rig) {
		r.toApprove("i")
		r.tick(10*second - 1)
		r.midway()
		r.is("i", "RUNNING a=COMPLETED b=WAITING c=PENDING")
		r.tick(1)
		r.is("i", "FAILED(TIMEOUT_TOTAL) a=COMPLETED b=FAILED c=CANCELLED")
		if _, refusal := r.do(approve("i", "b", "")); refusal.GetCode() != v1.Code_CODE_ALREADY_DONE {
			r.t.Errorf("too late: %v", refusal)
		}
	})
}
