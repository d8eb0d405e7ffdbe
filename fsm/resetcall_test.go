package fsm

import (
	"fmt"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What a step that is set back has called is cancelled, and undone; what is new begins when that has ended, and calls an instance of its own.
func TestAResetCancelsWhatWasCalled(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.done(r.shipping(worker, "o"), `{}`)
		send := r.leases(worker, "send/0")["send/0"]
		r.did(r.tell(resetOf("o", "ship", 0)), "instance.reset", "step.cancelled close", "instance.cancelling")
		r.midway()
		r.runs("o", "RUNNING charge/0=COMPLETED ship/0=WAITING close/0=CANCELLED ship/1=PENDING close/1=PENDING")
		if e := r.why("o", "ship"); e.Code != v1.ExplainCode_EXPLAIN_CODE_INSTANCE_PENDING || !strings.HasPrefix(e.Sentence, `Step "ship" stops when what it called has ended: `) {
			r.t.Errorf("explained as %v", e)
		}
		reply, err := r.m.Explain(&v1.ExplainRequest{InstanceId: "o", Step: "ship", Index: 1})
		if err != nil || reply.Explanations[0].Code != v1.ExplainCode_EXPLAIN_CODE_INSTANCE_PENDING || fmt.Sprint(reply.Explanations[0].Missing) != "[o:ship]" ||
			reply.Explanations[0].Sentence != `Step "ship" is done anew when what was called before has ended: o:ship.` {
			r.t.Errorf("explained as %v, %v", reply, err)
		}
		r.unforked(resetOf("o", "ship", 1), v1.Code_CODE_STEP_NOT_BEGUN, "")
		r.resets(resetOf("o", "ship", 0), 1, 2, true)
		r.refuses(v1.Code_CODE_STOPPING, skip("o", "ship"), "is not wanted any more") // it ends with what it called
		r.refuses(v1.Code_CODE_STOPPING, giveUp("o", "ship", "E"), "is not wanted any more")
		r.refuses(v1.Code_CODE_STOPPING, update("o", "ship", func(u *v1.UpdateStepRequest) { u.AttemptsLeft = 1 }), "is not wanted any more")
		r.tell(failOf(send, "BROKE"))
		r.midway()
		r.is("o:ship", "COMPENSATING pack=COMPLETED send=CANCELLED pack.compensate=READY")
		undo := r.leases(worker, "pack.compensate/0")["pack.compensate/0"]
		r.did(r.tell(completeOf(undo)), "step.completed pack.compensate", "instance.cancelled", "step.cancelled ship", "step.waiting ship", "instance.started", "step.ready pack")
		r.midway()
		r.runs("o", "RUNNING charge/0=COMPLETED ship/0=CANCELLED close/0=CANCELLED ship/1=WAITING close/1=PENDING")
		pack := r.leases(worker, "pack/0")["pack/0"]
		if pack.InstanceId != "o:ship#1" || string(pack.InputPayload.Bytes) != `{"weight":3}` {
			r.t.Fatalf("the child has leased %v", pack)
		}
		r.done(pack, `{}`)
		r.done(r.leases(worker, "send/0")["send/0"], `{"n":7}`)
		r.midway()
		r.done(r.leases(worker, "close/1")["close/1"], `{}`)
		r.output("o", `7`)
	})
}

// What was called may be done all the same: that is kept, as what had completed before, and undone with the instance.
func TestWhatWasCalledIsDoneThoughItWasSetBack(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.done(r.shipping(worker, "o"), `{}`)
		send := r.leases(worker, "send/0")["send/0"]
		r.tell(resetOf("o", "ship", 0))
		r.midway()
		c := completeOf(send)
		c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(`{"n":7}`)}
		r.tell(c)
		r.midway()
		r.is("o:ship", "COMPENSATING pack=COMPLETED send=COMPLETED pack.compensate=PENDING send.compensate=READY")
		r.tell(cancelOf("o")) // the instance waits for it as for what it calls
		r.is("o", "CANCELLING charge=COMPLETED ship=WAITING close=CANCELLED ship=CANCELLED close=CANCELLED")
		r.midway()
		r.done(r.leases(worker, "send.compensate/0")["send.compensate/0"], `{}`)
		r.done(r.leases(worker, "pack.compensate/0")["pack.compensate/0"], `{}`)
		r.midway()
		r.is("o", "COMPENSATING charge=COMPLETED ship=CANCELLED close=CANCELLED charge.compensate=READY ship=CANCELLED close=CANCELLED")
	})
}

