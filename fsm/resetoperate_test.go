package fsm

import (
	"fmt"
	"testing"
	"time"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// newer has what an operator says be about another activation than the first.
func newer(c *logv1.Command, index int32) *logv1.Command {
	switch body := c.Body.(type) {
	case *logv1.Command_RetryStep:
		body.RetryStep.Index = index
	case *logv1.Command_SkipStep:
		body.SkipStep.Index = index
	case *logv1.Command_ResolveStep:
		body.ResolveStep.Index = index
	case *logv1.Command_UpdateStep:
		body.UpdateStep.Index = index
	}
	return c
}

// An instance that is paused is set back at once, and nothing of what is new is begun before it is resumed. A lease is over all the same.
func TestAResetWhilePaused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q}\n  c: {needs: [a], queue: q}\n  d: {needs: [b, c], queue: q}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `a 1`)
		held := r.poll(worker, "q", 1)[0]
		r.tell(pause("i"))
		r.midway()
		r.did(r.tell(resetOf("i", "b", 0)), "instance.reset", "step.cancelled d", "step.cancelled b")
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED b/0=CANCELLED c/0=READY d/0=CANCELLED b/1=PENDING d/1=PENDING")
		if _, refusal := r.complete(held, `{}`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Errorf("the token of before is answered %v", refusal)
		}
		r.unforked(resetOf("i", "b", 1), v1.Code_CODE_STEP_NOT_BEGUN, "")
		r.did(r.tell(resetOf("i", "a", 0)), "instance.reset", "step.cancelled c", "step.cancelled b", "step.cancelled d")
		r.midway()
		r.leases(worker)
		reply, err := r.m.Explain(&v1.ExplainRequest{InstanceId: "i", Step: "a", Index: 2})
		if err != nil || reply.Explanations[len(reply.Explanations)-1].Code != v1.ExplainCode_EXPLAIN_CODE_PAUSED {
			r.t.Errorf("explained as %v, %v", reply, err)
		}
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready a")
		r.midway()
		r.puts(worker, `a 2`)
		r.leases(worker, "b/2", "c/2")
	})
}

// Where only the first of the steps that need nothing is postponed, a reset of that leaves those behind it with somebody who begins them.
func TestAResetOfTheFirstThatIsPostponed(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  s: {signal: {name: go}}\n  t: {signal: {name: stop}}\n  z: {queue: q}\n  r: {race: [s, t], queue: q}\n")
		r.lines(queues, "1", "i RUNNING", "instance.started", "step.waiting s", "step.waiting t", "step.ready z")
		r.lines(queues, "2", "i~2 QUEUED 1", "instance.queued")
		r.tell(pause("i~2"))
		r.tell(cancelOf("i"))
		r.apply(&logv1.Entry{})
		r.tell(skip("i~2", "s"))
		r.midway()
		r.runs("i~2", "RUNNING s/0=SKIPPED t/0=PENDING z/0=PENDING r/0=PENDING")
		r.resets(resetOf("i~2", "s", 0), 1, 3, false)
		r.midway()
		r.tell(resume("i~2"))
		r.midway()
		r.runs("i~2", "RUNNING s/0=SKIPPED t/0=CANCELLED z/0=READY r/0=CANCELLED s/1=WAITING t/1=WAITING r/1=PENDING")
	})
}

// What stands still is set back with the step whose output it lacks: so it needs nobody any more, until it stands still again.
func TestAResetOfWhatStandsStill(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q, when: \"steps.a.output.n > 1\"}\n  c: {needs: [b], queue: q}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `a {}`)
		r.needs("EXPRESSION i b")
		r.midway()
		r.did(r.tell(resetOf("i", "a", 0)), "instance.reset", "step.cancelled b", "step.cancelled c", "step.ready a")
		r.needs("")
		r.midway()
		r.puts(worker, `a {}`)
		i := r.needs("EXPRESSION i b")[0]
		if i.Index != 1 || fmt.Sprint(i.Evidence) != "[Behind it wait c.]" || i.Commands[1] != "lockstep step skip i b --index 1 --reason WHY" {
			r.t.Fatalf("told as %v", i)
		}
		r.midway()
		r.resets(resetOf("i", "b", 1), 2, 2, false) // it lacks what it lacked
		i = r.needs("EXPRESSION i b")[0]
		if i.Index != 2 {
			r.t.Fatalf("told as %v", i)
		}
		r.resets(resetOf("i", "a", 1), 3, 3, false)
		r.puts(worker, `a {"n":2}`)
		r.needs("")
		r.midway()
		r.leases(worker, "b/3")
	})
}

