package fsm

import (
	"fmt"
	"slices"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What waits meets what undoes: timers, approvals, races and the total timeout of an instance that compensates.

// did compares what an entry did.
func (r *rig) did(got Result, want ...string) {
	r.t.Helper()
	if !slices.Equal(kinds(got), want) {
		r.t.Fatalf("it did %q; want %q", kinds(got), want)
	}
}

// work leases what is ready and completes it, by name and in the order of the queue.
func (r *rig) work(worker int64, steps ...string) {
	r.t.Helper()
	var done []string
	for _, run := range r.poll(worker, "q", 9) {
		if _, refusal := r.complete(run, `{}`); refusal != nil {
			r.t.Fatal(refusal)
		}
		done = append(done, run.Step)
	}
	if !slices.Equal(done, steps) {
		r.t.Fatalf("%q were done; want %q", done, steps)
	}
}

func cancelOf(id string) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: id}}}
}

// An instance that takes too long undoes what it completed, also what is completed while it stops. Its timeout is over with
// that: undoing may take longer.
func TestATotalTimeoutCompensates(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
timeouts: {total: 1m}
steps:
  a: {queue: q, compensate: {}}
  b: {needs: [a], queue: q, compensate: {}}
  c: {needs: [a], timer: {after: 5m}}
  d: {needs: [b, c], queue: q, compensate: {}}
`)
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.work(worker, "a")
		b := r.poll(worker, "q", 1)[0]
		r.midway()
		r.did(r.tick(60*second), "instance.failing", "step.cancelled c", "step.cancelled d")
		r.did(r.tick(600 * second)) // somebody has b in hands
		r.complete(b, `{}`)
		r.midway()
		r.is("i", "COMPENSATING(TIMEOUT) a=COMPLETED b=COMPLETED c=CANCELLED d=CANCELLED a.compensate=PENDING b.compensate=READY")
		if i, _ := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); i.Remaining != nil {
			r.t.Fatalf("it compensates, and %s are left", i.Remaining.AsDuration())
		}
		r.work(worker, "b.compensate")
		r.did(r.tick(1800 * second))
		r.work(worker, "a.compensate")
		r.midway()
		r.is("i", "FAILED(TIMEOUT) a=COMPLETED b=COMPLETED c=CANCELLED d=CANCELLED a.compensate=COMPLETED b.compensate=COMPLETED")
	})
}

// An instance that fails in the tick in which a timer of it is due goes first where the times are equal: the timer never fires.
func TestATimeoutGoesBeforeATimerOfItsTime(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\ntimeouts: {total: 1m}\nsteps:\n  a: {queue: q, compensate: {}}\n  b: {timer: {after: 1m}}\n")
		r.start("w", "i", `{}`)
		r.work(r.session(3600*second), "a")
		r.midway()
		r.did(r.tick(60*second), "instance.failing", "step.cancelled b", "instance.compensating", "step.ready a.compensate")
		r.is("i", "COMPENSATING(TIMEOUT) a=COMPLETED b=CANCELLED a.compensate=READY")
	})
}

const undoneApproval = `
workflow: w
steps:
  a: {queue: q, compensate: {}}
  b: {needs: [a], approval: {role: finance}, timeouts: {total: 10s}}
  c: {needs: [a], approval: {}}
  d: {needs: [b, c], queue: q}
`

// Whoever rejects has what was completed undone. Told again it is answered like the first time, whatever the instance came to
// meanwhile, and nothing can be decided on any more.
func TestARejectionCompensates(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(undoneApproval)
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.work(worker, "a")
		r.midway()
		r.did(r.tell(reject("i", "b", "too dear")),
			"step.rejected b", "step.failed b", "instance.failing", "step.cancelled c", "step.cancelled d", "instance.compensating", "step.ready a.compensate")
		r.midway()
		r.is("i", "COMPENSATING(REJECTED) a=COMPLETED b=FAILED c=CANCELLED d=CANCELLED a.compensate=READY")
		reply, refusal := r.do(reject("i", "b", "too dear"))
		if again := reply.(*v1.RejectStepResponse); refusal != nil || !again.Duplicate || again.InstanceState != v1.InstanceState_INSTANCE_STATE_COMPENSATING {
			r.t.Fatalf("told again it is answered %v, %v", reply, refusal)
		}
		for _, c := range []struct {
			command *logv1.Command
			code    v1.Code
		}{
			{approve("i", "b", ""), v1.Code_CODE_ALREADY_DONE}, {approve("i", "c", ""), v1.Code_CODE_ALREADY_DONE},
			{reject("i", "c", ""), v1.Code_CODE_ALREADY_DONE}, {approve("i", "a.compensate", ""), v1.Code_CODE_INVALID},
		} {
			if _, refusal := r.do(c.command); refusal.GetCode() != c.code {
				r.t.Fatalf("%v is answered %v", c.command, refusal)
			}
		}
		r.did(r.tick(60 * second)) // beyond the timeout of c
		r.work(worker, "a.compensate")
		r.is("i", "FAILED(REJECTED) a=COMPLETED b=FAILED c=CANCELLED d=CANCELLED a.compensate=COMPLETED")
	})
}

// So does nobody's decision, when the time for it is over.
func TestAnApprovalThatIsTooLateCompensates(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(undoneApproval)
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.work(worker, "a")
		r.midway()
		r.did(r.tick(10*second), "step.failed b", "instance.failing", "step.cancelled c", "step.cancelled d", "instance.compensating", "step.ready a.compensate")
		r.work(worker, "a.compensate")
		r.is("i", "FAILED(TIMEOUT_TOTAL) a=COMPLETED b=FAILED c=CANCELLED d=CANCELLED a.compensate=COMPLETED")
	})
}

// A cancel ends the timers that wait. None of them fires while the instance compensates, nor behind that, and nothing of them is
// kept.
func TestNoTimerFiresWhileAnInstanceCompensates(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: q, compensate: {}}
  soon: {needs: [a], timer: {after: 1m}}
  day: {needs: [a], timer: {until: "2030-01-01T00:00:00Z"}}
  then: {race: [soon, day], queue: q, compensate: {}}
  later: {needs: [soon], timer: {after: 1s}}
`)
		r.wall = newYear - 90*second
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.work(worker, "a")
		r.midway()
		r.did(r.tell(cancelOf("i")), "instance.cancelling", "step.cancelled soon", "step.cancelled day", "step.cancelled then", "step.cancelled later",
			"instance.compensating", "step.ready a.compensate")
		if r.midway(); r.m.dates.Len() > 0 {
			r.t.Fatalf("%d dates are kept", r.m.dates.Len())
		}
		r.did(r.tick(60 * second))
		r.did(r.tick(60 * second))
		if c := r.m.Clock(); c.Deadline < c.Uptime+3000*second {
			r.t.Fatalf("at uptime %d the next deadline is %d", c.Uptime, c.Deadline)
		}
		r.work(worker, "a.compensate")
		r.did(r.tick(1800 * second))
		r.midway()
		r.is("i", "CANCELLED a=COMPLETED soon=CANCELLED day=CANCELLED then=CANCELLED later=CANCELLED a.compensate=COMPLETED")
	})
}

