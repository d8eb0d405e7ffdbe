package fsm

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func byAnn(c *logv1.Command) *logv1.Command {
	c.Envelope = &logv1.Envelope{Author: &v1.Author{Principal: "ann"}}
	return c
}

func retry(id, step string) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_RetryStep{RetryStep: &v1.RetryStepRequest{InstanceId: id, Step: step, Reason: "it is mended"}}})
}

func skip(id, step string) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_SkipStep{SkipStep: &v1.SkipStepRequest{InstanceId: id, Step: step, Reason: "not needed"}}})
}

func resolve(id, step, output string) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_ResolveStep{ResolveStep: &v1.ResolveStepRequest{InstanceId: id, Step: step, Reason: "done by phone", OutputPayload: &v1.Payload{Bytes: []byte(output)}}}})
}

func giveUp(id, step, code string) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_ResolveStep{ResolveStep: &v1.ResolveStepRequest{InstanceId: id, Step: step, Reason: "given up", Code: code}}})
}

func update(id, step string, fn func(*v1.UpdateStepRequest)) *logv1.Command {
	r := &v1.UpdateStepRequest{InstanceId: id, Step: step, Reason: "it takes long"}
	fn(r)
	return byAnn(&logv1.Command{Body: &logv1.Command_UpdateStep{UpdateStep: r}})
}

// fail fails an attempt.
func (r *rig) fail(run *v1.LeasedRun, code string, retryable bool) {
	r.t.Helper()
	fail := &v1.FailStepRequest{InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token, Code: code, Retryable: retryable}
	if _, refusal := r.do(&logv1.Command{Body: &logv1.Command_FailStep{FailStep: fail}}); refusal != nil {
		r.t.Fatal(refusal)
	}
}

// refuses says what a command is refused with, and that it tells nothing and changes nothing by that.
func (r *rig) refuses(code v1.Code, c *logv1.Command, sentence string) {
	r.t.Helper()
	position := r.m.namespaces[DefaultNamespace].rec.Position
	_, refusal := r.do(c)
	if refusal.GetCode() != code || !strings.Contains(refusal.GetReason(), sentence) {
		r.t.Errorf("%T is answered %v, want %v: %s", c.Body, refusal, code, sentence)
	}
	if now := r.m.namespaces[DefaultNamespace].rec.Position; now != position {
		r.t.Errorf("%T is refused, and %d events are told", c.Body, now-position)
	}
}

// Who completes a leased run by hand fences its worker, whose result is kept as a late one; the output is the operator's, and what the run
// held is free.
func TestACompletionByHandFencesTheWorker(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, locks: [x]}\n  b: {needs: [a], queue: q, input: \"${steps.a.output}\"}\n")
		r.start("w", "i", `{}`)
		worker := r.session(60 * second)
		held := r.poll(worker, "q", 1)[0]
		r.midway()
		got := r.tell(resolve("i", "a", `{"by":"hand"}`))
		r.did(got, "step.resolved a", "step.completed a", "lock.released", "step.ready b")
		if e := got.Events()[0]; e.Author.GetPrincipal() != "ann" || e.Data.Reason != "done by phone" || e.Data.Token <= held.Token {
			r.t.Fatalf("told as %v", e)
		}
		token := got.Events()[0].Data.Token
		r.midway()
		if _, refusal := r.complete(held, `{"by":"worker"}`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Fatalf("the worker is answered %v", refusal)
		}
		if late, err := r.m.ListLateResults(&v1.ListLateResultsRequest{}); err != nil || len(late.Results) != 1 || late.Results[0].Token != held.Token {
			r.t.Fatalf("kept as late: %v, %v", late, err)
		}
		if b := r.poll(worker, "q", 1)[0]; string(b.InputPayload.Bytes) != `{"by":"hand"}` || b.Token <= token {
			r.t.Fatalf("what follows is given %s under token %d", b.InputPayload.Bytes, b.Token)
		}
		reply, refusal := r.do(resolve("i", "a", `{"by":"hand"}`))
		if again := reply.(*v1.ResolveStepResponse); refusal != nil || !again.Duplicate || again.Token != token {
			r.t.Fatalf("told again it is answered %v, %v", reply, refusal)
		}
		r.refuses(v1.Code_CODE_ALREADY_DONE, resolve("i", "a", `{"by":"another"}`), "COMPLETED")
	})
}

