package fsm

import (
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/require"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const parcel = `
workflow: parcel
inputSchema: {type: object, properties: {weight: {type: number}}}
steps:
  pack: {queue: q, compensate: {}}
  send: {needs: [pack], queue: q, compensate: {}}
output: {sent: "${steps.send.output.n}", weight: "${input.weight}"}
`

const order = `
workflow: order
steps:
  charge: {queue: q, compensate: {}}
  ship: {needs: [charge], call: {workflow: parcel}, input: {weight: "${steps.charge.output.kg}"}, timeouts: {total: 60s}}
  close: {needs: [ship], queue: q, input: "${steps.ship.output}"}
output: "${steps.ship.output.sent}"
`

// shipping has an order whose child packs.
func (r *rig) shipping(worker int64, id string) *v1.LeasedRun {
	r.t.Helper()
	r.register(parcel)
	r.register(order)
	r.start("order", id, `{}`)
	r.done(r.leases(worker, "charge/0")["charge/0"], `{"kg":3}`)
	r.midway()
	return r.leases(worker, "pack/0")["pack/0"]
}

// A call starts an instance of another workflow, and is done when that is: its output is the step's.
func TestACallIsDoneByAnInstance(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		pack := r.shipping(worker, "o")
		if pack.InstanceId != "o:ship" || string(pack.InputPayload.Bytes) != `{"weight":3}` {
			r.t.Fatalf("the child has leased %v", pack)
		}
		child, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "o:ship"})
		if err != nil || child.Parent.GetInstanceId() != "o" || child.Parent.GetStep() != "ship" || child.Depth != 1 {
			r.t.Fatalf("the child is %v, %v", child, err)
		}
		e := r.why("o", "ship")
		if e.Code != v1.ExplainCode_EXPLAIN_CODE_INSTANCE_PENDING || e.Sentence != `Step "ship" waits for instance "o:ship", which is RUNNING.` || !e.Chain[0].Called {
			r.t.Fatalf("explained as %v", e)
		}
		r.done(pack, `{}`)
		r.midway()
		send := r.leases(worker, "send/0")["send/0"]
		c := completeOf(send)
		c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(`{"n":7}`)}
		r.did(r.tell(c), "step.completed send", "instance.completed", "step.completed ship", "step.ready close")
		r.midway()
		end := r.leases(worker, "close/0")["close/0"]
		if got := string(end.InputPayload.Bytes); got != `{"sent":7,"weight":3}` {
			r.t.Fatalf("it is given %s", got)
		}
		r.done(end, `{}`)
		r.output("o", `7`)
	})
}

// What a call's instance fails with is what the step fails with; a step can need that.
func TestAChildThatFails(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		pack := r.shipping(worker, "o")
		r.did(r.tell(failOf(pack, "TORN")), "step.failed pack", "instance.failing", "step.cancelled send", "instance.failed", "step.failed ship", "instance.failing", "step.cancelled close", "instance.compensating", "step.ready charge.compensate")
		r.midway()
		r.is("o", "COMPENSATING(TORN) charge=COMPLETED ship=FAILED close=CANCELLED charge.compensate=READY")
		i, _ := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "o"})
		if i.Reason != `step ship failed: instance "o:ship" failed: step pack failed: because` {
			r.t.Fatalf("it failed because %q", i.Reason)
		}
		r.work(worker, "charge.compensate")

		r.register("workflow: w\nsteps:\n  ship: {call: {workflow: parcel}}\n  ask: {needs: [{step: ship, ends: failed, codes: [TORN]}], queue: q, input: \"${steps.ship.error.code}\"}\n")
		r.start("w", "i", `{}`)
		r.tell(failOf(r.leases(worker, "pack/0")["pack/0"], "TORN"))
		r.midway()
		r.is("i", "RUNNING ship=FAILED ask=READY")
	})
}

// A parent that stops has its child cancelled, and undoes its own behind that: what the child did is undone first.
func TestAChildIsCancelledWithItsParent(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.done(r.shipping(worker, "o"), `{}`)
		send := r.leases(worker, "send/0")["send/0"]
		r.midway()
		r.did(r.tell(cancelOf("o")), "instance.cancelling", "step.cancelled close", "instance.cancelling")
		r.midway()
		r.is("o", "CANCELLING charge=COMPLETED ship=WAITING close=CANCELLED")
		reply, err := r.m.Explain(&v1.ExplainRequest{InstanceId: "o", Step: "ship"})
		if err != nil || reply.Explanations[1].Sentence != `Step "ship" stops when what it called has ended: instance "o:ship", which is CANCELLING.` {
			r.t.Fatalf("explained as %v", reply)
		}
		r.done(send, `{"n":1}`)
		r.midway()
		r.is("o:ship", "COMPENSATING pack=COMPLETED send=COMPLETED pack.compensate=PENDING send.compensate=READY")
		r.done(r.leases(worker, "send.compensate/0")["send.compensate/0"], `{}`)
		r.is("o", "CANCELLING charge=COMPLETED ship=WAITING close=CANCELLED")
		r.midway()
		r.did(r.tell(completeOf(r.leases(worker, "pack.compensate/0")["pack.compensate/0"])),
			"step.completed pack.compensate", "instance.cancelled", "step.cancelled ship", "instance.compensating", "step.ready charge.compensate")
		r.midway()
		r.work(worker, "charge.compensate")
		r.is("o", "CANCELLED charge=COMPLETED ship=CANCELLED close=CANCELLED charge.compensate=COMPLETED")
	})
}

// A step's time is up: its child is cancelled, and then the step has failed.
func TestACallTakesTooLong(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(3600 * second)
		pack := r.shipping(worker, "o")
		r.did(r.tick(60*second), "step.failing ship", "instance.cancelling", "step.cancelled send")
		r.midway()
		r.is("o", "RUNNING charge=COMPLETED ship=WAITING close=PENDING")
		r.did(r.tell(cancelOf("o")), "instance.cancelling", "step.cancelled close") // it stops already
		r.midway()
		r.done(pack, `{}`)
		r.midway()
		r.work(worker, "pack.compensate")
		r.midway()
		r.is("o", "COMPENSATING charge=COMPLETED ship=CANCELLED close=CANCELLED charge.compensate=READY")

		r.start("order", "p", `{}`)
		both := r.leases(worker, "charge.compensate/0", "charge/0")
		r.done(both["charge/0"], `{"kg":1}`)
		pack = r.leases(worker, "pack/0")["pack/0"]
		r.tick(60 * second)
		r.midway()
		r.did(r.tell(failOf(pack, "X")), "step.cancelled pack", "instance.cancelled", "step.failed ship", "instance.failing", "step.cancelled close", "instance.compensating", "step.ready charge.compensate")
		r.is("p", "COMPENSATING(TIMEOUT_TOTAL) charge=COMPLETED ship=FAILED close=CANCELLED charge.compensate=READY")
	})
}

// Who cancels the child itself fails the step.
func TestAChildThatSomebodyCancels(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		pack := r.shipping(worker, "o")
		r.tell(cancelOf("o:ship"))
		r.midway()
		r.tell(failOf(pack, "X"))
		r.is("o", "COMPENSATING(CANCELLED) charge=COMPLETED ship=FAILED close=CANCELLED charge.compensate=READY")
	})
}

// What is abandoned lives on when its parent stops, and what is detached is not waited for.
func TestChildrenThatLiveOn(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(parcel)
		r.register(`
workflow: w
steps:
  kept: {call: {workflow: parcel, parentClose: abandon}}
  loose: {call: {workflow: parcel, version: 1, detach: true}, compensate: {queue: u}}
  end: {needs: [loose], queue: e, input: "${steps.loose.output}"}
`)
		r.start("w", "i", `{"weight":1}`)
		r.midway()
		r.is("i", "RUNNING kept=WAITING loose=COMPLETED end=READY")
		end := r.poll(worker, "e", 1)[0]
		if got := string(end.InputPayload.Bytes); got != `{"instanceId":"i:loose"}` {
			r.t.Fatalf("it is given %s", got)
		}
		r.tell(failOf(end, "X"))
		r.midway()
		r.is("i", "COMPENSATING(X) kept=CANCELLED loose=COMPLETED end=FAILED loose.compensate=READY")
		undo := r.poll(worker, "u", 1)[0]
		if got := string(undo.InputPayload.Bytes); got != `{"input":{"weight":1},"output":{"instanceId":"i:loose"}}` {
			r.t.Fatalf("it is given %s", got)
		}
		r.done(undo, `{}`)
		r.work(worker, "pack", "pack")
		r.midway()
		for _, send := range r.poll(worker, "q", 2) {
			r.done(send, `{"n":1}`)
		}
		r.is("i:kept", "COMPLETED pack=COMPLETED send=COMPLETED")
		r.is("i:loose", "COMPLETED pack=COMPLETED send=COMPLETED")
		r.is("i", "FAILED(X) kept=CANCELLED loose=COMPLETED end=FAILED loose.compensate=COMPLETED")
	})
}

// What cannot be called fails the step, by a code.
func TestCallsThatFail(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(parcel)
		r.register("workflow: w\nsteps:\n  a: {call: {workflow: parcel}, input: {weight: \"${input.kg}\"}}\n")
		r.register("workflow: lost\nsteps:\n  a: {call: {workflow: nothing}}\n")
		r.register("workflow: old\nsteps:\n  a: {call: {workflow: parcel, version: 2}}\n")
		r.start("parcel", "taken:a", `{}`)
		for _, c := range []struct{ workflow, id, input, want string }{
			{"w", "taken", `{"kg":1}`, "FAILED(INSTANCE_EXISTS) a=FAILED"},
			{"w", "wrong", `{"kg":"x"}`, "FAILED(INPUT_INVALID) a=FAILED"},
			{"w", "absent", `{}`, "RUNNING a=INCIDENT"},
			{"lost", "lost", `{}`, "FAILED(WORKFLOW_NOT_FOUND) a=FAILED"},
			{"old", "old", `{}`, "FAILED(WORKFLOW_NOT_FOUND) a=FAILED"},
		} {
			r.start(c.workflow, c.id, c.input)
			r.midway()
			r.is(c.id, c.want)
		}
		r.is("taken:a", "RUNNING pack=READY send=PENDING")
	})
}

// Two runs of one step have a child each, and an id that would be too long ends with what tells it apart.
func TestIdsOfChildren(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: leaf\nsteps:\n  a: {queue: q}\n")
		r.register("workflow: w\nsteps:\n  each: {forEach: {in: [1, 2], width: 2, steps: {sub: {call: {workflow: leaf}}}}}\n")
		long := strings.Repeat("ä", 128)
		for _, id := range []string{"i", long, long[:252]} {
			r.start("w", id, `{}`)
		}
		r.midway()
		list, err := r.m.ListInstances(&v1.ListInstancesRequest{Workflow: "leaf", Order: v1.ListOrder_LIST_ORDER_OLDEST})
		if err != nil {
			r.t.Fatal(err)
		}
		var ids []string
		for _, i := range list.Instances {
			if len(i.InstanceId) > maxID {
				r.t.Errorf("%q has %d bytes", i.InstanceId, len(i.InstanceId))
			}
			ids = append(ids, i.InstanceId)
		}
		if len(ids) != 6 || ids[0] != "i:sub" || ids[1] != "i:sub#1" || ids[5] != long[:252]+":sub" {
			r.t.Fatalf("%d children: %q", len(ids), ids)
		}
	})
}

// A workflow can call itself, 32 deep.
func TestCallsAreSoDeep(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  s: {when: \"input.n > 0\", call: {workflow: w}, input: {n: \"${input.n - 1}\"}}\n")
		r.start("w", "at", `{"n":32}`)
		r.midway()
		r.is("at", "COMPLETED s=COMPLETED")
		if i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "at" + strings.Repeat(":s", 32)}); err != nil || i.Depth != 32 {
			r.t.Fatalf("the deepest is %v, %v", i, err)
		}
		r.start("w", "above", `{"n":33}`)
		r.midway()
		r.is("above", "FAILED(CALL_TOO_DEEP) s=FAILED")
	})
}

// drain applies empty entries until nothing is left to do.
func (r *rig) drain() (entries int) {
	for ; r.m.todos.Len() > 0; entries++ {
		if c := r.m.Clock(); c.Deadline != 1 {
			r.t.Fatalf("something is to be done, and the next entry is due at %d", c.Deadline)
		}
		if got := len(r.apply(&logv1.Entry{}).Kinds); got > 2*laterEvents {
			r.t.Fatalf("an entry has %d events", got)
		}
		if r.again != nil {
			r.midway()
		}
		if entries > 1000 {
			r.t.Fatal("it does not end")
		}
	}
	return entries
}

// An entry does so much and no more: what is left is the next one's, over any opening between. The calls have an input of their own, or
// each would be given, and decode, the whole list.
func TestManyCallsTakeManyEntries(t *testing.T) {
	require.WithoutRace(t)
	items := "[" + strings.TrimSuffix(strings.Repeat("0,", 2500), ",") + "]"
	scenario(t, func(r *rig) {
		r.register("workflow: leaf\nsteps:\n  a: {queue: q}\n")
		r.register("workflow: w\nsteps:\n  each: {forEach: {in: \"${input}\", width: 2500, steps: {sub: {call: {workflow: leaf}, input: {}}}}}\n")
		r.start("w", "i", items)
		if left := r.m.todos.Len(); left != 2500-laterMost {
			r.t.Fatalf("%d are left to be started", left)
		}
		if entries := r.drain(); entries != 2 {
			r.t.Fatalf("%d more entries", entries)
		}
		r.tell(cancelOf("i"))
		if left := r.m.todos.Len(); left == 0 {
			r.t.Fatal("all are cancelled at once")
		}
		r.drain()
		i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"})
		if err != nil || i.State != v1.InstanceState_INSTANCE_STATE_CANCELLED || r.m.namespaces[DefaultNamespace].rec.LiveInstances != 0 {
			r.t.Fatalf("it is %v, %v, with %d alive", stateName(i.State), err, r.m.namespaces[DefaultNamespace].rec.LiveInstances)
		}
	})
}

// Calls that end at once are turns of a loop that ends, some entries later.
func TestALoopOfCallsThatEndAtOnce(t *testing.T) {
	require.WithoutRace(t)
	scenario(t, func(r *rig) {
		r.register("workflow: leaf\nsteps:\n  a: {when: \"input.n > 0\", queue: q}\n")
		r.register("workflow: w\nsteps:\n  often: {loop: {max: 2000, steps: {sub: {call: {workflow: leaf}}}}}\n")
		r.start("w", "i", `{"n":0}`)
		if entries := r.drain(); entries < 2 {
			r.t.Fatalf("%d more entries", entries)
		}
		if i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); err != nil || i.State != v1.InstanceState_INSTANCE_STATE_COMPLETED {
			r.t.Fatalf("it is %v, %v", i, err)
		}
	})
}

// A deleted namespace has nothing left to do.
func TestADeletedNamespaceCallsNobody(t *testing.T) {
	r := newRig(t)
	in := func(c *logv1.Command) {
		c.Envelope = &logv1.Envelope{Namespace: "n"}
		r.do(c)
	}
	r.do(&logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}})
	for _, yaml := range []string{"workflow: leaf\nsteps:\n  a: {queue: q}\n", "workflow: w\nsteps:\n  each: {forEach: {in: \"${input}\", width: 1500, steps: {sub: {input: {}, call: {workflow: leaf}}}}}\n"} {
		in(registration(yaml))
	}
	in(startOf("w", "i", "["+strings.TrimSuffix(strings.Repeat("0,", 1500), ",")+"]"))
	if r.m.todos.Len() != 500 {
		t.Fatalf("%d are left", r.m.todos.Len())
	}
	in(&logv1.Command{Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n", Force: true}}})
	if left := r.m.todos.Len(); left != 0 {
		t.Fatalf("%d are left", left)
	}
	r.tick(second)
	r.reopened()
}

// A cluster of the level before refuses the fourth edition of the language.
func TestAnOlderLevelTakesNoCalls(t *testing.T) {
	for _, step := range []string{"{call: {workflow: leaf}}", "{await: {instance: other}}"} {
		ofLevel(t, "workflow: w\nsteps:\n  a: "+step+"\n", callsLevel)
	}
}
