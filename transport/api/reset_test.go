package api

import (
	"strings"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An instance is set back over the API; what is wrong with the request itself is refused before it is proposed.
func TestAnInstanceIsReset(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {signal: {name: go}}, b: {needs: [a], queue: q}}\n"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: "i", Workflow: "w"})
	reset := func() *v1.ResetInstanceRequest {
		return &v1.ResetInstanceRequest{InstanceId: "i", FromStep: "b", Reason: "r"}
	}
	if r := refusal(t, client.ResetInstance, reset()); r.Code != v1.Code_CODE_STEP_NOT_BEGUN {
		t.Errorf("refused with %v", r)
	}
	must(t, client.SendSignal, &v1.SendSignalRequest{InstanceId: "i", Name: "go", SignalId: "1"})
	if got := must(t, client.ResetInstance, reset()); got.Index != 1 || got.Steps != 1 || got.Existing || got.State != v1.InstanceState_INSTANCE_STATE_RUNNING {
		t.Errorf("set back: %v", got)
	}
	if got := must(t, client.ResetInstance, reset()); got.Index != 1 || !got.Existing {
		t.Errorf("set back again: %v", got)
	}
	got := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "i"})
	if len(got.Runs) != 3 || got.Runs[1].State != v1.RunState_RUN_STATE_CANCELLED || got.Runs[2].Step != "b" || got.Runs[2].Index != 1 || got.Runs[2].State != v1.RunState_RUN_STATE_READY {
		t.Errorf("it is %v", got)
	}
	for name, change := range map[string]func(*v1.ResetInstanceRequest){
		"no instance":   func(r *v1.ResetInstanceRequest) { r.InstanceId = "" },
		"no step":       func(r *v1.ResetInstanceRequest) { r.FromStep = "" },
		"an index":      func(r *v1.ResetInstanceRequest) { r.Index = -1 },
		"a long reason": func(r *v1.ResetInstanceRequest) { r.Reason = strings.Repeat("x", maxText+1) },
	} {
		r := reset()
		if change(r); refusal(t, client.ResetInstance, r).Code != v1.Code_CODE_INVALID {
			t.Errorf("%s is not refused", name)
		}
	}
}
