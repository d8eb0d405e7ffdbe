package fsm

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const ships = "workflow: ships\nsteps:\n  ship: {queue: q, keys: {shipment: \"${output.shipment}\", carrier: \"c-${output.carrier}\"}}\n  arrived: {needs: [ship], signal: {name: arrived}}\n"

// A step gives its instance keys from its output: signals by them find it from then on, those that are kept are its now, and history says so.
func TestAStepGivesKeys(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(ships)
		worker := r.session(3600 * second)
		r.startKeyed("ships", "i", "order=7")
		r.sends(by("shipment=s1", "arrived", 1), "", "signal.kept")
		r.midway()
		c := completeOf(r.leases(worker, "ship/0")["ship/0"])
		c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(`{"shipment":"s1","carrier":3}`)}
		r.did(r.tell(c), "step.completed ship", "instance.keyed ship", "instance.keyed ship", "step.waiting arrived", "signal.received", "signal.delivered arrived", "step.completed arrived", "instance.completed")
		r.midway()
		i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"})
		if err != nil || fmt.Sprint(i.Keys) != "map[carrier:c-3 order:7 shipment:s1]" {
			r.t.Fatalf("it has the keys %v, %v", i.GetKeys(), err)
		}
		r.keyed("shipment=s1", "[]")
	})
}

// What the keys cannot be taken from is refused, and so is another value of a key that is there, and a seventeenth; the lease is held on.
func TestKeysThatAreRefused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(ships)
		worker := r.session(3600 * second)
		keys := []string{"shipment=s0"}
		for n := range 14 {
			keys = append(keys, fmt.Sprintf("k%d=v", n))
		}
		r.startKeyed("ships", "i", keys...)
		run := r.leases(worker, "ship/0")["ship/0"]
		refused := func(output, sentence string) {
			r.t.Helper()
			c := completeOf(run)
			c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(output)}
			_, refusal := r.do(c)
			if refusal.GetCode() != v1.Code_CODE_KEY_REFUSED || !strings.Contains(refusal.Reason, sentence) {
				r.t.Fatalf("%s is answered %v", output, refusal)
			}
			r.midway()
			r.is("i", "RUNNING ship=LEASED arrived=PENDING")
		}
		refused(`{"shipment":"s0"}`, "does not give its keys: MISSING_FIELD: a field is missing in steps.ship.keys.carrier: output.carrier")
		refused(`{"shipment":"","carrier":1}`, "CORRELATION_INVALID")
		refused(`{"shipment":"s1","carrier":1}`, `gives instance "i" the key shipment=s1, and it has shipment=s0; a name has one value`)
		r.done(run, `{"shipment":"s0","carrier":1}`) // the same again, and the sixteenth
		r.is("i", "RUNNING ship=COMPLETED arrived=WAITING")
		r.keyed("carrier=c-1", "[i]")
		if got := r.listed(&v1.ListInstancesRequest{Keys: keysOf("carrier=c-1")}); got != "[i]" {
			r.t.Fatalf("the list by the key has %s", got)
		}

		r.startKeyed("ships", "j", append(keys, "more=v")...)
		run = r.leases(worker, "ship/0")["ship/0"]
		c := completeOf(run)
		c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(`{"shipment":"s0","carrier":1}`)}
		if _, refusal := r.do(c); refusal.GetCode() != v1.Code_CODE_KEY_REFUSED || !strings.Contains(refusal.Reason, `instance "j" would have 17 keys, and it can have 16`) {
			r.t.Fatalf("answered %v", refusal)
		}
	})
}

// Who waits by a key finds an instance that has it from a step: as it stands then, and for all from then on.
func TestWaitsFindAKeyThatAStepGives(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(ships)
		r.register("workflow: on\nsteps:\n  wait: {await: {key: {shipment: s1}, step: ship}}\n  whole: {await: {key: {shipment: s1}, of: all}}\n")
		worker := r.session(3600 * second)
		r.start("on", "before", `{}`)
		r.startKeyed("ships", "i")
		r.midway()
		run := r.leases(worker, "ship/0")["ship/0"]
		r.start("on", "same", `{}`)
		r.done(run, `{"shipment":"s1","carrier":3}`)
		r.midway()
		r.is("before", "RUNNING wait=COMPLETED whole=WAITING")
		r.is("same", "RUNNING wait=COMPLETED whole=WAITING")
		r.start("on", "behind", `{}`)
		r.is("behind", "RUNNING wait=COMPLETED whole=WAITING")
		r.tell(signalOf("i", "arrived"))
		for _, id := range []string{"before", "same", "behind"} {
			r.is(id, "COMPLETED wait=COMPLETED whole=COMPLETED")
		}
	})
}
