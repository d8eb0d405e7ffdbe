package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func some(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint(i)] = "v"
	}
	return m
}

// Every limit holds at its value, and one above it is refused.
func TestLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", maxName)
	wait := func(d time.Duration) error { _, err := waitOf(durationpb.New(d)); return err }
	queues := func(n int) error {
		_, err := queuesOf("", strings.Split(strings.Repeat("q,", n-1)+"q", ","))
		return err
	}
	next := func(n int32) error {
		return checkNext(&v1.CompleteStepRequest{SessionId: "1", Next: &v1.Next{Count: n}})
	}
	for name, x := range map[string]struct{ at, above error }{
		"name":           {name("f", long), name("f", long+"n")},
		"name, no less":  {name("f", "n"), name("f", "")},
		"text":           {text("f", strings.Repeat("t", maxText)), text("f", strings.Repeat("t", maxText+1))},
		"labels":         {pairs("f", some(maxLabels), maxLabels), pairs("f", some(maxLabels+1), maxLabels)},
		"keys":           {pairs("f", some(maxKeys), maxKeys), pairs("f", some(maxKeys+1), maxKeys)},
		"a label's key":  {pairs("f", map[string]string{long: ""}, 1), pairs("f", map[string]string{long + "n": ""}, 1)},
		"a label":        {pairs("f", map[string]string{"k": long}, 1), pairs("f", map[string]string{"k": long + "n"}, 1)},
		"wait":           {wait(maxWait), wait(maxWait + 1)},
		"wait, no less":  {wait(0), wait(-1)},
		"page":           {page(1000, ""), page(1001, "")},
		"page, no less":  {page(0, ""), page(-1, "")},
		"cursor":         {page(0, strings.Repeat("c", maxText)), page(0, strings.Repeat("c", maxText+1))},
		"token, no less": {issued(1), issued(0)},
		"version":        {version(0), version(-1)},
		"index":          {held("i", "s", 0, 1), held("i", "s", -1, 1)},
		"queues":         {queues(maxBatch), queues(maxBatch + 1)},
		"next":           {next(maxBatch), next(maxBatch + 1)},
		"next, no less":  {next(0), next(-1)},
	} {
		if x.at != nil {
			t.Errorf("%s: at the limit: %v", name, x.at)
		}
		if refusalOf(x.above).GetCode() != v1.Code_CODE_INVALID {
			t.Errorf("%s: above the limit: %v", name, x.above)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "customer/7", "日本", "with space"} {
		if err := name("f", s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "\xff", "a\nb", "a\x00", "\u0085"} {
		if name("f", s) == nil {
			t.Errorf("%q is taken for a name", s)
		}
	}
}

// The limits of calls, at and above, through the API.
func TestLimitsOfCalls(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	ordered(t, client)
	session := open(t, client)
	batch := func(n int) *v1.StartInstancesRequest {
		r := &v1.StartInstancesRequest{}
		for i := range n {
			r.Instances = append(r.Instances, startRequest(fmt.Sprint("b", i)))
		}
		return r
	}
	if got := must(t, client.StartInstances, batch(maxBatch)).Outcomes; len(got) != maxBatch || got[maxBatch-1].Started == nil {
		t.Errorf("%d outcomes, the last %v", len(got), got[len(got)-1])
	}
	completions := func(n int) *v1.CompleteStepsRequest {
		return &v1.CompleteStepsRequest{Completions: make([]*v1.CompleteStepRequest, n)}
	}
	for _, n := range []int{0, maxBatch + 1} {
		if r := refusal(t, client.StartInstances, batch(n)); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%d instances: %v", n, r)
		}
		if r := refusal(t, client.CompleteSteps, completions(n)); r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%d completions: %v", n, r)
		}
	}
	poll := &v1.PollStepsRequest{SessionId: session, Queue: "inventory", Count: maxBatch}
	if got := must(t, client.PollSteps, poll); len(got.Runs) != maxBatch {
		t.Errorf("polled %d runs", len(got.Runs))
	}
	poll.Count++
	if r := refusal(t, client.PollSteps, poll); r.Code != v1.Code_CODE_INVALID {
		t.Errorf("a poll of %d: %v", poll.Count, r)
	}
	for ttl, ok := range map[time.Duration]bool{time.Second: true, time.Second - 1: false, time.Hour: true, time.Hour + 1: false, -1: false} {
		_, err := client.OpenSession(t.Context(), connect.NewRequest(&v1.OpenSessionRequest{Ttl: durationpb.New(ttl)}))
		if ok != (err == nil) || !ok && refusedBy(t, err).Code != v1.Code_CODE_INVALID {
			t.Errorf("a ttl of %s: %v", ttl, err)
		}
	}
	head := "workflow: w\nsteps: {a: {}}\n#"
	source := head + strings.Repeat("x", maxDefinition-len(head))
	must(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: source})
	if r := refusal(t, client.RegisterWorkflow, &v1.RegisterWorkflowRequest{Source: source + "x"}); r.Code != v1.Code_CODE_PAYLOAD_TOO_LARGE {
		t.Errorf("a definition over the limit: %v", r)
	}
}

