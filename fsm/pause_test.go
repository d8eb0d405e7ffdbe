package fsm

import (
	"fmt"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func pause(id string) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_PauseInstance{PauseInstance: &v1.PauseInstanceRequest{InstanceId: id, Reason: "the bank is down"}}})
}

func resume(id string) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_ResumeInstance{ResumeInstance: &v1.ResumeInstanceRequest{InstanceId: id, Reason: "it is up"}}})
}

// What is leased when an instance is paused is completed; what follows, and what was ready, waits until it is resumed. Others overtake it.
func TestAPauseWhileLeased(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n  c: {needs: [a], queue: q}\n")
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		a := r.poll(worker, "q", 1)[0]
		got := r.tell(pause("i"))
		r.did(got, "instance.paused")
		if e := got.Events()[0]; e.Author.GetPrincipal() != "ann" || e.Data.Reason != "the bank is down" {
			r.t.Fatalf("told as %v", e)
		}
		r.midway()
		r.start("w", "j", `{}`)
		if runs := r.poll(worker, "q", 9); len(runs) != 2 || runs[0].InstanceId != "j" {
			r.t.Fatalf("leased: %v", runs)
		}
		r.did(r.tell(pause("i"))) // again
		if _, refusal := r.complete(a, `{}`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.is("i", "RUNNING a=COMPLETED b=READY c=PENDING")
		if i, _ := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); i.Pause.GetBy() != "ann" || i.Pause.GetReason() != "the bank is down" {
			r.t.Fatalf("its pause is %v", i.Pause)
		}
		why, err := r.m.Explain(&v1.ExplainRequest{InstanceId: "i"})
		if err != nil || len(why.Explanations) != 3 || why.Explanations[0].Sentence != "The instance is paused by ann, and nothing new of it is begun or leased until it is resumed: the bank is down." {
			r.t.Fatalf("explained as %v, %v", why, err)
		}
		for _, e := range why.Explanations {
			if e.Code != v1.ExplainCode_EXPLAIN_CODE_PAUSED {
				r.t.Errorf("explained as %v", e)
			}
		}
		r.midway()
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready c")
		r.did(r.tell(resume("i")))
		r.work(worker, "b", "c")
		r.refuses(v1.Code_CODE_ALREADY_ENDED, pause("i"), "nothing to pause")
		r.refuses(v1.Code_CODE_ALREADY_ENDED, resume("i"), "over with that")
	})
}

// A worker that waits for a run by name, or for its queue, has it when the instance is resumed; without a wait it is refused.
func TestWhoWaitsHasItWhenAPauseEnds(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: p}\n")
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.tell(pause("i"))
		lease := func(wait int64) *logv1.Command {
			return &logv1.Command{Envelope: &logv1.Envelope{WaitId: 77}, Body: &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{Session: worker, InstanceId: "i", Step: "a", Wait: wait}}}
		}
		if _, refusal := r.do(lease(0)); refusal.GetCode() != v1.Code_CODE_NOT_READY {
			r.t.Fatalf("answered %v", refusal)
		}
		if out := r.apply(&logv1.Entry{Commands: []*logv1.Command{lease(50 * second)}}).Outcomes[0]; !out.Parked {
			r.t.Fatalf("answered %v", out)
		}
		poll := &logv1.Command{Envelope: &logv1.Envelope{WaitId: 78}, Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: worker, Queues: []string{"p"}, Count: 1, Wait: 50 * second}}}
		if out := r.apply(&logv1.Entry{Commands: []*logv1.Command{poll}}).Outcomes[0]; !out.Parked {
			r.t.Fatalf("answered %v", out)
		}
		r.midway()
		r.did(r.tell(resume("i")), "instance.resumed", "step.leased a", "step.leased b")
	})
}

// A lapsed lease is late as ever while its instance is paused: its completion is good.
func TestALateCompletionWhilePaused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, timeouts: {run: 5s}}\n")
		r.start("w", "i", `{}`)
		a := r.poll(r.session(3600*second), "q", 1)[0]
		r.tell(pause("i"))
		r.did(r.tick(5*second), "step.lapsed a")
		r.midway()
		if _, refusal := r.complete(a, `{}`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.is("i", "COMPLETED a=COMPLETED")
	})
}

// Total timeouts go on while an instance is paused, also that of a step, and timers fire; the time that a run may wait for a worker, or for
// its locks, stands still, and begins anew.
func TestTimesWhilePaused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, timeouts: {queue: 10s}}\n  t: {timer: {after: 20s}}\n  b: {needs: [t], queue: q}\n  c: {queue: p, timeouts: {total: 100s}}\n")
		r.start("w", "i", `{}`)
		r.tell(pause("i"))
		r.midway()
		r.did(r.tick(20*second), "timer.fired t", "step.completed t")
		r.midway()
		r.did(r.tick(70 * second))
		r.tell(resume("i"))
		r.did(r.tick(9 * second))
		r.midway()
		r.did(r.tick(1*second), "step.failed a", "instance.failing", "step.cancelled b", "step.cancelled c", "instance.failed")

		r.start("w", "j", `{}`)
		r.tell(pause("j"))
		r.did(r.tick(20*second), "timer.fired t", "step.completed t")
		r.did(r.tick(80*second), "step.failed c", "instance.failing", "step.cancelled a", "step.cancelled b", "instance.failed")
	})
}