// An operator and the worker complete a run in one entry: the first counts, and the other is told so.
func TestAnOperatorAndAWorkerCompleteInOneEntry(t *testing.T) {
	for _, operatorFirst := range []bool{true, false} {
		scenario(t, func(r *rig) {
			r.register("workflow: w\nsteps:\n  a: {queue: q}\n")
			r.start("w", "i", `{}`)
			run := r.poll(r.session(60*second), "q", 1)[0]
			r.midway()
			worker := &logv1.Command{Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{
				InstanceId: "i", Step: "a", Token: run.Token, OutputPayload: &v1.Payload{Bytes: []byte(`1`)},
			}}}
			commands, want := []*logv1.Command{worker, resolve("i", "a", `2`)}, v1.Code_CODE_ALREADY_DONE
			if operatorFirst {
				commands, want = []*logv1.Command{commands[1], commands[0]}, v1.Code_CODE_FENCED
			}
			out := r.apply(&logv1.Entry{Commands: commands}).Outcomes
			if out[0].Refusal != nil || out[1].Refusal.GetCode() != want {
				r.t.Fatalf("they are answered %v and %v", out[0].Refusal, out[1].Refusal)
			}
			r.midway()
			r.is("i", "COMPLETED a=COMPLETED")
		})
	}
}

// Who fails a run by hand fails it for good, whatever attempts are left; what needs the failure goes on.
func TestAFailureByHand(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, retry: {attempts: 5}}\n  b: {needs: [{step: a, ends: failed, codes: [LOST]}], queue: q}\n")
		r.start("w", "i", `{}`)
		run := r.poll(r.session(60*second), "q", 1)[0]
		r.midway()
		r.did(r.tell(giveUp("i", "a", "LOST")), "step.resolved a", "step.failed a", "step.ready b")
		r.midway()
		r.is("i", "RUNNING a=FAILED b=READY")
		if _, refusal := r.complete(run, `{}`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Fatalf("the worker is answered %v", refusal)
		}
		reply, refusal := r.do(giveUp("i", "a", "LOST"))
		if again, is := reply.(*v1.ResolveStepResponse); refusal != nil || !is || !again.Duplicate {
			r.t.Fatalf("told again it is answered %v, %v", reply, refusal)
		}
		r.refuses(v1.Code_CODE_ALREADY_DONE, giveUp("i", "a", "OTHER"), "FAILED")
	})
}

// What stands still for an expression is tried again as if it never was: with what its steps have put out it stands still again, and with
// its end by hand the instance goes on.
func TestWhatStandsStillIsRetriedAndResolved(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q, input: \"${steps.a.output.n}\"}\n  c: {needs: [b], queue: q}\n")
		r.start("w", "i", `{}`)
		worker := r.session(60 * second)
		r.complete(r.poll(worker, "q", 1)[0], `{}`)
		r.is("i", "RUNNING a=COMPLETED b=INCIDENT c=PENDING")
		r.midway()
		r.did(r.tell(retry("i", "b")), "step.resumed b", "step.incident b")
		r.refuses(v1.Code_CODE_NOT_READY, retry("i", "c"), "needs")
		r.refuses(v1.Code_CODE_ALREADY_DONE, retry("i", "a"), "fork")
		r.midway()
		r.did(r.tell(resolve("i", "b", `7`)), "step.resolved b", "step.completed b", "step.ready c")
		reply, refusal := r.do(retry("i", "c"))
		if again, is := reply.(*v1.RetryStepResponse); refusal != nil || !is || !again.Duplicate || again.State != v1.RunState_RUN_STATE_READY {
			r.t.Fatalf("what is being tried is answered %v, %v", reply, refusal)
		}
		r.work(worker, "c")
		r.refuses(v1.Code_CODE_ALREADY_ENDED, retry("i", "c"), "start it again")
	})
}

