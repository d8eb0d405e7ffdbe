package fsm

import (
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const crossing = `
workflow: w
steps:
  first: {queue: q, locks: [{name: "${input.first}", hold: instance}], compensate: {}}
  go: {needs: [first], signal: {name: go}}
  then: {needs: [go], queue: q, locks: ["${input.then}"], retry: {attempts: 2, backoff: 1s}}
`

// crossed has two instances of which each waits for what the other holds.
func (r *rig) crossed(yaml string) (worker int64) {
	r.t.Helper()
	r.register(yaml)
	worker = r.session(600 * second)
	r.start("w", "j", `{"first":"x","then":"y"}`)
	r.tick(second)
	r.start("w", "i", `{"first":"y","then":"x"}`)
	r.work(worker, "first", "first")
	r.tell(signalOf("j", "go"))
	r.leases(worker)
	r.tell(signalOf("i", "go"))
	r.midway()
	return worker
}

// Of two that wait for each other the one yields that was started later: it is tried again, and when its attempts are used up it fails,
// undoes what it did under its lock, and gives that back.
func TestTheYoungestYields(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.crossed(crossing)
		r.leases(worker)
		r.midway()
		r.is("i", "RUNNING first=COMPLETED go=COMPLETED then=BACKOFF")
		r.is("j", "RUNNING first=COMPLETED go=COMPLETED then=READY")
		e := r.why("i", "then")
		if e.Sentence != `Step "then" failed (DEADLOCK: the waits are a cycle: step "then" of instance "i" waits for lock "x", which instance "j" holds, step "then" of instance "j" waits for lock "y", which instance "i" holds) and is tried again in 1s; 1 of 2 attempts are used.` &&
			e.Code != v1.ExplainCode_EXPLAIN_CODE_BACKOFF {
			r.t.Fatalf("explained as %v", e)
		}
		r.tick(2 * second)
		r.leases(worker)
		r.midway()
		r.is("i", "COMPENSATING(DEADLOCK) first=COMPLETED go=COMPLETED then=FAILED first.compensate=READY")
		r.locked("y", "i 2")
		r.work(worker, "first.compensate")
		r.midway()
		r.work(worker, "then")
		r.is("j", "COMPLETED first=COMPLETED go=COMPLETED then=COMPLETED")
	})
}

// A failure that is not retried yields at once, and a step can need it: what is behind that goes on.
func TestWhoYieldsCanBeNeeded(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.crossed(`
workflow: w
steps:
  first: {queue: q, locks: [{name: "${input.first}", hold: instance}]}
  go: {needs: [first], signal: {name: go}}
  then: {needs: [go], queue: q, locks: ["${input.then}"], retry: {nonRetryable: [DEADLOCK]}}
  else: {needs: [{step: then, ends: failed, codes: [DEADLOCK]}], queue: q}
`)
		r.leases(worker)
		r.midway()
		r.is("i", "RUNNING first=COMPLETED go=COMPLETED then=FAILED else=READY")
		r.work(worker, "else")
		r.work(worker, "then")
		r.is("j", "COMPLETED first=COMPLETED go=COMPLETED then=COMPLETED else=SKIPPED")
	})
}

// Compensations yield to nobody but each other.
func TestACompensationDoesNotYield(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(`
workflow: w
steps:
  first: {queue: q, locks: [{name: "${input.first}", hold: instance}], compensate: {locks: ["${input.then}"]}}
  go: {needs: [first], signal: {name: go}}
  then: {needs: [go], queue: q, locks: ["${input.then}"], retry: {attempts: 1}}
`)
		r.start("w", "i", `{"first":"x","then":"y"}`)
		r.tick(second)
		r.start("w", "j", `{"first":"y","then":"x"}`)
		r.work(worker, "first", "first")
		r.tell(cancelOf("j"))
		r.leases(worker)
		r.is("j", "COMPENSATING first=COMPLETED go=CANCELLED then=CANCELLED first.compensate=READY")
		r.tell(signalOf("i", "go"))
		r.leases(worker)
		r.midway()
		r.is("j", "COMPENSATING first=COMPLETED go=CANCELLED then=CANCELLED first.compensate=READY")
		r.is("i", "COMPENSATING(DEADLOCK) first=COMPLETED go=COMPLETED then=FAILED first.compensate=READY")
		r.leases(worker)
		// Now two compensations wait for each other, and the younger stands still.
		r.midway()
		for range 9 {
			r.tick(60 * second)
			r.leases(worker)
		}
		r.is("j", "COMPENSATING first=COMPLETED go=CANCELLED then=CANCELLED first.compensate=INCIDENT")
		r.is("i", "COMPENSATING(DEADLOCK) first=COMPLETED go=COMPLETED then=FAILED first.compensate=READY")
	})
}

