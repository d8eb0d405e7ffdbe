package api

import (
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const approvalYAML = `
workflow: w
timeouts: {total: 1h}
steps:
  a: {approval: {role: finance}}
  b: {timer: {after: 1h}}
  c: {race: [a, b], queue: q}
`

// A decision is made once, by whoever makes it first; what a step waits for is shown.
func TestApprovals(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: approvalYAML})
	for _, id := range []string{"yes", "no"} {
		must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: id, Workflow: "w"})
	}
	i := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "yes"})
	if i.Runs[0].Role != "finance" || i.Runs[0].State != v1.RunState_RUN_STATE_WAITING || i.Remaining.AsDuration() <= 0 {
		t.Errorf("instance: %v", i)
	}
	why := must(t, client.Explain, &v1.ExplainRequest{InstanceId: "yes"}).Explanations
	if len(why) != 2 || why[0].Code != v1.ExplainCode_EXPLAIN_CODE_APPROVAL_PENDING || why[1].Code != v1.ExplainCode_EXPLAIN_CODE_TIMER_PENDING {
		t.Errorf("explained: %v", why)
	}
	for range 2 {
		if got := must(t, client.ApproveStep, &v1.ApproveStepRequest{InstanceId: "yes", Step: "a", Reason: "fine"}); got.InstanceState != v1.InstanceState_INSTANCE_STATE_RUNNING {
			t.Errorf("approved: %v", got)
		}
	}
	if got := must(t, client.RejectStep, &v1.RejectStepRequest{InstanceId: "no", Step: "a", Reason: "too dear"}); got.InstanceState != v1.InstanceState_INSTANCE_STATE_FAILED || got.Duplicate {
		t.Errorf("rejected: %v", got)
	}
	if r := refusal(t, client.RejectStep, &v1.RejectStepRequest{InstanceId: "yes", Step: "a"}); r.Code != v1.Code_CODE_ALREADY_DONE {
		t.Errorf("rejected after all: %v", r)
	}
	for _, r := range []*v1.ApproveStepRequest{{Step: "a"}, {InstanceId: "yes"}, {InstanceId: "yes", Step: "a", Index: -1}, {InstanceId: "yes", Step: "c"}} {
		if got := refusal(t, client.ApproveStep, r); got.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v: %v", r, got)
		}
	}
}