// An instance that is resumed in the entry of a timeout is not late: the queue timeout begins anew, and a total timeout comes behind the command.
func TestAResumeAtTheTickOfATimeout(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, timeouts: {queue: 10s, total: 30s}}\n  b: {queue: q}\n")
		r.start("w", "i", `{}`)
		r.tell(pause("i"))
		r.tick(29 * second)
		r.midway()
		r.elapsed += second
		r.due = r.elapsed
		got := r.apply(&logv1.Entry{Commands: []*logv1.Command{resume("i")}})
		r.did(got, "instance.resumed", "step.failed a", "instance.failing", "step.cancelled b", "instance.failed")
	})
}

// What compensates is paused as what runs: what is undone waits. It can be cancelled, too, and what there is to undo is undone behind the pause.
func TestAPauseDuringCompensation(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, compensate: {}}\n  b: {needs: [a], queue: q, compensate: {}}\n  c: {needs: [b], queue: q}\n")
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.work(worker, "a")
		r.work(worker, "b")
		r.tell(pause("i"))
		r.midway()
		r.did(r.tell(cancelOf("i")), "instance.cancelling", "step.cancelled c", "instance.compensating")
		r.midway()
		r.is("i", "COMPENSATING a=COMPLETED b=COMPLETED c=CANCELLED a.compensate=PENDING b.compensate=PENDING")
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready b.compensate")
		undo := r.poll(worker, "q", 1)[0]
		r.tell(pause("i"))
		r.complete(undo, `{}`)
		r.midway()
		r.is("i", "COMPENSATING a=COMPLETED b=COMPLETED c=CANCELLED a.compensate=PENDING b.compensate=COMPLETED")
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready a.compensate")
		r.work(worker, "a.compensate")
		r.is("i", "CANCELLED a=COMPLETED b=COMPLETED c=CANCELLED a.compensate=COMPLETED b.compensate=COMPLETED")
	})
}

// Children are instances of their own: they go on when their parent is paused, and what follows from their end waits. One that was not
// called yet is called when the parent is resumed.
func TestAPauseOfAParent(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: child\nsteps:\n  x: {queue: q}\n")
		r.register("workflow: w\nsteps:\n  a: {call: {workflow: child}}\n  b: {needs: [a], call: {workflow: child}}\n")
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.tell(pause("i"))
		r.midway()
		r.work(worker, "x")
		r.is("i", "RUNNING a=COMPLETED b=PENDING")
		r.midway()
		r.did(r.tell(resume("i")), "instance.resumed", "step.waiting b", "instance.started", "step.ready x")
		// One that is paused in the entry that calls.
		got := r.apply(&logv1.Entry{Commands: []*logv1.Command{
			{Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{InstanceId: "j", Workflow: "w"}}}, pause("j"),
		}})
		r.did(got, "instance.started", "step.waiting a", "instance.paused")
		r.midway()
		r.did(r.tell(cancelOf("j")), "instance.cancelling", "step.cancelled a", "step.cancelled b", "instance.cancelled")
	})
}

// Who waits at a barrier counts there also when its instance is paused; it goes on behind the barrier when it is resumed.
func TestAPauseAtABarrier(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {barrier: {name: m, parties: 2}}\n  b: {needs: [a], queue: q}\n")
		r.start("w", "i", `{}`)
		r.tell(pause("i"))
		r.midway()
		r.start("w", "j", `{}`)
		r.midway()
		r.is("i", "RUNNING a=COMPLETED b=PENDING")
		r.is("j", "RUNNING a=COMPLETED b=READY")
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready b")
	})
}

// A run that waits for a lock waits no more while its instance is paused: it is before nobody, and in no deadlock.
func TestAPauseOfWhoWaitsForALock(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, locks: [x], timeouts: {locks: 10s}}\n  b: {needs: [a], queue: q}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		held := r.poll(worker, "q", 1)[0]
		r.start("w", "j", `{}`)
		if runs := r.poll(worker, "q", 1); len(runs) != 0 {
			r.t.Fatalf("leased: %v", runs)
		}
		r.tell(pause("j"))
		r.midway()
		r.did(r.tick(20 * second))
		r.complete(held, `{}`)
		r.work(worker, "b")
		if err := check(r.m); err != nil {
			r.t.Fatal(err)
		}
		r.did(r.tell(resume("j")), "instance.resumed")
		r.work(worker, "a")
	})
}