// An instance that holds a lock and calls one that needs it waits for itself.
func TestACallForWhatTheCallerHolds(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register("workflow: inner\nsteps:\n  a: {queue: q, locks: [x], retry: {attempts: 1}}\n")
		r.register(`
workflow: w
steps:
  a: {queue: q, locks: [{name: x, hold: instance}]}
  b: {needs: [a], call: {workflow: inner}}
`)
		r.start("w", "i", `{}`)
		r.work(worker, "a")
		e := r.why("i", "b")
		if e.Code != v1.ExplainCode_EXPLAIN_CODE_INSTANCE_PENDING {
			r.t.Fatalf("explained as %v", e)
		}
		r.leases(worker)
		r.midway()
		r.is("i:b", "FAILED(DEADLOCK) a=FAILED")
		r.is("i", "FAILED(DEADLOCK) a=COMPLETED b=FAILED")
		want := `step a failed: the waits are a cycle: step "a" of instance "i:b" waits for lock "x", which instance "i" holds, step "b" of instance "i" waits for instance "i:b"`
		if i, _ := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i:b"}); i.Reason != want {
			r.t.Fatalf("it failed because %q", i.Reason)
		}
		r.locked("x", "")
	})
}

// A wait for an instance can close the cycle, and what waits for a lock yields.
func TestAWaitForWhoWaitsForALock(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register("workflow: inner\nsteps:\n  a: {queue: q, locks: [x], retry: {attempts: 1}}\n")
		r.register(`
workflow: w
steps:
  a: {queue: q, locks: [{name: x, hold: instance}]}
  b: {needs: [a], signal: {name: go}}
  c: {needs: [b], await: {instance: k}}
`)
		r.start("w", "i", `{}`)
		r.work(worker, "a")
		r.start("inner", "k", `{}`)
		r.leases(worker)
		r.midway()
		r.tell(signalOf("i", "go"))
		r.is("k", "FAILED(DEADLOCK) a=FAILED")
		r.is("i", "FAILED(DEADLOCK) a=COMPLETED b=COMPLETED c=FAILED")
	})
}

// A cycle can be closed by a grant: by that of a lock to an instance in which something waits already.
func TestAGrantClosesACycle(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(`
workflow: w
steps:
  hold: {queue: q, locks: [{name: x, hold: instance}]}
  both: {needs: [hold], queue: q, locks: [y, z], retry: {attempts: 1}}
`)
		r.register(`
workflow: v
steps:
  go: {signal: {name: go}}
  late: {needs: [go], queue: q, locks: [{name: z, hold: instance}]}
  wait: {queue: q, locks: [x], retry: {attempts: 1}}
`)
		r.register("workflow: u\nsteps:\n  a: {queue: q, locks: [y]}\n")
		r.start("u", "k", `{}`)
		first := r.leases(worker, "a/0")["a/0"]
		r.start("w", "i", `{}`)
		r.work(worker, "hold")
		r.leases(worker) // both waits for y
		r.tick(second)
		r.start("v", "j", `{}`)
		r.leases(worker) // wait waits for x
		r.midway()
		r.is("j", "RUNNING go=WAITING late=PENDING wait=READY")
		r.tell(signalOf("j", "go"))
		late := r.leases(worker, "late/0")["late/0"]
		r.midway()
		r.is("j", "FAILING(DEADLOCK) go=COMPLETED late=LEASED wait=FAILED")
		r.done(late, `{}`)
		r.is("j", "FAILED(DEADLOCK) go=COMPLETED late=COMPLETED wait=FAILED")
		r.done(first, `{}`)
		r.work(worker, "both")
		r.is("i", "COMPLETED hold=COMPLETED both=COMPLETED")
	})
}

// The bodies of one instance can wait for each other as well.
func TestBodiesWaitForEachOther(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(`
workflow: w
steps:
  each:
    forEach:
      in: [{a: x, b: "y"}, {a: "y", b: x}]
      width: 2
      steps:
        first: {queue: q, locks: [{name: "${item.a}", hold: scope}]}
        then: {needs: [first], queue: q, locks: ["${item.b}"], retry: {attempts: 1}}
        else: {needs: [{step: then, ends: failed}], queue: q}
`)
		r.start("w", "i", `{}`)
		runs := r.leases(worker, "first/0", "first/1")
		r.done(runs["first/0"], `{}`)
		r.done(runs["first/1"], `{}`)
		r.leases(worker)
		r.midway()
		r.runs("i", "RUNNING each/0=WAITING first/0=COMPLETED then/0=READY else/0=PENDING first/1=COMPLETED then/1=FAILED else/1=READY")
		r.done(r.leases(worker, "else/1")["else/1"], `{}`)
		r.done(r.leases(worker, "then/0")["then/0"], `{}`)
		r.runs("i", "COMPLETED each/0=COMPLETED first/0=COMPLETED then/0=COMPLETED else/0=SKIPPED first/1=COMPLETED then/1=FAILED else/1=COMPLETED")
	})
}