// What no handler understands is refused, not passed over.
func TestNothingIsPassedOver(t *testing.T) {
	t.Parallel()
	client := dial(t, serve(t, newOne(t)))
	ordered(t, client, "o1")
	session := open(t, client)
	strange := startRequest("x")
	strange.Namespace = "other"
	if got := must(t, client.StartInstances, &v1.StartInstancesRequest{Instances: []*v1.StartInstanceRequest{strange}}).Outcomes[0]; got.Refusal.GetCode() != v1.Code_CODE_INVALID {
		t.Errorf("an item of another namespace: %v", got)
	}
	run := must(t, client.PollSteps, pollFor(session)).Runs[0]
	other := completion(run)
	other.Namespace = "other"
	if got := must(t, client.CompleteSteps, &v1.CompleteStepsRequest{Completions: []*v1.CompleteStepRequest{other}}).Outcomes[0]; got.Refusal.GetCode() != v1.Code_CODE_INVALID {
		t.Errorf("a completion for another namespace: %v", got)
	}
	bad := durationpb.New(-1)
	for what, r := range map[string]*v1.Refusal{
		"state":          refusal(t, client.ListInstances, &v1.ListInstancesRequest{State: 99}),
		"labels":         refusal(t, client.ListInstances, &v1.ListInstancesRequest{Labels: some(maxLabels + 1)}),
		"keys":           refusal(t, client.ListInstances, &v1.ListInstancesRequest{Keys: some(maxKeys + 1)}),
		"list's version": refusal(t, client.ListInstances, &v1.ListInstancesRequest{Version: 1}),
		"list's time":    refusal(t, client.ListInstances, &v1.ListInstancesRequest{StartedFrom: &timestamppb.Timestamp{Seconds: -1}}),
		"stuck for":      refusal(t, client.ListInstances, &v1.ListInstancesRequest{StuckFor: bad}),
		"list's page":    refusal(t, client.ListInstances, &v1.ListInstancesRequest{Page: "o1"}),
		"history of all": refusal(t, client.GetHistory, &v1.GetHistoryRequest{}),
		"history":        refusal(t, client.GetHistory, &v1.GetHistoryRequest{InstanceId: "o1", After: -1}),
		"explain":        refusal(t, client.Explain, &v1.ExplainRequest{InstanceId: "o1", Index: -1}),
		"signal's ttl":   refusal(t, client.SendSignal, &v1.SendSignalRequest{InstanceId: "o1", Name: "n", SignalId: "s", Ttl: bad}),
		"ttl for ever":   refusal(t, client.SendSignal, &v1.SendSignalRequest{InstanceId: "o1", Name: "n", SignalId: "s", Ttl: durationpb.New(maxTTL + 1)}),
		"signal's key":   refusal(t, client.SendSignal, &v1.SendSignalRequest{Key: &v1.Key{Name: "k", Value: strings.Repeat("v", maxName+1)}, Name: "n", SignalId: "s"}),
		"key's name":     refusal(t, client.SendSignal, &v1.SendSignalRequest{Key: &v1.Key{Value: "v"}, Name: "n", SignalId: "s"}),
		"two receivers":  refusal(t, client.SendSignal, &v1.SendSignalRequest{InstanceId: "o1", Key: &v1.Key{Name: "k"}, Name: "n", SignalId: "s"}),
		"start's key":    refusal(t, client.SendSignal, &v1.SendSignalRequest{InstanceId: "o1", Name: "n", SignalId: "s", Start: &v1.StartInstanceRequest{Workflow: "w"}}),
		"start's flow":   refusal(t, client.SendSignal, &v1.SendSignalRequest{Key: &v1.Key{Name: "k"}, Name: "n", SignalId: "s", Start: &v1.StartInstanceRequest{}}),
		"start's keys":   refusal(t, client.SendSignal, &v1.SendSignalRequest{Key: &v1.Key{Name: "k"}, Name: "n", SignalId: "s", Start: &v1.StartInstanceRequest{Workflow: "w", Keys: some(maxKeys)}}),
		"start's id":     refusal(t, client.SendSignal, &v1.SendSignalRequest{Key: &v1.Key{Name: "k", Value: strings.Repeat("v", maxName)}, Name: "n", SignalId: "s", Start: &v1.StartInstanceRequest{Workflow: "w"}}),
		"start's place":  refusal(t, client.SendSignal, &v1.SendSignalRequest{Key: &v1.Key{Name: "k"}, Name: "n", SignalId: "s", Start: &v1.StartInstanceRequest{Workflow: "w", Namespace: "other"}}),
		"no key":         refusal(t, client.SendSignal, &v1.SendSignalRequest{InstanceId: "o1", Broadcast: true, Name: "n", SignalId: "s"}),
		"signal's id":    refusal(t, client.SendSignal, &v1.SendSignalRequest{InstanceId: "o1", Name: "n"}),
		"lease's index":  refusal(t, client.LeaseStep, &v1.LeaseStepRequest{SessionId: session, InstanceId: "o1", Step: "reserve", Index: -1}),
		"request id":     refusal(t, client.PollSteps, &v1.PollStepsRequest{SessionId: session, RequestId: -1}),
		"next's session": refusal(t, client.CompleteStep, &v1.CompleteStepRequest{InstanceId: "o1", Step: "reserve", Token: 1, Next: &v1.Next{Count: 1}}),
		"revoked token":  refusal(t, client.RevokeLease, &v1.RevokeLeaseRequest{}),
		"checked token":  refusal(t, client.CheckToken, &v1.CheckTokenRequest{}),
		"worker's name":  refusal(t, client.OpenSession, &v1.OpenSessionRequest{Worker: "\n"}),
		"tokens":         refusal(t, client.KeepAlive, &v1.KeepAliveRequest{SessionId: session, Tokens: make([]int64, maxTokens+1)}),
		"namespace":      refusal(t, client.GetNamespace, &v1.GetNamespaceRequest{Namespace: "\n"}),
		"no namespace":   refusal(t, client.CreateNamespace, &v1.CreateNamespaceRequest{}),
		"workflow":       refusal(t, client.GetWorkflow, &v1.GetWorkflowRequest{Workflow: "order", Version: -1}),
	} {
		if r.Code != v1.Code_CODE_INVALID {
			t.Errorf("%s: %v", what, r)
		}
	}
}
