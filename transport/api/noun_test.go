package api

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func TestNamespaces(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.CreateNamespace, &v1.CreateNamespaceRequest{Namespace: "n", Description: "one"})
	if r := refusal(t, client.CreateNamespace, &v1.CreateNamespaceRequest{Namespace: "n"}); r.Code != v1.Code_CODE_NAMESPACE_EXISTS {
		t.Errorf("refused with %v", r)
	}
	must(t, client.UpdateNamespace, &v1.UpdateNamespaceRequest{Namespace: "n", Description: "two"})
	if got := must(t, client.GetNamespace, &v1.GetNamespaceRequest{Namespace: "n"}); got.Description != "two" {
		t.Errorf("namespace: %v", got)
	}
	first := must(t, client.ListNamespaces, &v1.ListNamespacesRequest{Limit: 1})
	second := must(t, client.ListNamespaces, &v1.ListNamespacesRequest{Limit: 1, Page: first.NextPage})
	if first.Namespaces[0].Namespace != "default" || second.Namespaces[0].Namespace != "n" || second.NextPage != "" {
		t.Errorf("pages: %v, %v", first, second)
	}
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Namespace: "n", Source: orderYAML})
	r := startRequest("o1")
	r.Namespace = "n"
	must(t, client.StartInstance, r)
	if r := refusal(t, client.DeleteNamespace, &v1.DeleteNamespaceRequest{Namespace: "n"}); r.Code != v1.Code_CODE_NAMESPACE_IN_USE {
		t.Errorf("refused with %v", r)
	}
	must(t, client.DeleteNamespace, &v1.DeleteNamespaceRequest{Namespace: "n", Force: true})
}

// The same definition is the same version, as YAML or as JSON; another under its number is refused.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	definition := func(queue string) *structpb.Struct {
		s, err := structpb.NewStruct(map[string]any{"workflow": "w", "steps": map[string]any{"a": map[string]any{"queue": queue}}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one := must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {queue: q}}\n"})
	same := must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Definition: definition("q")})
	two := must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Definition: definition("other")})
	if one.Version != 1 || same.Version != 1 || same.Digest != one.Digest || two.Version != 2 {
		t.Errorf("versions: %v, %v, %v", one, same, two)
	}
	if r := refusal(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Definition: definition("third"), Version: 1}); r.Code != v1.Code_CODE_WORKFLOW_CONFLICT {
		t.Errorf("refused with %v", r)
	}
	if r := refusal(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Definition: definition("q"), Source: "x"}); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("refused with %v", r)
	}
	if got := must(t, client.GetWorkflow, &v1.GetWorkflowRequest{Workflow: "w", Version: 1}); got.Source != "workflow: w\nsteps: {a: {queue: q}}\n" || got.Format != "yaml" {
		t.Errorf("kept as %v", got)
	}
	if got := must(t, client.ListWorkflows, &v1.ListWorkflowsRequest{}).Workflows; len(got) != 2 {
		t.Errorf("workflows: %v", got)
	}
}

