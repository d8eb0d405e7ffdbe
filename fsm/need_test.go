package fsm

import (
	"fmt"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func failOf(run *v1.LeasedRun, code string) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{
		InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token, Code: code, Reason: "because",
	}}}
}

const payment = `
workflow: w
steps:
  reserve: {queue: q, compensate: {}}
  charge: {needs: [reserve], queue: q, compensate: {}}
  ship: {needs: [charge], queue: q}
  call: {needs: [{step: charge, ends: failed, codes: [DECLINED, EXPIRED]}], queue: q, input: {why: "${steps.charge.error}"}}
  note: {needs: [{step: charge, ends: any}], queue: q, when: "has(steps.charge.error)"}
  close: {needs: [ship, call], queue: q, compensate: {}}
`

// A failure that a step needs is not the instance's: what needs it goes on, what needs the completion is skipped, and the paths meet.
func TestAFailureThatIsNeeded(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(payment)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.work(worker, "reserve")
		if e := r.why("i", "call"); e.Sentence != `Step "call" waits for charge to fail.` || fmt.Sprint(e.Missing) != "[charge]" {
			r.t.Fatalf("explained as %v", e)
		}
		if e := r.why("i", "note"); e.Sentence != `Step "note" waits for charge to end.` {
			r.t.Fatalf("explained as %v", e)
		}
		charge := r.poll(worker, "q", 1)[0]
		r.midway()
		r.did(r.tell(failOf(charge, "DECLINED")), "step.failed charge", "step.skipped ship", "step.ready call", "step.ready note")
		r.midway()
		if _, refusal := r.complete(charge, `{}`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Fatalf("the failed one is completed: %v", refusal)
		}
		call := r.poll(worker, "q", 1)[0]
		if string(call.InputPayload.Bytes) != `{"why":{"code":"DECLINED","reason":"because"}}` {
			r.t.Fatalf("it is given %s", call.InputPayload.Bytes)
		}
		r.complete(call, `{}`)
		r.work(worker, "note", "close")
		r.is("i", "COMPLETED reserve=COMPLETED charge=FAILED ship=SKIPPED call=COMPLETED note=COMPLETED close=COMPLETED")
	})
}

// A failure with a code that nobody needs fails the instance, and so does one without that anybody has said so.
func TestAFailureThatIsNotNeeded(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(strings.Replace(payment, "  note: {needs: [{step: charge, ends: any}], queue: q, when: \"has(steps.charge.error)\"}\n", "", 1))
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.work(worker, "reserve")
		r.did(r.tell(failOf(r.poll(worker, "q", 1)[0], "LOST")),
			"step.failed charge", "instance.failing", "step.cancelled ship", "step.cancelled call", "step.cancelled close", "instance.compensating", "step.ready reserve.compensate")
		r.midway()
		r.work(worker, "reserve.compensate")
		r.is("i", "FAILED(LOST) reserve=COMPLETED charge=FAILED ship=CANCELLED call=CANCELLED close=CANCELLED reserve.compensate=COMPLETED")
	})
}

// Without a failure, those that need one are skipped.
func TestNoFailure(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(payment)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.work(worker, "reserve")
		charge := r.poll(worker, "q", 1)[0]
		r.complete(charge, `{}`)
		r.midway()
		r.is("i", "RUNNING reserve=COMPLETED charge=COMPLETED ship=READY call=SKIPPED note=SKIPPED close=PENDING")
		r.work(worker, "ship")
		r.work(worker, "close")
		r.is("i", "COMPLETED reserve=COMPLETED charge=COMPLETED ship=COMPLETED call=SKIPPED note=SKIPPED close=COMPLETED")
	})
}

// What undoes an instance undoes what was completed because of a failure too, and not what failed.
func TestWhatWasDoneBehindAFailureIsUndone(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: q, compensate: {}}
  b: {needs: [a], queue: q, compensate: {}}
  c: {needs: [{step: b, ends: failed}], queue: q, compensate: {}}
  d: {needs: [c], queue: q, compensate: {}}
`)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.work(worker, "a")
		r.tell(failOf(r.poll(worker, "q", 1)[0], "X"))
		r.work(worker, "c")
		r.tell(failOf(r.poll(worker, "q", 1)[0], "Y"))
		r.midway()
		r.is("i", "COMPENSATING(Y) a=COMPLETED b=FAILED c=COMPLETED d=FAILED a.compensate=PENDING c.compensate=READY")
		r.work(worker, "c.compensate")
		r.work(worker, "a.compensate")
		r.is("i", "FAILED(Y) a=COMPLETED b=FAILED c=COMPLETED d=FAILED a.compensate=COMPLETED c.compensate=COMPLETED")
	})
}

// How needs that count failures join: for all, one that ended otherwise skips the step at once; any and atLeast count those that
// are met; and a step that is there for a failure does not run because what it is to handle was skipped.
func TestNeedsOfFailuresJoin(t *testing.T) {
	for _, c := range []struct{ name, needs, end, want string }{
		{"all, and one did not fail", "[a, {step: b, ends: failed}]", "b completes", "SKIPPED"},
		{"all, and one failed", "[a, {step: b, ends: failed}]", "b fails", "PENDING"},
		{"all, and both failed", "[{step: a, ends: failed}, {step: b, ends: failed}]", "b fails, a fails", "READY"},
		{"all, and one failed otherwise", "[{step: a, ends: failed, codes: [OTHER]}, {step: b, ends: failed}]", "b fails, a fails", "SKIPPED"},
		{"any, and the first failed", "[{step: a, ends: failed}, {step: b, ends: failed}], join: any", "b fails", "READY"},
		{"any, and one did not", "[{step: a, ends: failed}, {step: b, ends: failed}], join: any", "b completes", "PENDING"},
		{"any, and none did", "[{step: a, ends: failed}, {step: b, ends: failed}], join: any", "b completes, a completes", "SKIPPED"},
		{"at least two of either end", "[{step: a, ends: any}, {step: b, ends: any}], join: {atLeast: 2}", "b fails, a completes", "READY"},
		{"all of either end, and one was skipped", "[{step: s, ends: any}, a]", "a completes", "READY"},
		{"all, and what was to fail was skipped", "[{step: s, ends: failed}, a]", "a completes", "SKIPPED"},
		{"any, and what was to fail was skipped", "[{step: s, ends: failed}, a], join: any", "a completes", "READY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			scenario(t, func(r *rig) {
				// z needs each failure, so that none is the instance's.
				r.register(`
