package fsm

import (
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const stream = 77 // the wait id of a stream

// streaming is a machine with an instance of two steps, the first of which is leased to a session with a stream.
func streaming(t *testing.T) (r *rig, session int64, run *v1.LeasedRun) {
	r = newRig(t)
	r.register(chain)
	r.start("chain", "i1", `{}`)
	session = r.session(60 * second)
	r.streams(session, stream)
	return r, session, r.poll(session, "q", 1)[0]
}

// credit sets a stream's credit, and returns what it was granted at once.
func (r *rig) credit(session int64, waitID uint64, queue string) []*v1.LeasedRun {
	r.t.Helper()
	reply, refusal := r.do(&logv1.Command{Envelope: &logv1.Envelope{WaitId: waitID}, Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{
		Session: session, Queues: []string{queue}, Count: 1, Credit: true,
	}}})
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	return reply.(*v1.PollStepsResponse).Runs
}

// completeNext completes a run as a stream does, or by a unary call, whose wait id is zero.
func (r *rig) completeNext(run *v1.LeasedRun, waitID uint64, count int32, queues ...string) *v1.CompleteStepResponse {
	r.t.Helper()
	reply, refusal := r.do(completion(run, waitID, count, queues...))
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	return reply.(*v1.CompleteStepResponse)
}

func completion(run *v1.LeasedRun, waitID uint64, count int32, queues ...string) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{WaitId: waitID}, Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{
		InstanceId: run.InstanceId, Step: run.Step, Token: run.Token, OutputPayload: &v1.Payload{Bytes: []byte(`{"n":1}`)},
		SessionId: run.SessionId, Next: &v1.Next{Count: count, Queues: queues},
	}}}
}

// streams opens a stream of a session.
func (r *rig) streams(session int64, waitID uint64) {
	r.t.Helper()
	if _, refusal := r.do(&logv1.Command{Envelope: &logv1.Envelope{WaitId: waitID}, Body: &logv1.Command_OpenStream{OpenStream: &logv1.OpenStream{Session: session}}}); refusal != nil {
		r.t.Fatal(refusal)
	}
}

// granted starts an instance and returns what streams are told of it.
func (r *rig) granted(id string) []Settlement {
	r.t.Helper()
	return r.apply(&logv1.Entry{Commands: []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{
		Workflow: "chain", InstanceId: id, InputPayload: &v1.Payload{Bytes: []byte(`{}`)},
	}}}}}).Settled
}

// What a stream's completion asks for and is not granted at once waits as credit, and adds to what is there.
func TestWhatIsAskedForNextParksAsCredit(t *testing.T) {
	r, _, run := streaming(t)
	next := r.completeNext(run, stream, 2).Next
	if len(next) != 1 || next[0].Step != "b" {
		t.Fatalf("granted at once: %v", next)
	}
	r.reopened()
	r.completeNext(next[0], stream, 1) // 1 is left of the first, and nothing is ready
	for i, more := range []bool{true, false} {
		got := r.granted([]string{"i2", "i3"}[i])
		if len(got) != 1 || got[0].WaitID != stream || got[0].More != more || len(got[0].Reply.(*v1.PollStepsResponse).Runs) != 1 {
			t.Fatalf("grant %d: %+v", i, got)
		}
	}
	if got := r.granted("i4"); len(got) != 0 {
		t.Fatalf("granted beyond the credit: %v", got)
	}
}

func TestWhatParksNowhere(t *testing.T) {
	for name, x := range map[string]struct {
		waitID uint64
		queues []string
	}{
		"of a unary call":              {0, nil},
		"for other queues than before": {stream, []string{"q", "r"}},
	} {
		r, session, first := streaming(t)
		run := r.completeNext(first, stream, 2, "q").Next[0]
		r.credit(session, stream, "r")
		r.completeNext(run, x.waitID, 5, x.queues...)
		if got := r.granted("i2"); len(got) != 0 {
			t.Errorf("%s: granted %v", name, got)
		}
	}
}

// A completion that was accepted before grants a stream what it asks for: the stream counts on it.
func TestACompletionToldAgainStillAsksForMore(t *testing.T) {
	r, _, run := streaming(t)
	r.complete(run, `{"n":1}`)
	if next := r.completeNext(run, 0, 1).Next; len(next) != 0 {
		t.Fatalf("a retried call is granted %v, beyond what it was granted first", next)
	}
	if next := r.completeNext(run, stream, 1).Next; len(next) != 1 {
		t.Fatalf("the stream is granted %v", next)
	}
}

// What comes late by a stream that was replaced takes nothing from the one that is there, and is granted nothing: nobody
// would hear of it.
func TestAReplacedStreamHasNoCredit(t *testing.T) {
	r, session, run := streaming(t)
	r.streams(session, stream+1)
	r.credit(session, stream+1, "q")
	r.credit(session, stream, "q")
	settled := r.apply(&logv1.Entry{Commands: []*logv1.Command{completion(run, stream, 5)}}).Settled
	if len(settled) != 1 || settled[0].WaitID != stream+1 {
		t.Fatalf("the next step goes to %+v, and the stream that is there has credit", settled)
	}
	r.reopened()
	if got := r.granted("i2"); len(got) != 0 {
		t.Fatalf("what was asked for by the old stream is granted: %v", got)
	}
	if got := r.credit(session, stream, "q"); len(got) != 0 {
		t.Fatalf("the old stream is granted %v", got)
	}
	if got := r.credit(session, stream+1, "q"); len(got) != 1 {
		t.Fatalf("the stream that is there is granted %v", got)
	}
}

// A stream is told that another took its place, also when its credit is used up: it would wait for ever for what it takes for that.
func TestAReplacedStreamIsTold(t *testing.T) {
	r, session, _ := streaming(t)
	takes := func(by uint64) []Settlement {
		return r.apply(&logv1.Entry{Commands: []*logv1.Command{{Envelope: &logv1.Envelope{WaitId: by}, Body: &logv1.Command_OpenStream{OpenStream: &logv1.OpenStream{Session: session}}}}}).Settled
	}
	r.reopened()
	if told := takes(stream + 1); len(told) != 1 || told[0].WaitID != stream || told[0].Refusal.GetCode() != v1.Code_CODE_UNAVAILABLE || told[0].More {
		t.Errorf("%+v is told that another took its place", told)
	}
	if told := takes(stream + 1); len(told) != 0 {
		t.Errorf("the same stream opened again, and %+v is told", told)
	}
	if told := takes(stream); len(told) != 1 || told[0].WaitID != stream+1 {
		t.Errorf("what comes late takes over, and %+v is told", told)
	}
}