// One compensation that stands still is tried again, another is skipped, and a third is completed by hand: each by itself.
func TestCompensationsOneByOne(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, compensate: {retry: {attempts: 1}}}\n  b: {queue: q, compensate: {retry: {attempts: 1}}}\n  c: {queue: q, compensate: {retry: {attempts: 1}}}\n  d: {needs: [a, b, c], queue: q, compensate: {}}\n")
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.work(worker, "a", "b", "c")
		r.tell(cancelOf("i"))
		for _, run := range r.poll(worker, "q", 9) {
			r.fail(run, "E", false)
		}
		r.is("i", "COMPENSATING a=COMPLETED b=COMPLETED c=COMPLETED d=CANCELLED a.compensate=INCIDENT b.compensate=INCIDENT c.compensate=INCIDENT")
		r.midway()
		r.did(r.tell(skip("i", "a.compensate")), "step.skipped a.compensate")
		r.did(r.tell(resolve("i", "b.compensate", `{}`)), "step.resolved b.compensate", "step.completed b.compensate")
		r.refuses(v1.Code_CODE_INVALID, giveUp("i", "c.compensate", "E"), "does not fail")
		r.refuses(v1.Code_CODE_ALREADY_DONE, skip("i", "d"), "CANCELLED")
		r.did(r.tell(retry("i", "c.compensate")), "step.resumed c.compensate", "step.ready c.compensate")
		r.midway()
		r.work(worker, "c.compensate")
		r.is("i", "CANCELLED a=COMPLETED b=COMPLETED c=COMPLETED d=CANCELLED a.compensate=SKIPPED b.compensate=COMPLETED c.compensate=COMPLETED")
	})
}

// What is skipped by hand is as what is skipped by its condition: what needs it alone is skipped as well, and the rest goes on.
func TestASkipByHand(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q}\n  c: {needs: [b], queue: q}\n  d: {needs: [a, b], queue: q}\n  e: {signal: {name: s}}\n  f: {needs: [e, d], queue: q}\n")
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.did(r.tell(skip("i", "b")), "step.skipped b", "step.skipped c")
		r.midway()
		r.did(r.tell(skip("i", "e")), "step.skipped e")
		a := r.poll(worker, "q", 1)[0]
		r.refuses(v1.Code_CODE_NOT_READY, skip("i", "a"), "resolve")
		r.midway()
		r.complete(a, `{}`)
		r.work(worker, "d")
		r.work(worker, "f")
		r.is("i", "COMPLETED a=COMPLETED b=SKIPPED c=SKIPPED d=COMPLETED e=SKIPPED f=COMPLETED")
		if reply, refusal := r.do(skip("i", "b")); refusal != nil || !reply.(*v1.SkipStepResponse).Duplicate {
			r.t.Fatalf("told again it is answered %v, %v", reply, refusal)
		}
	})
}

// A step of a race that is skipped leaves the race to the others.
func TestASkipInARace(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {signal: {name: s}}\n  t: {timer: {after: 10s}}\n  c: {race: [a, t], queue: q}\n")
		r.start("w", "i", `{}`)
		r.midway()
		r.did(r.tell(skip("i", "a")), "step.skipped a")
		r.midway()
		r.did(r.tick(10*second), "timer.fired t", "step.completed t", "step.ready c")
		r.start("w", "j", `{}`)
		r.did(r.tell(skip("j", "a")), "step.skipped a")
		r.did(r.tell(skip("j", "t")), "step.skipped t", "step.skipped c", "instance.completed")
	})
}

// While an instance is cancelled nothing of it is retried, skipped, or failed; what is leased can be completed by hand, and is undone.
func TestOperatorsWhileAnInstanceIsCancelled(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, compensate: {}}\n  b: {queue: q}\n")
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.poll(worker, "q", 2)
		r.tell(cancelOf("i"))
		r.midway()
		for _, step := range []string{"a", "b"} {
			r.refuses(v1.Code_CODE_NOT_READY, skip("i", step), "leased")
			r.refuses(v1.Code_CODE_STOPPING, giveUp("i", step, "E"), "CANCELLING")
			r.refuses(v1.Code_CODE_STOPPING, update("i", step, func(r *v1.UpdateStepRequest) { r.AttemptsLeft = 2 }), "CANCELLING")
			if reply, refusal := r.do(retry("i", step)); refusal != nil || !reply.(*v1.RetryStepResponse).Duplicate {
				r.t.Fatalf("what is leased is answered %v, %v", reply, refusal)
			}
		}
		r.did(r.tell(resolve("i", "a", `{}`)), "step.resolved a", "step.completed a")
		r.did(r.tell(resolve("i", "b", `{}`)), "step.resolved b", "step.completed b", "instance.compensating", "step.ready a.compensate")
		r.midway()
		r.work(worker, "a.compensate")
		r.is("i", "CANCELLED a=COMPLETED b=COMPLETED a.compensate=COMPLETED")
	})
}