// Of what waits for what stands still the newest activation is told, whichever stands still.
func TestBehindWhatStandsStillIsWhatIsNew(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, when: \"input.n > 1\"}\n  b: {queue: q}\n  c: {needs: [a, b], queue: q}\n")
		r.start("w", "i", `{}`)
		r.resets(resetOf("i", "b", 0), 1, 2, false)
		r.midway()
		if i := r.needs("EXPRESSION i a")[0]; fmt.Sprint(i.Evidence) != "[Behind it wait c.]" {
			r.t.Errorf("told as %v", i)
		}
	})
}

// A step that fails for good behind a reset is told with its activation.
func TestAFailureBehindAResetIsListed(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q, retry: {attempts: 1}}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `a 1`)
		r.resets(resetOf("i", "b", 0), 1, 1, false)
		r.fail(r.leases(worker, "b/1")["b/1"], "BROKE", true)
		r.midway()
		i := r.needs("EXHAUSTED i b")[0]
		if i.Index != 1 || i.Code != "BROKE" || len(i.Evidence) != 1 {
			r.t.Errorf("told as %v", i)
		}
	})
}

// What an operator has skipped, ended or changed is done anew by a reset as if he had not; what he completed is undone as what a worker did.
func TestAResetOfWhatWasDoneByHand(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, compensate: {queue: u, input: \"${steps.a.output}\"}, retry: {attempts: 5}}\n  b: {needs: [a], queue: q}\n  c: {needs: [a, b], queue: none}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.tell(update("i", "a", func(u *v1.UpdateStepRequest) { u.AttemptsLeft = 1 }))
		byHand := r.tell(resolve("i", "a", `"by hand"`)).Outcomes[0].Reply.(*v1.ResolveStepResponse).Token
		r.tell(skip("i", "b"))
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED b/0=SKIPPED c/0=READY")
		r.did(r.tell(resetOf("i", "b", 0)), "instance.reset", "step.cancelled c", "step.ready b")
		r.resets(resetOf("i", "a", 0), 2, 3, false)
		r.midway()
		run := r.leases(worker, "a/2")["a/2"]
		if run.Token <= byHand || run.Attempt != 1 {
			r.t.Errorf("leased is %v", run)
		}
		r.fail(run, "E", true)
		r.tick(60 * second)
		r.done(r.leases(worker, "a/2")["a/2"], `"by a worker"`)
		if reply := r.tell(resolve("i", "a", `"by hand"`)).Outcomes[0].Reply.(*v1.ResolveStepResponse); !reply.Duplicate || reply.Token != byHand {
			r.t.Errorf("the same again is answered %v", reply)
		}
		r.tell(cancelOf("i"))
		for _, want := range []string{`"by a worker"`, `"by hand"`} {
			runs := r.poll(worker, "u", 9)
			if len(runs) != 1 || string(runs[0].InputPayload.GetBytes()) != want {
				r.t.Fatalf("undone is %v; want %s", runs, want)
			}
			r.done(runs[0], `{}`)
			r.midway()
		}
		r.runs("i", "CANCELLED a/0=COMPLETED b/0=SKIPPED c/0=CANCELLED a.compensate/0=COMPLETED b/1=CANCELLED c/1=CANCELLED a/2=COMPLETED b/2=CANCELLED c/2=CANCELLED a.compensate/2=COMPLETED")
	})
}

