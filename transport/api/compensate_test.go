package api

import (
	"slices"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An instance that fails is undone by its own workers' rules: what stands still is tried again, or skipped, by command.
func TestCompensation(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: `
workflow: w
steps:
  a: {queue: q, compensate: {task: undo}}
  b: {queue: q, needs: [a], retry: {attempts: 1}}
`})
	must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: "i", Workflow: "w"})
	session := open(t, client)
	next := func() *v1.LeasedRun {
		return must(t, client.PollSteps, &v1.PollStepsRequest{SessionId: session, Queues: []string{"q"}}).Runs[0]
	}
	fail := func(run *v1.LeasedRun) *v1.FailStepResponse {
		return must(t, client.FailStep, &v1.FailStepRequest{InstanceId: "i", Step: run.Step, Token: run.Token, Code: "E"})
	}
	run := next()
	must(t, client.CompleteStep, &v1.CompleteStepRequest{InstanceId: "i", Step: "a", Token: run.Token})
	fail(next())
	wait := &v1.WaitInstanceRequest{InstanceId: "i"}
	if got := must(t, client.WaitInstance, wait); got.Done || got.Instance.State != v1.InstanceState_INSTANCE_STATE_COMPENSATING {
		t.Errorf("the wait is answered %v", got)
	}
	run = next()
	if run.Step != "a.compensate" || run.Task != "undo" || run.Compensates != "a" || string(run.InputPayload.GetBytes()) != `{"input":null,"output":null}` {
		t.Errorf("leased is %v", run)
	}
	if got := fail(run); got.State != v1.RunState_RUN_STATE_INCIDENT {
		t.Errorf("the failure is answered %v", got)
	}
	if got := must(t, client.Explain, &v1.ExplainRequest{InstanceId: "i"}).Explanations; len(got) != 2 ||
		got[0].Code != v1.ExplainCode_EXPLAIN_CODE_COMPENSATING || got[1].Code != v1.ExplainCode_EXPLAIN_CODE_INCIDENT {
		t.Errorf("explained as %v", got)
	}
	again := &v1.CompensateInstanceRequest{InstanceId: "i", Reason: "the till is open again"}
	if got := must(t, client.CompensateInstance, again); !slices.Equal(got.Steps, []string{"a.compensate"}) {
		t.Errorf("tried again: %v", got)
	}
	fail(next())
	again.Skip = true
	if got := must(t, client.CompensateInstance, again); got.State != v1.InstanceState_INSTANCE_STATE_FAILED {
		t.Errorf("skipped: %v", got)
	}
	if got := must(t, client.WaitInstance, wait); !got.Done {
		t.Errorf("the wait is answered %v", got)
	}
	if r := refusal(t, client.CompensateInstance, again); r.Code != v1.Code_CODE_ALREADY_ENDED {
		t.Errorf("an ended instance: %v", r)
	}
	if r := refusal(t, client.CompensateInstance, &v1.CompensateInstanceRequest{}); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("no instance: %v", r)
	}
}
