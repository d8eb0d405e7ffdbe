package api

import (
	"strings"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A version is drained and undrained over the API, and what is started meanwhile is of another.
func TestAVersionIsDrained(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {queue: q}}\n"})
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {b: {queue: q}}\n"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: "i", Workflow: "w"})
	drain := &v1.DrainVersionRequest{Workflow: "w", Version: 2, Reason: "it charges twice"}
	if got := must(t, client.DrainVersion, drain); !got.Drained || got.Reason != drain.Reason || got.LiveInstances != 1 || got.DrainedAt == nil {
		t.Errorf("drained: %v", got)
	}
	if got := must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: "j", Workflow: "w"}); got.Version != 1 {
		t.Errorf("started %v", got)
	}
	if r := refusal(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: "k", Workflow: "w", Version: 2}); r.Code != v1.Code_CODE_VERSION_DRAINED || !strings.Contains(r.Reason, "start version 1") {
		t.Errorf("refused with %v", r)
	}
	if got := must(t, client.GetWorkflow, &v1.GetWorkflowRequest{Workflow: "w"}); got.Version != 2 || !got.Drained {
		t.Errorf("the newest is %v", got)
	}
	if got := must(t, client.UndrainVersion, &v1.UndrainVersionRequest{Workflow: "w", Version: 2}); got.Drained || got.Reason != "" || got.DrainedAt != nil {
		t.Errorf("undrained: %v", got)
	}
	if r := refusal(t, client.DrainVersion, &v1.DrainVersionRequest{Workflow: "w"}); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("without a version it is refused with %v", r)
	}
	if r := refusal(t, client.UndrainVersion, &v1.UndrainVersionRequest{Workflow: "w", Version: 3}); r.Code != v1.Code_CODE_WORKFLOW_NOT_FOUND {
		t.Errorf("another version is refused with %v", r)
	}
	if r := refusal(t, client.DrainVersion, &v1.DrainVersionRequest{Workflow: "w", Version: 1, Reason: strings.Repeat("x", maxText+1)}); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("a long reason is refused with %v", r)
	}
}
