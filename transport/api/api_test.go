package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	lockstepv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1/lockstepv1connect"
)

const orderYAML = `
workflow: order
inputSchema: {type: object, required: [order]}
steps:
  reserve: {queue: inventory}
  charge: {queue: payments, needs: [reserve], locks: ["customer/${input.order}"], input: {hold: "${steps.reserve.output.hold}"}}
output: {done: "${steps.charge.output.ok}"}
`

func registered(t *testing.T, address string) {
	t.Helper()
	if status, reply := curl(t, address, "WorkflowService/RegisterWorkflow", fmt.Sprintf(`{"source":%q}`, orderYAML)); status != http.StatusOK {
		t.Fatal(reply)
	}
}

// curl is enough: register, start, open a session, poll, complete, lease a named step, explain, wait; on any node.
func TestCurlIsEnoughOnAnyNode(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	leader := serve(t, c)
	follower := newOne(t)
	follower.follow(leader)
	address := serve(t, follower)
	registered(t, address)
	must := func(method, body string) map[string]any {
		t.Helper()
		status, reply := curl(t, address, method, body)
		if status != http.StatusOK {
			t.Fatalf("%s: %v", method, reply)
		}
		return reply
	}
	must("InstanceService/StartInstance", `{"instanceId":"o1","workflow":"order","input":{"order":"A1"}}`)
	session := must("WorkerService/OpenSession", `{"ttl":"30s"}`)["sessionId"]
	explained := must("InstanceService/Explain", `{"instanceId":"o1"}`)
	if !strings.Contains(fmt.Sprint(explained), "NO_POLLER") {
		t.Errorf("explained: %v", explained)
	}
	runs := must("WorkerService/PollSteps", fmt.Sprintf(`{"sessionId":%q,"queue":"inventory","wait":"5s"}`, session))["runs"].([]any)
	run := runs[0].(map[string]any)
	if fmt.Sprint(run["input"]) != "map[order:A1]" {
		t.Errorf("the input reads %v", run["input"])
	}
	must("WorkerService/CompleteStep", fmt.Sprintf(`{"instanceId":"o1","step":"reserve","token":%q,"output":{"hold":"h9"}}`, run["token"]))
	leased := must("WorkerService/LeaseStep", fmt.Sprintf(`{"sessionId":%q,"instanceId":"o1","step":"charge","wait":"5s"}`, session))["run"].(map[string]any)
	must("WorkerService/CompleteStep", fmt.Sprintf(`{"instanceId":"o1","step":"charge","token":%q,"output":{"ok":true}}`, leased["token"]))
	waited := must("InstanceService/WaitInstance", `{"instanceId":"o1","wait":"5s"}`)
	if waited["done"] != true || fmt.Sprint(waited["instance"].(map[string]any)["output"]) != "map[done:true]" {
		t.Errorf("waited: %v", waited)
	}
	if code := refused(t, address, "WorkerService/CompleteStep", fmt.Sprintf(`{"instanceId":"o1","step":"charge","token":%q}`, run["token"])); code != "FENCED" {
		t.Errorf("the token of another run: %q", code)
	}
	if _, reply := curl(t, address, "InstanceService/GetInstance", `{"instanceId":"o1","consistency":"CONSISTENCY_STALE"}`); !strings.Contains(fmt.Sprint(reply), "INSTANCE_NOT_FOUND") {
		t.Errorf("a stale read was not served here: %v", reply)
	}
}