workflow: w
steps:
  a: {queue: a}
  b: {queue: b}
  s: {when: "input.n > 1"}
  c: {queue: c, needs: ` + c.needs + `}
  z: {needs: [{step: a, ends: any}, {step: b, ends: any}, c], queue: z, when: "input.n > 1"}
`)
				worker := r.session(600 * second)
				r.start("w", "i", `{"n":1}`)
				for _, end := range strings.Split(c.end, ", ") {
					step, how, _ := strings.Cut(end, " ")
					run := r.poll(worker, step, 1)[0]
					if how == "fails" {
						r.tell(failOf(run, "CODE"))
					} else {
						r.complete(run, `{}`)
					}
					r.midway()
				}
				if got := r.state("i"); !strings.Contains(got, " c="+c.want) {
					r.t.Fatal(got)
				}
			})
		})
	}
}

// Every way to fail for good is one: attempts that are used up by a session's end, a timeout, a decision, an incident that nobody mends.
func TestEveryFailureCanBeNeeded(t *testing.T) {
	for _, c := range []struct {
		name, step, code string
		fail             func(*rig)
	}{
		{"the session of the last attempt ends", "queue: q, locks: [x], retry: {attempts: 1}", "SESSION_EXPIRED", func(r *rig) {
			r.poll(r.session(2*second), "q", 1)
			r.tick(5 * second)
		}},
		{"nobody takes it", "queue: q, locks: [x], timeouts: {queue: 3s}", "TIMEOUT_QUEUE", func(r *rig) { r.tick(5 * second) }},
		{"its time is over in somebody's hands", "queue: q, locks: [x], timeouts: {total: 3s}", "TIMEOUT_TOTAL", func(r *rig) {
			r.poll(r.session(600*second), "q", 1)
			r.tick(5 * second)
		}},
		{"no message comes", "signal: {name: go}, timeouts: {total: 3s}", "TIMEOUT_TOTAL", func(r *rig) { r.tick(5 * second) }},
		{"it is rejected", "approval: {}", "REJECTED", func(r *rig) { r.tell(reject("i", "a", "no")) }},
		{"it stands still until its time is over", `input: "${input.none}", timeouts: {total: 3s}`, "TIMEOUT_TOTAL", func(r *rig) { r.tick(5 * second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			scenario(t, func(r *rig) {
				r.register("workflow: w\nsteps:\n  a: {" + c.step + "}\n  b: {needs: [{step: a, ends: failed, codes: [" + c.code + "]}], queue: r, locks: [x]}\n")
				r.start("w", "i", `{}`)
				r.midway()
				c.fail(r)
				r.midway()
				r.is("i", "RUNNING a=FAILED b=READY")
				worker := r.session(600 * second)
				r.complete(r.poll(worker, "r", 1)[0], `{}`)
				r.is("i", "COMPLETED a=FAILED b=COMPLETED")
			})
		})
	}
}

// An instance that stops has no use for a failure any more.
func TestAFailureOfWhatStopsIsNotNeeded(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(payment)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.work(worker, "reserve")
		charge := r.poll(worker, "q", 1)[0]
		r.tell(cancelOf("i"))
		r.midway()
		r.did(r.tell(failOf(charge, "DECLINED")), "step.cancelled charge", "instance.compensating", "step.ready reserve.compensate")
	})
}

// A race goes on without a wait that failed, if somebody needs that; and ends when none of its waits is left.
func TestARaceGoesOnBehindAFailure(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {signal: {name: a}, timeouts: {total: 3s}}
  b: {approval: {}}
  c: {race: [a, b], queue: q}
  d: {needs: [{step: a, ends: failed}], queue: q}
  e: {needs: [{step: b, ends: failed}], queue: q}
`)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.start("w", "j", `{}`)
		r.midway()
		r.tick(3 * second)
		r.is("i", "RUNNING a=FAILED b=WAITING c=PENDING d=READY e=PENDING")
		r.tell(approve("i", "b", ""))
		r.tell(reject("j", "b", ""))
		r.midway()
		r.work(worker, "d", "d", "c", "e")
		r.is("i", "COMPLETED a=FAILED b=COMPLETED c=COMPLETED d=COMPLETED e=SKIPPED")
		r.is("j", "COMPLETED a=FAILED b=FAILED c=SKIPPED d=COMPLETED e=COMPLETED")
	})
}

// A cluster of the level before refuses the third edition of the language.
func TestAnOlderLevelTakesNoFailures(t *testing.T) {
	for _, needs := range []string{"{step: a, ends: failed}", "{step: a, ends: any}"} {
		ofLevel(t, "workflow: w\nsteps:\n  a: {timer: {after: 5s}}\n  b: {needs: ["+needs+"]}\n", endsLevel)
	}
}