// What was called has ended well in the entry in which it was to be cancelled: the step that was set back has completed, and is kept.
func TestWhatWasCalledIsDoneInTheEntryOfAReset(t *testing.T) {
	for _, first := range []bool{false, true} {
		scenario(t, func(r *rig) {
			worker := r.session(600 * second)
			r.done(r.shipping(worker, "o"), `{}`)
			c := completeOf(r.leases(worker, "send/0")["send/0"])
			c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(`{"n":7}`)}
			both := []*logv1.Command{resetOf("o", "ship", 0), c}
			if first {
				both[0], both[1] = both[1], both[0]
			}
			for _, c := range both {
				c.Envelope = &logv1.Envelope{}
			}
			r.apply(&logv1.Entry{Commands: both})
			r.midway()
			r.runs("o", "RUNNING charge/0=COMPLETED ship/0=COMPLETED close/0=CANCELLED ship/1=WAITING close/1=PENDING")
			if run := r.leases(worker, "pack/0")["pack/0"]; run.InstanceId != "o:ship#1" {
				r.t.Errorf("leased is %v", run)
			}
		})
	}
}

// What is beside goes on while what was called ends, and is counted; nothing of what is new begins by that, nor by another reset.
func TestWhatIsBesideGoesOnWhileACallEnds(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: child\nsteps:\n  c: {queue: c, compensate: {queue: u}}\n  d: {needs: [c], queue: none}\n")
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  call: {needs: [a], call: {workflow: child}}\n  b: {queue: q}\n  x: {needs: [a, b], queue: q}\n  z: {needs: [call, b], join: any, queue: q}\n")
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		runs := r.leases(worker, "a/0", "b/0")
		r.done(runs["a/0"], `1`)
		r.done(r.poll(worker, "c", 1)[0], `1`)
		r.did(r.tell(resetOf("i", "a", 0)), "instance.reset", "step.cancelled x", "step.cancelled z", "instance.cancelling", "step.cancelled d", "instance.compensating", "step.ready c.compensate")
		r.midway()
		r.done(runs["b/0"], `1`)
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED call/0=WAITING b/0=COMPLETED x/0=CANCELLED z/0=CANCELLED a/1=PENDING call/1=PENDING x/1=PENDING z/1=PENDING")
		r.did(r.tell(resetOf("i", "b", 0)), "instance.reset", "step.cancelled x", "step.cancelled z", "step.ready b") // nothing was called behind it
		r.midway()
		r.tell(pause("i"))
		r.done(r.poll(worker, "u", 1)[0], `1`)
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED call/0=CANCELLED b/0=COMPLETED x/0=CANCELLED z/0=CANCELLED a/1=PENDING call/1=PENDING x/1=CANCELLED z/1=CANCELLED b/2=READY x/2=PENDING z/2=PENDING")
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready a")
		for _, run := range r.leases(worker, "b/2", "a/1") {
			r.done(run, `2`)
		}
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED call/0=CANCELLED b/0=COMPLETED x/0=CANCELLED z/0=CANCELLED a/1=COMPLETED call/1=WAITING x/1=CANCELLED z/1=CANCELLED b/2=COMPLETED x/2=READY z/2=READY")
	})
}

// What was called inside a step that is set back has to end before, and so has what fails by itself.
func TestAResetOfWhatCallsInside(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: child\nsteps:\n  c: {queue: c}\n")
		r.register("workflow: w\nsteps:\n  in: {scope: {steps: {call: {call: {workflow: child}}}}}\n  left: {call: {workflow: child, parentClose: abandon}}\n")
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.unforked(resetOf("i", "in", 0), v1.Code_CODE_RESET_BUSY, `step "call" of instance "i", which is inside another, has called instance "i:call", which goes on; cancel that`)
		r.did(r.tell(resetOf("i", "left", 0)), "instance.reset", "step.cancelled left", "step.waiting left", "instance.started", "step.ready c")
		r.midway()
		r.is("i:left", "RUNNING c=READY") // it was to be abandoned
		r.tell(cancelOf("i:call"))
		r.poll(worker, "c", 9)
	})
}