// Undoing passes through a race, whoever won it: what came behind it first, and then what came before, by the graph as by the
// order of completion.
func TestARaceIsUndone(t *testing.T) {
	for _, order := range []string{"parallel", "sequential"} {
		for _, winner := range []string{"paid", "late"} {
			t.Run(fmt.Sprint(order, " behind ", winner), func(t *testing.T) {
				scenario(t, func(r *rig) {
					r.register(`
workflow: w
compensation: ` + order + `
steps:
  a: {queue: q, compensate: {}}
  b: {needs: [a], queue: q, compensate: {}}
  paid: {needs: [b], signal: {name: paid}}
  late: {needs: [a], timer: {after: 5s}}
  ship: {race: [paid, late], queue: q, compensate: {}}
  last: {needs: [ship], approval: {}}
`)
					r.start("w", "i", `{}`)
					worker := r.session(3600 * second)
					r.work(worker, "a")
					r.work(worker, "b")
					loser := "late"
					if r.midway(); winner == "paid" {
						r.tell(signalOf("i", "paid"))
					} else {
						loser = "paid"
						r.tick(5 * second)
					}
					r.work(worker, "ship")
					r.did(r.tell(reject("i", "last", "")), "step.rejected last", "step.failed last", "instance.failing", "instance.compensating", "step.ready ship.compensate")
					for _, step := range []string{"ship", "b", "a"} {
						r.midway()
						r.work(worker, step+".compensate")
					}
					i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"})
					must(err)
					for _, run := range i.Runs {
						if skipped := run.State == v1.RunState_RUN_STATE_SKIPPED; skipped != (run.Step == loser) {
							r.t.Errorf("%s won, and %s is %s", winner, run.Step, run.State)
						}
					}
					if i.State != v1.InstanceState_INSTANCE_STATE_FAILED {
						r.t.Errorf("the instance is %s", i.State)
					}
				})
			})
		}
	}
}

// A race that nobody has won is undone like anything that was not completed: not at all, and what came before it is.
func TestAnOpenRaceIsNotUndone(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: q, compensate: {}}
  yes: {needs: [a], approval: {}}
  never: {needs: [a], signal: {name: never}}
  b: {race: [yes, never], queue: q, compensate: {}}
`)
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		r.work(worker, "a")
		r.did(r.tell(&logv1.Command{Body: &logv1.Command_CompensateInstance{CompensateInstance: &v1.CompensateInstanceRequest{InstanceId: "i"}}}),
			"instance.cancelling", "step.cancelled yes", "step.cancelled never", "step.cancelled b", "instance.compensating", "step.ready a.compensate")
		r.midway()
		r.did(r.tell(signalOf("i", "never")), "signal.received") // is kept, and nobody takes it
		r.work(worker, "a.compensate")
		r.is("i", "CANCELLED a=COMPLETED yes=CANCELLED never=CANCELLED b=CANCELLED a.compensate=COMPLETED")
	})
}

// What fails as it begins may have all undone while those who need the same step are still to be told of its end. They count what is
// to be undone behind them then, and no needs: else the step before them is never undone.
func TestWhatFailsAsItBeginsDoesNotMiscountWhatIsUndone(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: late, compensate: {}}
  b: {needs: [a], loop: {while: "input.x > 1", max: 3, steps: {c: {queue: q}}}}
  d: {needs: [a], queue: q}
  e: {queue: q}
  f: {needs: [d, e], join: any, queue: q, compensate: {}}
`)
		r.start("w", "i", `{}`)
		worker := r.session(3600 * second)
		a := r.poll(worker, "late", 1)[0]
		r.work(worker, "e")
		r.work(worker, "f")
		r.done(a, `{}`) // and the condition of b cannot be evaluated
		r.midway()
		r.work(worker, "f.compensate")
		if undone := r.poll(worker, "late", 1); len(undone) != 1 || undone[0].Compensates != "a" {
			r.t.Fatalf("%v is to be undone behind it", undone)
		} else {
			r.done(undone[0], `{}`)
		}
		if i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); err != nil || i.State != v1.InstanceState_INSTANCE_STATE_FAILED {
			r.t.Fatalf("%v, %v", i, err)
		}
	})
}