// Bad input is refused with a code and a place, and changes nothing.
func TestBadInputIsRefused(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	a := serve(t, c)
	registered(t, a)
	long := strings.Repeat("x", 257)
	many := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	labels := func(n int) string {
		var b []string
		for i := range n {
			b = append(b, fmt.Sprintf(`"l%d":"v"`, i))
		}
		return strings.Join(b, ",")
	}
	start := func(fields string) string {
		return `{"instanceId":"x","workflow":"order","input":{"order":"A"}` + fields + `}`
	}
	big := strings.Repeat("a", 256<<10)
	before, err := c.machine.Position("")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ name, method, body, want string }{
		{"no id", "InstanceService/StartInstance", `{"workflow":"order"}`, "INVALID"},
		{"long name", "InstanceService/StartInstance", `{"instanceId":"` + long + `","workflow":"order"}`, "INVALID"},
		{"control character", "InstanceService/StartInstance", `{"instanceId":"a\u0001","workflow":"order"}`, "INVALID"},
		{"33 labels", "InstanceService/StartInstance", start(`,"labels":{` + labels(33) + `}`), "INVALID"},
		{"17 keys", "InstanceService/StartInstance", start(`,"keys":{` + labels(17) + `}`), "INVALID"},
		{"both inputs", "InstanceService/StartInstance", start(`,"inputPayload":{"bytes":"e30="}`), "INVALID"},
		{"a payload over 256 KiB", "InstanceService/StartInstance", `{"instanceId":"x","workflow":"order","input":{"order":"` + big + `"}}`, "PAYLOAD_TOO_LARGE"},
		{"not the schema", "InstanceService/StartInstance", `{"instanceId":"x","workflow":"order","input":{}}`, "INPUT_INVALID"},
		{"no such workflow", "InstanceService/StartInstance", `{"instanceId":"x","workflow":"none"}`, "WORKFLOW_NOT_FOUND"},
		{"no such namespace", "InstanceService/StartInstance", `{"namespace":"none","instanceId":"x","workflow":"order"}`, "NAMESPACE_NOT_FOUND"},
		{"101 in a batch", "InstanceService/StartInstances", `{"instances":[` + many(101, "{}") + `]}`, "INVALID"},
		{"a wait over a minute", "WorkerService/PollSteps", `{"sessionId":"1","wait":"61s"}`, "INVALID"},
		{"a ttl under a second", "WorkerService/OpenSession", `{"ttl":"0.5s"}`, "INVALID"},
		{"a session that never was", "WorkerService/PollSteps", `{"sessionId":"99"}`, "SESSION_EXPIRED"},
		{"a session that is none", "WorkerService/PollSteps", `{"sessionId":"abc"}`, "SESSION_EXPIRED"},
		{"token 0", "WorkerService/CompleteStep", `{"instanceId":"x","step":"reserve","token":0}`, "INVALID"},
		{"no such instance", "WorkerService/CompleteStep", `{"instanceId":"x","step":"reserve","token":"5"}`, "INSTANCE_NOT_FOUND"},
		{"no source", "WorkflowService/RegisterWorkflow", `{}`, "INVALID"},
		{"unknown key", "WorkflowService/RegisterWorkflow", `{"source":"workflow: w\nsteps:\n  a: {quee: x}\n"}`, "WORKFLOW_INVALID"},
		{"a cycle", "WorkflowService/RegisterWorkflow", `{"source":"workflow: w\nsteps:\n  a: {needs: [b]}\n  b: {needs: [a]}\n"}`, "WORKFLOW_INVALID"},
		{"unknown dependency", "WorkflowService/RegisterWorkflow", `{"source":"workflow: w\nsteps:\n  a: {needs: [z]}\n"}`, "WORKFLOW_INVALID"},
		{"an ill-typed condition", "WorkflowService/RegisterWorkflow", `{"source":"workflow: w\nsteps:\n  a: {when: \"1 + 2\"}\n"}`, "WORKFLOW_INVALID"},
		{"a gateway", "WorkflowService/RegisterWorkflow", `{"source":"workflow: w\nsteps:\n  a: {gateway: x}\n"}`, "UNSUPPORTED"},
		{"a lock with a limit exceeded", "LockService/AcquireLock", `{"sessionId":"1","lock":"l","limit":-1}`, "INVALID"},
	} {
		if got := refused(t, a, x.method, x.body); got != x.want {
			t.Errorf("%s: refused with %q, want %s", x.name, got, x.want)
		}
	}
	if _, reply := curl(t, a, "InstanceService/ListInstances", `{}`); len(reply) != 0 {
		t.Errorf("something was started: %v", reply)
	}
	if after, err := c.machine.Position(""); err != nil || after != before {
		t.Errorf("refusals moved the feed from %d to %d: %v", before, after, err)
	}
	// At the limit it is taken.
	if code := refused(t, a, "InstanceService/StartInstance", start(`,"labels":{`+labels(32)+`},"keys":{`+labels(16)+`}`)); code != "" {
		t.Errorf("at the limits: refused with %s", code)
	}
	fits := strings.Repeat("a", 256<<10-len(`{"order":""}`))
	if code := refused(t, a, "InstanceService/StartInstance", `{"instanceId":"y","workflow":"order","input":{"order":"`+fits+`"}}`); code != "" {
		t.Errorf("a payload of just 256 KiB: refused with %s", code)
	}
	// Bytes that are not UTF-8 do not get past the decoder.
	if status, _ := curl(t, a, "InstanceService/GetInstance", "{\"instanceId\":\"\xff\"}"); status == http.StatusOK {
		t.Error("bytes that are not UTF-8 were taken")
	}
}

