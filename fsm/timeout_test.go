package fsm

import (
	"fmt"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An instance that takes too long fails: what is not leased is cancelled, and what is leased is asked to stop.
func TestAnInstanceFailsAtItsTotalTimeout(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\ntimeouts: {total: 1m}\nsteps:\n  a: {queue: q}\n  b: {signal: {name: go}}\n")
		r.start("w", "idle", `{}`)
		r.start("w", "done", `{}`)
		worker := r.session(600 * second)
		idle := r.poll(worker, "q", 1)[0]
		r.complete(r.poll(worker, "q", 1)[0], `{}`)
		r.tell(signalOf("done", "go"))
		if i, _ := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "idle"}); i.Remaining.AsDuration() != 60e9 {
			r.t.Fatalf("%s are left", i.Remaining.AsDuration())
		}
		r.tick(60*second - 1)
		r.midway()
		r.is("idle", "RUNNING a=LEASED b=WAITING")
		if got := kinds(r.tick(1)); fmt.Sprint(got) != "[instance.failing step.cancelled b]" {
			r.t.Fatalf("at its timeout: %v", got)
		}
		r.midway()
		r.is("idle", "FAILING(TIMEOUT) a=LEASED b=CANCELLED")
		r.complete(idle, `{}`)
		r.is("idle", "FAILED(TIMEOUT) a=COMPLETED b=CANCELLED")
		r.is("done", "COMPLETED a=COMPLETED b=COMPLETED")
		r.midway()
		if i, _ := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "idle"}); i.Remaining != nil {
			r.t.Fatalf("it has ended, and %s are left", i.Remaining.AsDuration())
		}
	})
}

// Also what stands still is ended by it.
func TestAnIncidentEndsWithItsInstance(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\ntimeouts: {total: 1m}\nsteps:\n  a: {input: \"${input.none}\"}\n")
		r.start("w", "i", `{}`)
		r.midway()
		r.is("i", "RUNNING a=INCIDENT")
		r.tick(60 * second)
		r.is("i", "FAILED(TIMEOUT) a=CANCELLED")
	})
}
