package api

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What an operator does is done by whoever leads, and told with the reason; what has none, or names nothing, is refused.
func TestOperators(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n  c: {needs: [a, b], queue: q}\n"})
	must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: "i", Workflow: "w"})
	must(t, client.PauseInstance, &v1.PauseInstanceRequest{InstanceId: "i", Reason: "wait"})
	if i := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "i"}); i.Pause.GetReason() != "wait" {
		t.Errorf("its pause: %v", i.Pause)
	}
	must(t, client.ResumeInstance, &v1.ResumeInstanceRequest{InstanceId: "i", Reason: "go on"})
	output, err := structpb.NewValue(map[string]any{"n": 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := must(t, client.ResolveStep, &v1.ResolveStepRequest{InstanceId: "i", Step: "a", Reason: "by hand", Output: output}); got.Token != 1 {
		t.Errorf("completed: %v", got)
	}
	if got := must(t, client.RetryStep, &v1.RetryStepRequest{InstanceId: "i", Step: "b", Reason: "again"}); !got.Duplicate {
		t.Errorf("retried: %v", got)
	}
	must(t, client.UpdateStep, &v1.UpdateStepRequest{InstanceId: "i", Step: "b", Reason: "longer", QueueTimeout: durationpb.New(time.Hour), AttemptsLeft: 1})
	must(t, client.SkipStep, &v1.SkipStepRequest{InstanceId: "i", Step: "b", Reason: "not needed"})
	if got := must(t, client.ResolveStep, &v1.ResolveStepRequest{InstanceId: "i", Step: "c", Reason: "lost", Code: "LOST"}); got.InstanceState != v1.InstanceState_INSTANCE_STATE_FAILED {
		t.Errorf("failed: %v", got)
	}
	for _, r := range []*v1.PauseInstanceRequest{{InstanceId: "i"}, {Reason: "why"}} {
		if got := refusal(t, client.PauseInstance, r); got.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v: %v", r, got)
		}
	}
	for _, r := range []*v1.SkipStepRequest{{InstanceId: "i", Step: "b"}, {Step: "b", Reason: "why"}, {InstanceId: "i", Reason: "why"}, {InstanceId: "i", Step: "b", Reason: "why", Index: -1}} {
		if got := refusal(t, client.SkipStep, r); got.Code != v1.Code_CODE_INVALID {
			t.Errorf("%v: %v", r, got)
		}
	}
	if got := refusal(t, client.ResolveStep, &v1.ResolveStepRequest{InstanceId: "i", Step: "b", Reason: "both", Output: output, Code: "E"}); got.Code != v1.Code_CODE_INVALID {
		t.Errorf("with both: %v", got)
	}
	big := &v1.Payload{ContentType: "text/plain", Bytes: make([]byte, maxPayload+1)}
	if got := refusal(t, client.ResolveStep, &v1.ResolveStepRequest{InstanceId: "i", Step: "b", Reason: "much", OutputPayload: big}); got.Code != v1.Code_CODE_PAYLOAD_TOO_LARGE {
		t.Errorf("over the limit: %v", got)
	}
	for limit, code := range map[time.Duration]v1.Code{maxTTL: v1.Code_CODE_ALREADY_DONE, maxTTL + 1: v1.Code_CODE_INVALID, 0: v1.Code_CODE_INVALID, -1: v1.Code_CODE_INVALID} {
		if got := refusal(t, client.UpdateStep, &v1.UpdateStepRequest{InstanceId: "i", Step: "b", Reason: "r", TotalTimeout: durationpb.New(limit)}); got.Code != code {
			t.Errorf("a timeout of %s: %v", limit, got)
		}
	}
}