// What is left of a run's attempts and times can be changed while it counts; an attempt that is waited for can be had now.
func TestUpdates(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, retry: {attempts: 3, backoff: 1h}, timeouts: {run: 10s, queue: 10s, total: 60s}}\n")
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.tell(update("i", "a", func(r *v1.UpdateStepRequest) { r.QueueTimeout = durationpb.New(20e9) }))
		r.did(r.tick(19 * second))
		r.midway()
		r.fail(r.poll(worker, "q", 1)[0], "E", true)
		r.refuses(v1.Code_CODE_NOT_READY, update("i", "a", func(r *v1.UpdateStepRequest) { r.QueueTimeout = durationpb.New(20e9) }), "BACKOFF")
		r.refuses(v1.Code_CODE_NOT_READY, update("i", "a", func(r *v1.UpdateStepRequest) { r.RunTimeout = durationpb.New(20e9) }), "run")
		r.refuses(v1.Code_CODE_INVALID, update("i", "a", func(r *v1.UpdateStepRequest) { r.AttemptsLeft = 4 }), "3 attempts")
		r.refuses(v1.Code_CODE_INVALID, update("i", "a", func(*v1.UpdateStepRequest) {}), "retryNow")
		r.refuses(v1.Code_CODE_INVALID, update("i", "a", func(r *v1.UpdateStepRequest) { r.TotalTimeout = durationpb.New(0) }), "total")
		got := r.tell(update("i", "a", func(r *v1.UpdateStepRequest) { r.AttemptsLeft, r.RetryNow = 3, true }))
		r.did(got, "step.updated a", "step.ready a")
		if e := got.Events()[0]; e.Data.Name != "attempts" || e.Data.Used != 0 || e.Data.Reason != "it takes long" || e.Author.GetPrincipal() != "ann" {
			r.t.Fatalf("told as %v", e)
		}
		r.midway()
		r.refuses(v1.Code_CODE_NOT_READY, update("i", "a", func(r *v1.UpdateStepRequest) { r.RetryNow = true }), "READY")
		r.poll(worker, "q", 1)
		r.tell(update("i", "a", func(r *v1.UpdateStepRequest) {
			r.RunTimeout, r.TotalTimeout = durationpb.New(600e9), durationpb.New(500e9)
		}))
		r.did(r.tick(499 * second))
		r.midway()
		r.did(r.tick(1*second), "step.failed a", "instance.failing", "instance.failed")
	})
}

// What waits is not ended by hand: it is given what it waits for, or skipped; nor is what has begun what is inside it skipped.
func TestWhatWaitsIsNotResolved(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a: {signal: {name: s}}\n  b: {scope: {steps: {c: {queue: q}}}}\n  d: {needs: [a], queue: q}\n  e: {timer: {after: 1h}}\n")
	r.start("w", "i", `{}`)
	for _, step := range []string{"a", "b"} {
		r.refuses(v1.Code_CODE_NOT_READY, resolve("i", step, `1`), "waits")
	}
	r.refuses(v1.Code_CODE_NOT_READY, resolve("i", "d", `1`), "PENDING")
	r.refuses(v1.Code_CODE_NOT_READY, skip("i", "b"), "inside")
	r.refuses(v1.Code_CODE_NOT_READY, update("i", "e", func(r *v1.UpdateStepRequest) { r.TotalTimeout = durationpb.New(1e9) }), "total")
	for _, c := range []*logv1.Command{retry("none", "a"), skip("none", "a"), resolve("none", "a", `1`), pause("none"), resume("none")} {
		r.refuses(v1.Code_CODE_INSTANCE_NOT_FOUND, c, "none")
	}
	for _, c := range []*logv1.Command{retry("i", "none"), skip("i", "none"), resolve("i", "none", `1`)} {
		r.refuses(v1.Code_CODE_STEP_NOT_FOUND, c, "none")
	}
	r.tell(skip("i", "c"))
	r.is("i", "RUNNING a=WAITING b=COMPLETED d=PENDING e=WAITING c=SKIPPED")
}

