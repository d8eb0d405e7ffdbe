package api

import (
	"strings"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An instance is forked over the API; what is wrong with the request itself is refused before it is proposed.
func TestAnInstanceIsForked(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {signal: {name: go}}, b: {needs: [a], queue: q}}\n"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: "i", Workflow: "w", Labels: map[string]string{"l": "1"}})
	fork := func() *v1.ForkInstanceRequest {
		return &v1.ForkInstanceRequest{InstanceId: "i", FromStep: "b", NewInstanceId: "j", Reason: "r", Keys: map[string]string{"k": "v"}}
	}
	if r := refusal(t, client.ForkInstance, fork()); r.Code != v1.Code_CODE_UPSTREAM_PENDING || !strings.Contains(r.Reason, "is WAITING") {
		t.Errorf("refused with %v", r)
	}
	must(t, client.SendSignal, &v1.SendSignalRequest{InstanceId: "i", Name: "go", SignalId: "1"})
	if got := must(t, client.ForkInstance, fork()); got.InstanceId != "j" || got.Version != 1 || got.Copied != 1 || got.Existing {
		t.Errorf("forked: %v", got)
	}
	got := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "j"})
	if got.ForkedFrom.GetInstanceId() != "i" || got.ForkedFrom.Step != "b" || got.Labels["l"] != "1" || got.Keys["k"] != "v" || !got.Runs[0].Copied || got.Runs[1].Copied {
		t.Errorf("the fork is %v", got)
	}
	if r := refusal(t, client.LeaseStep, &v1.LeaseStepRequest{SessionId: open(t, client), InstanceId: "j", Step: "a"}); r.Code != v1.Code_CODE_ALREADY_DONE {
		t.Errorf("a lease of what was copied is answered %v", r)
	}
	for name, change := range map[string]func(*v1.ForkInstanceRequest){
		"no instance":   func(r *v1.ForkInstanceRequest) { r.InstanceId = "" },
		"no step":       func(r *v1.ForkInstanceRequest) { r.FromStep = "" },
		"no id":         func(r *v1.ForkInstanceRequest) { r.NewInstanceId = "" },
		"a version":     func(r *v1.ForkInstanceRequest) { r.Version = -1 },
		"a long reason": func(r *v1.ForkInstanceRequest) { r.Reason = strings.Repeat("x", maxText+1) },
		"an empty key":  func(r *v1.ForkInstanceRequest) { r.Keys = map[string]string{"": "v"} },
	} {
		r := fork()
		if change(r); refusal(t, client.ForkInstance, r).Code != v1.Code_CODE_INVALID {
			t.Errorf("%s is not refused", name)
		}
	}
}