// The stream grants by credit, answers completions, and tells every lease again when it is opened anew.
func TestTheWorkStream(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	leader := serve(t, c)
	follower := newOne(t)
	follower.follow(leader)
	for name, address := range map[string]string{"leader": leader, "follower": serve(t, follower)} {
		t.Run(name, func(t *testing.T) {
			registered(t, address)
			client := hasty(t)
			workers := lockstepv1.NewWorkerServiceClient(client, "http://"+address)
			instances := lockstepv1.NewInstanceServiceClient(client, "http://"+address)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			session, err := workers.OpenSession(ctx, connect.NewRequest(&v1.OpenSessionRequest{Ttl: durationpb.New(30e9)}))
			if err != nil {
				t.Fatal(err)
			}
			open := func(credit int32) *connect.BidiStreamForClient[v1.WorkRequest, v1.WorkResponse] {
				stream := workers.Work(ctx)
				if err := stream.Send(&v1.WorkRequest{SessionId: session.Msg.SessionId, Credit: &v1.Credit{Queues: []string{"inventory"}, Count: credit}}); err != nil {
					t.Fatal(err)
				}
				return stream
			}
			stream := open(1)
			if first, err := stream.Receive(); err != nil || !first.Opened {
				t.Fatalf("%v, %v", first, err)
			}
			_, err = instances.StartInstance(ctx, connect.NewRequest(&v1.StartInstanceRequest{InstanceId: name, Workflow: "order", InputPayload: &v1.Payload{Bytes: []byte(`{"order":"1"}`)}}))
			if err != nil {
				t.Fatal(err)
			}
			granted, err := stream.Receive()
			if err != nil || len(granted.Runs) != 1 {
				t.Fatalf("granted %v, %v", granted, err)
			}
			stream.CloseRequest()
			stream = open(0)
			again, err := stream.Receive()
			if err != nil || len(again.Runs) != 1 || again.Runs[0].Token != granted.Runs[0].Token {
				t.Fatalf("opened again: %v, %v", again, err)
			}
			run := again.Runs[0]
			complete := &v1.CompleteStepRequest{InstanceId: run.InstanceId, Step: run.Step, Token: run.Token, OutputPayload: &v1.Payload{Bytes: []byte(`{"hold":"h"}`)}}
			if err := stream.Send(&v1.WorkRequest{Completions: []*v1.CompleteStepRequest{complete, {InstanceId: run.InstanceId, Step: run.Step, Token: run.Token + 1000}}}); err != nil {
				t.Fatal(err)
			}
			out, err := stream.Receive()
			if err != nil || len(out.Outcomes) != 2 || out.Outcomes[0].Refusal != nil || out.Outcomes[1].Refusal.GetCode() != v1.Code_CODE_TOKEN_UNKNOWN {
				t.Fatalf("completed: %v, %v", out, err)
			}
		})
	}
}

// A watch from a position has every event behind it, once and in order.
func TestAWatchHasNoGap(t *testing.T) {
	t.Parallel()
	c := newOne(t)
	a := serve(t, c)
	registered(t, a)
	for i := range 5 {
		curl(t, a, "InstanceService/StartInstance", fmt.Sprintf(`{"instanceId":"i%d","workflow":"order","input":{"order":"A"}}`, i))
	}
	events := lockstepv1.NewEventServiceClient(hasty(t), "http://"+a)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := events.WatchEvents(ctx, connect.NewRequest(&v1.WatchEventsRequest{After: 2}))
	if err != nil {
		t.Fatal(err)
	}
	next := int64(3)
	for next < 11 && stream.Receive() {
		for _, e := range stream.Msg().Events {
			if e.Position != next {
				t.Fatalf("event %d came where %d was due", e.Position, next)
			}
			next++
		}
		if next == 8 {
			curl(t, a, "InstanceService/StartInstance", `{"instanceId":"late","workflow":"order","input":{"order":"A"}}`)
		}
	}
	if next < 11 {
		t.Fatalf("the watch ended at %d: %v", next, stream.Err())
	}
}