// An output by hand gives the keys that the step says, as that of a worker does, and is refused where it does not.
func TestAnOutputByHandGivesKeys(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(ships)
		r.sends(by("shipment=s1", "arrived", 1), "", "signal.kept")
		r.startKeyed("ships", "i", "order=7")
		held := r.leases(r.session(60*second), "ship/0")["ship/0"]
		r.refuses(v1.Code_CODE_KEY_REFUSED, resolve("i", "ship", `{"shipment":"s1"}`), "does not give its keys")
		r.is("i", "RUNNING ship=LEASED arrived=PENDING")
		r.midway()
		r.did(r.tell(resolve("i", "ship", `{"shipment":"s1","carrier":3}`)), "step.resolved ship", "step.completed ship", "instance.keyed ship", "instance.keyed ship",
			"step.waiting arrived", "signal.received", "signal.delivered arrived", "step.completed arrived", "instance.completed")
		r.midway()
		if _, refusal := r.complete(held, `{"shipment":"s1","carrier":3}`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Fatalf("the worker is answered %v", refusal)
		}
	})
}

// A wait by a key that is skipped waits no more; what is counted for others is counted on, and is forgotten with the last of them.
func TestASkipOfAWaitByKey(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.awaiters("", ", of: {atLeast: 2}")
		r.startKeyed("payment", "p1", "order=7")
		r.startKeyed("payment", "p2", "order=7")
		r.start("w0", "i", `{}`)
		r.start("w1", "j", `{}`)
		r.refuses(v1.Code_CODE_NOT_READY, resolve("i", "wait", `{}`), "waits")
		r.did(r.tell(skip("i", "wait")), "step.skipped wait", "step.skipped go", "instance.completed")
		r.midway()
		r.pays(worker, "p1", `{}`)
		r.is("j", "RUNNING wait=WAITING go=PENDING")
		r.did(r.tell(skip("j", "wait")), "step.skipped wait", "step.skipped go", "instance.completed")
		if n := r.m.namespaces[DefaultNamespace].censuses.Len(); n != 0 {
			r.t.Errorf("nobody waits by a key, and %d are counted", n)
		}
		r.midway()
		r.pays(worker, "p2", `{}`)
	})
}

// A step that others wait for by a key counts as it is ended by hand.
func TestAnEndByHandIsCounted(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(paid)
		r.register("workflow: w\nsteps:\n  wait: {await: {key: {order: \"7\"}, step: pay, of: all}, timeouts: {total: 60s}}\n")
		for _, id := range []string{"p1", "p2"} {
			r.startKeyed("payment", id, "order=7")
		}
		r.start("w", "i", `{}`)
		r.tell(skip("p1", "pay"))
		r.midway()
		r.is("i", "RUNNING wait=WAITING")
		r.tell(resolve("p2", "pay", `{}`))
		r.is("i", "COMPLETED wait=COMPLETED")
		r.waited("i", `{"count":1,"instances":["p2"]}`)
		r.midway()
	})
}

// A step that was skipped by hand has put out nothing: what needs it alone is skipped as well, and a condition on its output, or an input
// from it, that is come to by another need stands still, until an operator says what is to become of that.
func TestAConditionOnWhatWasSkippedByHand(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n  alone: {needs: [a], when: \"steps.a.output.n > 1\", queue: q}\n  both: {needs: [a, b], when: \"steps.a.output.n > 1\", queue: q}\n" +
			"  given: {needs: [a, b], input: \"${steps.a.output.n}\", queue: q}\n  has: {needs: [a, b], when: \"has(steps.a.output)\", queue: q}\n")
		r.start("w", "i", `{}`)
		r.did(r.tell(skip("i", "a")), "step.skipped a", "step.skipped alone")
		r.midway()
		r.done(r.poll(r.session(60*second), "q", 1)[0], `{}`)
		r.is("i", "RUNNING a=SKIPPED b=COMPLETED alone=SKIPPED both=INCIDENT given=INCIDENT has=SKIPPED")
		if e := r.why("i", "both"); !strings.Contains(e.Sentence, "steps.a") {
			r.t.Errorf("explained as %v", e)
		}
		r.did(r.tell(skip("i", "both")), "step.skipped both")
		r.did(r.tell(resolve("i", "given", `1`)), "step.resolved given", "step.completed given", "instance.completed")
	})
}