// What can be done to an instance and its runs, each once over the API.
func TestAnInstance(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: `
workflow: w
steps:
  a: {queue: q, retry: {attempts: 3, backoff: 1h}}
  s: {needs: [a], signal: {name: go}}
`})
	start := &v1.StartInstanceRequest{InstanceId: "i", Workflow: "w", Labels: map[string]string{"k": "v"}}
	if got := must(t, client.StartInstance, start); got.Existing || got.Version != 1 {
		t.Errorf("started: %v", got)
	}
	if got := must(t, client.StartInstance, start); !got.Existing {
		t.Errorf("started again: %v", got)
	}
	session := open(t, client)
	lease := &v1.LeaseStepRequest{SessionId: session, InstanceId: "i", Step: "a"}
	run := must(t, client.LeaseStep, lease).Run
	if r := refusal(t, client.LeaseStep, lease); r.Code != v1.Code_CODE_NOT_READY || r.Holder.GetToken() != run.Token {
		t.Errorf("leased twice: %v", r)
	}
	must(t, client.ReportProgress, &v1.ReportProgressRequest{InstanceId: "i", Step: "a", Token: run.Token, Progress: structpb.NewNumberValue(0.5)})
	must(t, client.ReleaseStep, &v1.ReleaseStepRequest{InstanceId: "i", Step: "a", Token: run.Token, Reason: "busy"})
	again := must(t, client.LeaseStep, lease).Run
	old := completion(run)
	if r := refusal(t, client.CompleteStep, old); r.Code != v1.Code_CODE_FENCED || r.Holder.GetSessionId() != session || r.Token != again.Token {
		t.Errorf("an old token completes: %v", r)
	}
	if late := must(t, client.ListLateResults, &v1.ListLateResultsRequest{InstanceId: "i"}).Results; len(late) != 1 || late[0].Token != run.Token {
		t.Errorf("late results: %v", late)
	}
	if got := must(t, client.CompleteSteps, &v1.CompleteStepsRequest{Completions: []*v1.CompleteStepRequest{completion(again), old}}).Outcomes; got[0].Completed == nil || got[1].Refusal == nil {
		t.Errorf("completed: %v", got)
	}
	signal := &v1.SendSignalRequest{InstanceId: "i", Name: "go", SignalId: "1", Payload: structpb.NewStringValue("now")}
	if got := must(t, client.SendSignal, signal); !got.Delivered || got.Duplicate {
		t.Errorf("signalled: %v", got)
	}
	i := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: "i"})
	if i.State != v1.InstanceState_INSTANCE_STATE_COMPLETED || i.Runs[0].Output.GetStructValue().AsMap()["hold"] != "h" {
		t.Errorf("instance: %v", i)
	}
	if got := must(t, client.ListInstances, &v1.ListInstancesRequest{Labels: map[string]string{"k": "v"}, State: i.State}).Instances; len(got) != 1 {
		t.Errorf("instances: %v", got)
	}
	if r := refusal(t, client.LeaseStep, lease); r.Code != v1.Code_CODE_ALREADY_DONE || string(r.Output.GetBytes()) != `{"hold":"h"}` {
		t.Errorf("leased when done: %v", r)
	}
}

// A failure that may be tried again backs off; one that may not fails the instance.
func TestFailures(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: "workflow: w\nsteps: {a: {queue: q, retry: {attempts: 3, backoff: 1h}}}\n"})
	session := open(t, client)
	for i, x := range []struct {
		retryable bool
		run       v1.RunState
		instance  v1.InstanceState
	}{
		{true, v1.RunState_RUN_STATE_BACKOFF, v1.InstanceState_INSTANCE_STATE_RUNNING},
		{false, v1.RunState_RUN_STATE_FAILED, v1.InstanceState_INSTANCE_STATE_FAILED},
	} {
		id := fmt.Sprint("i", i)
		must(t, client.StartInstance, &v1.StartInstanceRequest{InstanceId: id, Workflow: "w"})
		run := must(t, client.PollSteps, &v1.PollStepsRequest{SessionId: session, Queues: []string{"other", "q"}}).Runs[0]
		got := must(t, client.FailStep, &v1.FailStepRequest{InstanceId: id, Step: "a", Token: run.Token, Code: "E", Reason: "no", Retryable: x.retryable})
		state := must(t, client.GetInstance, &v1.GetInstanceRequest{InstanceId: id}).State
		if got.State != x.run || state != x.instance || x.retryable != (got.RetryIn.AsDuration() > 0) {
			t.Errorf("retryable %v: %v, %v", x.retryable, got, state)
		}
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	session := open(t, client)
	if got := must(t, client.KeepAlive, &v1.KeepAliveRequest{SessionId: session, Tokens: []int64{5}}); len(got.Lost) != 1 {
		t.Errorf("kept alive: %v", got)
	}
	if got := must(t, client.ListSessions, &v1.ListSessionsRequest{}).Sessions; len(got) != 1 || got[0].SessionId != session {
		t.Errorf("sessions: %v", got)
	}
	must(t, client.CloseSession, &v1.CloseSessionRequest{SessionId: session, Reason: "done"})
	for what, r := range map[string]*v1.Refusal{
		"kept alive": refusal(t, client.KeepAlive, &v1.KeepAliveRequest{SessionId: session}),
		"polled":     refusal(t, client.PollSteps, &v1.PollStepsRequest{SessionId: session}),
		"locked":     refusal(t, client.AcquireLock, &v1.AcquireLockRequest{SessionId: session, Lock: "l"}),
	} {
		if r.Code != v1.Code_CODE_SESSION_EXPIRED {
			t.Errorf("%s after its end: %v", what, r)
		}
	}
}