// Items of a list, turns of a loop, and what is skipped by its needs are held as well.
func TestAPauseOfBodies(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {forEach: {in: [1, 2, 3], width: 1, steps: {x: {queue: q}}}}\n  b: {queue: q}\n  c: {needs: [b], when: \"input.k == 1\", queue: q}\n")
		r.start("w", "i", `{"k":0}`)
		worker := r.session(3600 * second)
		runs := r.poll(worker, "q", 9)
		r.tell(pause("i"))
		for _, run := range runs {
			r.complete(run, `{}`)
		}
		r.midway()
		if runs := r.poll(worker, "q", 9); len(runs) != 0 {
			r.t.Fatalf("leased: %v", runs)
		}
		r.tell(skip("i", "c"))
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready x")
		for range 2 {
			r.midway()
			r.done(r.poll(worker, "q", 9)[0], `{}`)
		}
		if i, _ := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); i.State != v1.InstanceState_INSTANCE_STATE_COMPLETED {
			r.t.Fatalf("it is %v", fmt.Sprint(i))
		}
	})
}

// Who waits for a slot of a limit waits no more while its instance is paused: it is before nobody, and keeps no slot. Resumed, it is in its
// old place, and no slot has come back that was not due to.
func TestAPauseOfWhoWaitsForASlot(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(calls)
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		r.starts("a1", "a2", "a3", "a4", "a5", "a6")
		r.takes(worker, "a1 a2 a3")
		r.credit(worker, 9, "q")
		r.limits("partner/a 3 of 3 per 10s, 3 wait, next in 10s")
		r.did(r.tell(pause("a4")), "instance.paused")
		r.did(r.tell(skip("a5", "a")), "step.skipped a", "instance.completed")
		r.did(r.tell(pause("a1")), "instance.paused") // it is leased, and its slot is taken
		r.limits("partner/a 3 of 3 per 10s, 1 wait, next in 10s")
		r.midway()
		r.expect(10*second-1, "")
		r.expect(1, "a6")
		r.limits("partner/a 1 of 3 per 10s, 0 wait, next in 10s")
		r.starts("a7", "a8", "a9", "b")
		r.takes(worker, "a7 a8 b")
		r.credit(worker, 9, "q")
		r.limits("partner/a 3 of 3 per 10s, 1 wait, next in 10s\npartner/b 1 of 3 per 10s, 0 wait, next in 10s")
		r.tick(5 * second)
		r.did(r.tell(resume("a4")), "instance.resumed")
		r.limits("partner/a 3 of 3 per 10s, 2 wait, next in 5s\npartner/b 1 of 3 per 10s, 0 wait, next in 5s")
		r.midway()
		r.expect(5*second-1, "")
		r.expect(1, "a4")
		r.takes(worker, "a9")
	})
}

// Who waits by a key waits on while its instance is paused, and what is behind it is held; one that was not begun does not wait by it yet.
func TestAPauseOfWhoWaitsByAKey(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.awaiters("")
		r.register("workflow: late\nsteps:\n  first: {queue: f}\n  wait: {needs: [first], await: {key: {order: \"7\"}, of: all}, timeouts: {total: 60s}}\n")
		r.start("w0", "i", `{}`)
		r.start("late", "j", `{}`)
		first := r.lease(worker, "j", "first")
		r.tell(pause("i"))
		r.tell(pause("j"))
		r.startKeyed("payment", "p", "order=7")
		r.complete(first, `{}`)
		r.midway()
		r.pays(worker, "p", `{}`)
		r.is("i", "RUNNING wait=COMPLETED go=PENDING")
		r.is("j", "RUNNING first=COMPLETED wait=PENDING")
		r.midway()
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready go")
		r.did(r.tell(resume("j")), "instance.resumed", "step.waiting wait", "step.completed wait", "instance.completed")
		r.midway()
	})
}

// Turns that are over while an instance is paused have their next begun behind it, and each is that of the loop which it is a turn of: one
// that is at its turn begins none.
func TestTurnsBehindAPause(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  l: {forEach: {in: [1, 2], width: 2, steps: {c: {loop: {max: 2, steps: {s: {approval: {}}}}}}}}\n")
		yes := func(index int32) Result {
			r.t.Helper()
			c := approve("i", "s", "")
			c.GetApproveStep().Index = index
			return r.tell(c)
		}
		r.start("w", "i", `{}`)
		r.tell(pause("i"))
		r.did(r.tell(resume("i")), "instance.resumed")
		r.did(yes(1), "step.approved s", "step.completed s", "step.waiting s")
		r.midway()
		r.did(yes(2), "step.approved s", "step.completed s", "step.completed c")
		r.is("i", "RUNNING l=WAITING c=WAITING c=COMPLETED s=WAITING s=COMPLETED s=COMPLETED")
		r.tell(pause("i"))
		r.did(yes(0), "step.approved s", "step.completed s")
		r.midway()
		r.did(r.tell(resume("i")), "instance.resumed", "step.waiting s")
		r.midway()
		r.did(yes(3), "step.approved s", "step.completed s", "step.completed c", "step.completed l", "instance.completed")
	})
}
