package api

import (
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A step calls a workflow: the child names its parent, and who waits for whom is told.
func TestCalls(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: leaf\nsteps:\n  a: {queue: q}\n"})
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps:\n  s: {call: {workflow: leaf}}\n  t: {await: {instance: other, step: a}}\n"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: "p", Workflow: "w"})
	if child := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "p:s"}); child.Parent.GetInstanceId() != "p" || child.Parent.GetStep() != "s" || child.Depth != 1 {
		t.Errorf("the child: %v", child)
	}
	why := must(t, client.Explain, &v1.ExplainRequest{InstanceId: "p"}).Explanations
	if len(why) != 2 || why[0].Code != v1.ExplainCode_EXPLAIN_CODE_INSTANCE_PENDING || why[0].Missing[0] != "p:s" || len(why[1].Chain) != 1 {
		t.Errorf("explained: %v", why)
	}
	for _, id := range []string{"", "p", "p:s"} {
		got := must(t, client.ListWaits, &v1.ListWaitsRequest{InstanceId: id}).Waits
		if len(got) != 2 || !got[0].Called || got[0].WaitsFor.InstanceId != "p:s" || got[1].WaitsFor.Step != "a" || got[1].State != 0 {
			t.Errorf("of %q: %v", id, got)
		}
	}
	if r := refusal(t, client.ListWaits, &v1.ListWaitsRequest{InstanceId: "a\x01"}); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("refused as %v", r)
	}
	if r := refusal(t, client.ListWaits, &v1.ListWaitsRequest{InstanceId: "none"}); r.Code != v1.Code_CODE_INSTANCE_NOT_FOUND {
		t.Errorf("refused as %v", r)
	}
	must(t, client.CancelInstance, &v1.CancelInstanceRequest{InstanceId: "p"})
	if child := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "p:s"}); child.State != v1.InstanceState_INSTANCE_STATE_CANCELLED {
		t.Errorf("the child: %v", child)
	}
}
