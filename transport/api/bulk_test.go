package api

import (
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A bulk operation is started, looked after and listed; what cannot be asked for is refused.
func TestBulkOperations(t *testing.T) {
	t.Parallel()
	node := newOne(t)
	client := dial(t, serve(t, node))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps:\n  a: {queue: q}\n"})
	for _, id := range []string{"i", "j", "k"} {
		must(t, client.StartInstance, &v1.StartInstanceRequest{Workflow: "w", InstanceId: id})
	}
	ask := &v1.StartBulkRequest{BulkId: "b", Act: v1.BulkAct_BULK_ACT_CANCEL, Filter: &v1.InstanceFilter{Workflow: "w"}, Reason: "why not"}
	must(t, client.StartBulk, ask)
	if b := must(t, client.GetBulk, &v1.GetBulkRequest{BulkId: "b"}); b.State != v1.BulkState_BULK_STATE_RUNNING || b.Left != 3 {
		t.Errorf("it begins as %v", b)
	}
	if _, err := node.ProposeAll(t.Context(), []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_AdvanceBulk{AdvanceBulk: &logv1.AdvanceBulk{}}}}); err != nil {
		t.Fatal(err)
	}
	b := must(t, client.GetBulk, &v1.GetBulkRequest{BulkId: "b"})
	if b.State != v1.BulkState_BULK_STATE_COMPLETED || b.Matched != 3 || b.Changed != 3 || b.Left != 0 {
		t.Errorf("it came to %v", b)
	}
	if again := must(t, client.StartBulk, ask); !again.Existing || again.Changed != 3 {
		t.Errorf("again it is %v", again)
	}
	if list := must(t, client.ListBulks, &v1.ListBulksRequest{}); len(list.Bulks) != 1 {
		t.Errorf("listed are %v", list)
	}
	for _, bad := range []*v1.StartBulkRequest{
		{Act: v1.BulkAct_BULK_ACT_CANCEL, All: true, Reason: "r"},
		{BulkId: "x", Act: v1.BulkAct_BULK_ACT_CANCEL, All: true},
		{BulkId: "x", Act: 99, All: true, Reason: "r"},
		{BulkId: "x", Act: v1.BulkAct_BULK_ACT_CANCEL, Reason: "r"},
		{BulkId: "x", Act: v1.BulkAct_BULK_ACT_CANCEL, Filter: &v1.InstanceFilter{State: 99}, Reason: "r"},
		{BulkId: "x", Act: v1.BulkAct_BULK_ACT_CANCEL, Filter: &v1.InstanceFilter{Workflow: strings.Repeat("w", 300)}, Reason: "r"},
	} {
		if r := refusal(t, client.StartBulk, bad); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v is refused with %v", bad, r)
		}
	}
	if r := refusal(t, client.CancelBulk, &v1.CancelBulkRequest{BulkId: "b"}); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("without a reason it is refused with %v", r)
	}
	if r := refusal(t, client.CancelBulk, &v1.CancelBulkRequest{BulkId: "b", Reason: "r"}); r.Code != v1.Code_CODE_ALREADY_ENDED {
		t.Errorf("behind its end it is refused with %v", r)
	}
	if r := refusal(t, client.GetBulk, &v1.GetBulkRequest{BulkId: "x"}); r.Code != v1.Code_CODE_BULK_NOT_FOUND {
		t.Errorf("what is not there is refused with %v", r)
	}
}