// What was set back is over: nobody can do anything about it, and is told which activation there is.
func TestOperatorsOfWhatWasSetBack(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, when: \"input.n > 1\"}\n  b: {queue: q}\n  c: {needs: [a, b], queue: q}\n")
		r.start("w", "i", `{}`)
		r.resets(resetOf("i", "a", 0), 1, 2, false)
		const says = "is CANCELLED; it was set back, and its newest activation is 1"
		r.refuses(v1.Code_CODE_ALREADY_DONE, retry("i", "a"), says)
		r.refuses(v1.Code_CODE_ALREADY_DONE, skip("i", "a"), says)
		r.refuses(v1.Code_CODE_ALREADY_DONE, resolve("i", "a", `{}`), says)
		r.refuses(v1.Code_CODE_ALREADY_DONE, giveUp("i", "a", "E"), says)
		r.refuses(v1.Code_CODE_ALREADY_DONE, update("i", "a", func(u *v1.UpdateStepRequest) { u.AttemptsLeft = 1 }), says)
		r.midway()
		r.did(r.tell(newer(retry("i", "a"), 1)), "step.resumed a", "step.incident a")
		r.did(r.tell(newer(resolve("i", "a", `{}`), 1)), "step.resolved a", "step.completed a")
		r.did(r.tell(skip("i", "b")), "step.skipped b", "step.ready c")
		r.midway()
		r.runs("i", "RUNNING a/0=CANCELLED b/0=SKIPPED c/0=CANCELLED a/1=COMPLETED c/1=READY")
	})
}

// What is inside another step is beside what is set back, and has ended as ever.
func TestOperatorsOfWhatIsInside(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  in: {scope: {steps: {x: {queue: q}, y: {queue: none}}}}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.done(r.leases(worker, "a/0", "x/0")["x/0"], `1`)
		r.resets(resetOf("i", "a", 0), 1, 1, false)
		r.midway()
		r.refuses(v1.Code_CODE_ALREADY_DONE, skip("i", "x"), "has ended: it is COMPLETED")
		r.refuses(v1.Code_CODE_ALREADY_DONE, retry("i", "x"), "has ended: it is COMPLETED")
	})
}

// What was set back goes with its instance, every row of it.
func TestWhatWasSetBackIsRemoved(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], forEach: {in: \"${input.list}\", steps: {x: {queue: q}}}}\n")
		r.tell(keepOf(time.Minute, 0, false))
		worker := r.session(3600 * second)
		r.start("w", "i", `{"list":[1,2]}`)
		r.puts(worker, `a 1`)
		r.puts(worker, `x 1`)
		r.resets(resetOf("i", "a", 0), 1, 2, false)
		r.puts(worker, `a 2`)
		r.puts(worker, `x 1`)
		r.midway()
		r.resets(resetOf("i", "b", 1), 2, 1, false)
		r.puts(worker, `x 1`)
		r.puts(worker, `x 2`)
		r.midway()
		r.ages(time.Minute)
		for slices := 0; ; slices++ {
			r.m.LimitRemoval(2, 3)
			reply, refusal := r.do(retainOf())
			r.midway()
			if got, is := reply.(*logv1.Retained); refusal != nil || !is || slices > 20 {
				r.t.Fatalf("slice %d: %v, %v", slices, reply, refusal)
			} else if got.Instances == 1 {
				break
			}
		}
		r.there("")
		r.rowless('i', 'r', 'p', 'd', 'f', 'h', 't', 'z', 'Y')
	})
}

// What was postponed before what is undone was set back waits for that too when it is taken up, as it would if it was reached then.
func TestWhatIsPostponedIsGated(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n  c: {needs: [a, b], queue: q, compensate: {queue: q}}\n  z: {queue: r}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.work(worker, "a", "b")
		r.work(worker, "c")
		r.tell(pause("i"))
		r.tell(resetOf("i", "a", 0))
		r.tell(undoingOf(resetOf("i", "b", 0)))
		r.midway()
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready c.compensate")
		r.midway()
		r.work(worker, "c.compensate")
		r.work(worker, "a", "b")
		r.work(worker, "c")
	})
}
