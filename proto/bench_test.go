package proto_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The messages that a loaded cluster encodes and decodes most, as `lockstep bench` has them: 256 bytes into and out of each
// step. Those of the API are what a worker with 32 steps at a time sends and gets; an entry has 128 commands, as a loaded
// leader packs them. Time and allocations are per message; bytes are per thing in it.
const (
	benchSteps = 32
	benchPack  = 128
)

type message struct {
	name   string
	things int // that it is about
	proto.Message
}

func messages() []message {
	envelope := func() *logv1.Envelope {
		return &logv1.Envelope{Namespace: "default", WaitId: 0x9e3779b97f4a7c15, Salt: []byte("8 of it.")}
	}
	entry := func(n int, command func(int) *logv1.Command) *logv1.Entry {
		e := &logv1.Entry{Header: &logv1.Header{Term: 3, Elapsed: 4e11, Wall: 1.8e18, Level: 1, Due: 4e11}}
		for i := range n {
			e.Commands = append(e.Commands, command(i))
		}
		return e
	}
	complete := func(i int) *logv1.Command {
		return &logv1.Command{Envelope: envelope(), Body: &logv1.Command_CompleteStep{CompleteStep: completion(i)}}
	}
	start := func(i int) *logv1.Command {
		return &logv1.Command{Envelope: envelope(), Body: &logv1.Command_StartInstance{StartInstance: startOf(i)}}
	}
	acquire := func(i int) *logv1.Command {
		return &logv1.Command{Envelope: envelope(), Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: 4711, Lock: fmt.Sprintf("customer/%06d", i)}}}
	}
	work, answer, batch := &v1.WorkRequest{Namespace: "default"}, &v1.WorkResponse{}, &v1.StartInstancesRequest{Namespace: "default"}
	for i := range benchSteps {
		work.Completions = append(work.Completions, completion(i))
		answer.Runs, answer.Outcomes = append(answer.Runs, leased(i)), append(answer.Outcomes, &v1.WorkOutcome{Token: token(i)})
	}
	for i := range 100 {
		batch.Instances = append(batch.Instances, startOf(i))
	}
	renewals := entry(0, nil)
	for i := range benchPack {
		renewals.Renewals = append(renewals.Renewals, &logv1.Renewal{Namespace: "default", Session: int64(100_000 + i)})
	}
	return []message{
		{"api/work-request", benchSteps, work},
		{"api/work-response", benchSteps, answer},
		{"api/start-instances", 100, batch},
		{"api/keep-alive", 1, &v1.KeepAliveRequest{Namespace: "default", SessionId: "100000"}},
		{"api/acquire-lock", 1, &v1.AcquireLockRequest{Namespace: "default", SessionId: "100000", Lock: "customer/000001"}},
		{"log/completions", benchPack, entry(benchPack, complete)},
		{"log/one-completion", 1, entry(1, complete)},
		{"log/starts", benchPack, entry(benchPack, start)},
		{"log/acquisitions", benchPack, entry(benchPack, acquire)},
		{"log/renewals", benchPack, renewals},
	}
}

func token(i int) int64 { return int64(3_000_000 + i) }

func id(i int) string { return fmt.Sprintf("bench-dx1y2z3a4b5c-%06d", i) }

func payload() *v1.Payload {
	return &v1.Payload{Bytes: []byte(`{"pad":"` + strings.Repeat("x", 246) + `"}`)}
}

// completion completes a run and asks for the next.
func completion(i int) *v1.CompleteStepRequest {
	return &v1.CompleteStepRequest{Namespace: "default", InstanceId: id(i), Step: "s3", Token: token(i), OutputPayload: payload(), Next: &v1.Next{Count: 1}}
}

func startOf(i int) *v1.StartInstanceRequest {
	return &v1.StartInstanceRequest{Namespace: "default", InstanceId: id(i), Workflow: "bench-dx1y2z3a4b5c", InputPayload: payload()}
}

func leased(i int) *v1.LeasedRun {
	return &v1.LeasedRun{
		Namespace: "default", InstanceId: id(i), Workflow: "bench-dx1y2z3a4b5c", Version: 1, Step: "s4", Attempt: 1, Token: token(i), SessionId: "4711",
		Queue: "bench-dx1y2z3a4b5c", Task: "s4", InputPayload: payload(), RunTimeout: durationpb.New(3600e9), IdempotencyKey: "default/" + id(i) + "/s4/0", Retryable: true,
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, m := range messages() {
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				var err error
				if out, err = (proto.MarshalOptions{}).MarshalAppend(out[:0], m.Message); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(out))/float64(m.things), "bytes/thing")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, m := range messages() {
		in, err := proto.Marshal(m.Message)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := proto.Unmarshal(in, m.ProtoReflect().New().Interface()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
