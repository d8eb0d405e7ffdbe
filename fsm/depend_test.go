package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/require"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const (
	batch = `
workflow: batch
steps:
  load: {queue: q}
  maybe: {needs: [load], when: "input.n > 0", queue: q}
  inner: {needs: [load], scope: {steps: {deep: {queue: q}}}}
output: {of: "${steps.load.output}"}
`
	follower = `
workflow: follower
steps:
  wait: {await: {instance: "batch-${input.day}", step: load}, timeouts: {total: 60s}}
  go: {needs: [wait], queue: f, input: "${steps.wait.output}"}
`
	reporterYAML = `
workflow: reporter
steps:
  wait: {await: {instance: "${input.batch}"}}
  go: {needs: [wait], queue: f, input: "${steps.wait.output}"}
`
)

func (r *rig) batches() (worker int64) {
	r.t.Helper()
	for _, yaml := range []string{batch, follower, reporterYAML} {
		r.register(yaml)
	}
	return r.session(3600 * second)
}

// A step waits for another instance, or for a step of it, that is not there yet, runs, or is over.
func TestAnInstanceWaitsForAnother(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.batches()
		r.start("follower", "f", `{"day":1}`)
		r.start("reporter", "r", `{"batch":"batch-1"}`)
		if e := r.why("f", "wait"); e.Sentence != `Step "wait" waits for step "load" of instance "batch-1", which is not there yet.` {
			r.t.Fatalf("explained as %v", e)
		}
		r.midway()
		r.start("batch", "batch-1", `{"n":0}`)
		r.midway()
		if e := r.why("r", "wait"); e.Sentence != `Step "wait" waits for instance "batch-1", which is RUNNING.` || fmt.Sprint(e.Missing) != "[batch-1]" {
			r.t.Fatalf("explained as %v", e)
		}
		c := completeOf(r.leases(worker, "load/0")["load/0"])
		c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(`{"rows":7}`)}
		r.did(r.tell(c), "step.completed load", "step.skipped maybe", "step.waiting inner", "step.ready deep", "step.completed wait", "step.ready go")
		r.midway()
		r.done(r.leases(worker, "deep/0")["deep/0"], `{}`)
		r.midway()
		both := r.poll(worker, "f", 2)
		if string(both[0].InputPayload.Bytes) != `{"rows":7}` || string(both[1].InputPayload.Bytes) != `{"of":{"rows":7}}` {
			r.t.Fatalf("they are given %v", both)
		}
		r.start("follower", "late", `{"day":1}`)
		r.start("reporter", "later", `{"batch":"batch-1"}`)
		r.midway()
		r.is("late", "RUNNING wait=COMPLETED go=READY")
		r.is("later", "RUNNING wait=COMPLETED go=READY")
	})
}

const waitFor = "workflow: %s\nsteps:\n  wait: {await: {instance: \"${input.of}\", step: %s}}\n  go: {needs: [wait], queue: f}\n"

// What does not complete: a skipped step skips who waits for it, a failure is the waiting step's, with its code.
func TestWaitsForWhatDoesNotComplete(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.batches()
		for _, step := range []string{"maybe", "deep", "nothing", "load"} {
			r.register(fmt.Sprintf(waitFor, "on-"+step, step))
		}
		for _, step := range []string{"maybe", "deep", "nothing", "load"} {
			r.start("on-"+step, "before-"+step, `{"of":"batch-1"}`)
		}
		r.start("reporter", "whole", `{"batch":"batch-1"}`)
		r.midway()
		r.start("batch", "batch-1", `{"n":0}`)
		r.midway()
		r.is("before-deep", "FAILED(STEP_NOT_FOUND) wait=FAILED go=CANCELLED")
		r.is("before-nothing", "FAILED(STEP_NOT_FOUND) wait=FAILED go=CANCELLED")
		r.is("before-maybe", "RUNNING wait=WAITING go=PENDING")
		r.done(r.leases(worker, "load/0")["load/0"], `{"rows":7}`)
		r.midway()
		r.is("before-maybe", "COMPLETED wait=SKIPPED go=SKIPPED")
		r.is("before-load", "RUNNING wait=COMPLETED go=READY")
		r.tell(failOf(r.leases(worker, "deep/0")["deep/0"], "BROKEN"))
		r.midway()
		r.is("whole", "FAILED(BROKEN) wait=FAILED go=CANCELLED")

		r.start("on-load", "stopped", `{"of":"batch-2"}`)
		r.start("reporter", "too", `{"batch":"batch-2"}`)
		r.start("batch", "batch-2", `{"n":0}`)
		r.tell(cancelOf("batch-2"))
		r.midway()
		r.is("stopped", "FAILED(CANCELLED) wait=FAILED go=CANCELLED")
		r.is("too", "FAILED(CANCELLED) wait=FAILED go=CANCELLED")
		r.start("on-nothing", "after", `{"of":"batch-2"}`)
		r.is("after", "FAILED(STEP_NOT_FOUND) wait=FAILED go=CANCELLED")
		r.start("on-load", "wrong", `{"of":7}`)
		r.midway()
		r.is("wrong", "RUNNING wait=INCIDENT go=PENDING")
	})
}

// A wait has a time like any, and can race.
func TestAWaitForAnInstanceThatNeverComes(t *testing.T) {
	scenario(t, func(r *rig) {
		r.batches()
		r.register("workflow: w\nsteps:\n  there: {await: {instance: other}}\n  late: {timer: {after: 5s}}\n  go: {race: [there, late], queue: f}\n")
		r.start("follower", "f", `{"day":1}`)
		r.start("w", "i", `{}`)
		r.midway()
		r.did(r.tick(5*second), "timer.fired late", "step.completed late", "step.skipped there", "step.ready go")
		r.midway()
		r.tick(55 * second)
		r.midway()
		r.is("f", "FAILED(TIMEOUT_TOTAL) wait=FAILED go=CANCELLED")
		r.start("batch", "other", `{"n":0}`)
		r.start("w", "j", `{}`)
		r.tell(cancelOf("other"))
		r.is("j", "FAILED(CANCELLED) there=FAILED late=CANCELLED go=CANCELLED")
	})
}

const (
	onWhole = "workflow: whole\nsteps:\n  wait: {await: {instance: \"${input.of}\"}}\n"
	stages  = `
workflow: stages
steps:
  first: {queue: q}
  meet: {needs: [first], await: {instance: "${input.of}", step: first}}
  second: {needs: [meet], queue: q}
  again: {needs: [second], await: {instance: "${input.of}", step: second}}
`
)

func (r *rig) reason(id, step string) string {
	r.t.Helper()
	i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, run := range i.Runs {
		if run.Step == step {
			return run.Code + ": " + run.Reason
		}
	}
	return ""
}

// The wait that closes a cycle fails, and says who waits for whom; the others go on from there.
func TestACycleOfWaitsIsBroken(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(onWhole)
		r.start("whole", "a", `{"of":"b"}`)
		r.start("whole", "b", `{"of":"c"}`)
		r.midway()
		r.start("whole", "c", `{"of":"a"}`)
		r.midway()
		want := `AWAIT_CYCLE: the waits are a cycle: step "wait" of instance "c" waits for instance "a", step "wait" of instance "a" waits for instance "b", step "wait" of instance "b" waits for instance "c"`
		if got := r.reason("c", "wait"); got != want {
			r.t.Fatalf("it fails with %s", got)
		}
		for _, id := range []string{"a", "b", "c"} {
			r.is(id, "FAILED(AWAIT_CYCLE) wait=FAILED")
		}
		r.start("whole", "self", `{"of":"self"}`)
		if got := r.reason("self", "wait"); got != `AWAIT_CYCLE: the waits are a cycle: step "wait" of instance "self" waits for instance "self"` {
			r.t.Fatalf("it fails with %s", got)
		}
	})
}

// A child that waits for who called it, or who called that, would wait for ever.
func TestAChildThatWaitsForItsAncestor(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: leaf\nsteps:\n  work: {queue: q}\n  wait: {needs: [work], await: {instance: top}}\n")
		r.register("workflow: middle\nsteps:\n  call: {call: {workflow: leaf}}\n")
		r.register("workflow: top\nsteps:\n  call: {call: {workflow: middle}}\n  other: {queue: q}\n")
		worker := r.session(600 * second)
		r.start("top", "top", `{}`)
		r.midway()
		r.work(worker, "other", "work")
		r.midway()
		if got := r.reason("top:call:call", "wait"); !strings.HasPrefix(got, "AWAIT_CYCLE: ") || !strings.HasSuffix(got, `step "call" of instance "top:call" waits for instance "top:call:call"`) {
			r.t.Fatalf("it fails with %s", got)
		}
		r.is("top", "FAILED(AWAIT_CYCLE) call=FAILED other=COMPLETED")
	})
}

// Waits for steps that are not behind each other are no cycle, though the instances wait for each other.
func TestInstancesThatProceedTogether(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(stages)
		worker := r.session(600 * second)
		r.start("stages", "a", `{"of":"b"}`)
		r.start("stages", "b", `{"of":"a"}`)
		first := r.poll(worker, "q", 2)
		r.done(first[0], `{}`)
		r.midway()
		r.is("a", "RUNNING first=COMPLETED meet=WAITING second=PENDING again=PENDING")
		r.done(first[1], `{}`)
		r.midway()
		r.work(worker, "second", "second")
		r.midway()
		r.is("a", "COMPLETED first=COMPLETED meet=COMPLETED second=COMPLETED again=COMPLETED")
		r.is("b", "COMPLETED first=COMPLETED meet=COMPLETED second=COMPLETED again=COMPLETED")

		r.register("workflow: knot\nsteps:\n  meet: {await: {instance: \"${input.of}\", step: behind}}\n  behind: {needs: [meet], queue: q}\n  beside: {queue: q}\n")
		r.start("knot", "c", `{"of":"d"}`)
		r.start("knot", "d", `{"of":"c"}`)
		r.midway()
		if got := r.reason("d", "meet"); !strings.HasPrefix(got, "AWAIT_CYCLE: ") {
			r.t.Fatalf("it fails with %s", got)
		}
	})
}

// Inside a body a wait counts as the step that it is inside of.
func TestACycleThroughABody(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  each: {forEach: {in: [1], steps: {meet: {await: {instance: \"${input.of}\", step: end}}}}}\n  end: {needs: [each], queue: q}\n")
		r.start("w", "a", `{"of":"b"}`)
		r.start("w", "b", `{"of":"a"}`)
		r.midway()
		r.is("b", "FAILED(AWAIT_CYCLE) each=FAILED end=CANCELLED meet=FAILED")
		r.is("a", "FAILED(CANCELLED) each=FAILED end=CANCELLED meet=FAILED")
	})
}

// A crowd that waits for one end is told in as many entries as it takes.
func TestACrowdIsToldOfAnEnd(t *testing.T) {
	require.WithoutRace(t)
	scenario(t, func(r *rig) {
		worker := r.batches()
		const crowd = 1500
		for n := range crowd {
			r.start("reporter", fmt.Sprint("r", n), `{"batch":"b"}`)
		}
		r.start("batch", "b", `{"n":0}`)
		r.midway()
		r.done(r.leases(worker, "load/0")["load/0"], `{}`)
		r.done(r.leases(worker, "deep/0")["deep/0"], `{}`)
		if waits := r.m.namespaces[DefaultNamespace].waits.on.Len(); waits != crowd-laterMost {
			r.t.Fatalf("%d wait on", waits)
		}
		if entries := r.drain(); entries != 1 {
			r.t.Fatalf("%d more entries", entries)
		}
		r.is(fmt.Sprint("r", crowd-1), "RUNNING wait=COMPLETED go=READY")
	})
}

// One that a crowd waits for may wait itself: the side where nobody is says that there is no cycle. Where a crowd is on both sides it is
// not looked for, and that says so.
func TestACycleIsLookedForSoFar(t *testing.T) {
	require.WithoutRace(t)
	r := newRig(t)
	r.register(onWhole)
	r.register("workflow: w\nsteps:\n  gate: {signal: {name: go}}\n  wait: {needs: [gate], await: {instance: far}}\n")
	const crowd = maxSearched + 1
	for n := range crowd {
		r.start("whole", fmt.Sprint("behind", n), `{"of":"hub"}`)
	}
	r.start("w", "hub", `{}`)
	r.tell(signalOf("hub", "go"))
	r.drain()
	r.is("hub", "RUNNING gate=COMPLETED wait=WAITING")
	if err := check(r.m); err != nil {
		t.Fatal(err)
	}
	items := "[" + strings.TrimSuffix(strings.Repeat("0,", 10_000), ",") + "]"
	r.register("workflow: wide\nsteps:\n  one: {await: {instance: never}}\n  each: {forEach: {in: \"${input}\", width: 10000, steps: {wait: {await: {instance: never}}}}}\n")
	r.start("wide", "wide", items)
	r.drain()
	r.register("workflow: x\nsteps:\n  gate: {signal: {name: go}}\n  wait: {needs: [gate], await: {instance: wide}}\n")
	for n := range crowd {
		r.start("whole", fmt.Sprint("after", n), `{"of":"x"}`)
	}
	r.start("x", "x", `{}`)
	r.tell(signalOf("x", "go"))
	r.drain()
	r.is("x", "FAILED(AWAIT_TOO_WIDE) gate=COMPLETED wait=FAILED")
}

// Who waits for whom, of all, or of those that hang together.
func TestWaitsAreListed(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(onWhole)
		r.register("workflow: leaf\nsteps:\n  a: {queue: q}\n")
		r.register("workflow: w\nsteps:\n  s: {call: {workflow: leaf}}\n")
		r.start("w", "p", `{}`)
		r.start("whole", "x", `{"of":"p"}`)
		r.start("whole", "y", `{"of":"x"}`)
		r.start("whole", "z", `{"of":"none"}`)
		r.midway()
		for id, want := range map[string]string{
			"p": "p/s->p:s RUNNING called; x/wait->p RUNNING; y/wait->x RUNNING; ",
			"z": "z/wait->none UNSPECIFIED; ",
			"":  "p/s->p:s RUNNING called; x/wait->p RUNNING; y/wait->x RUNNING; z/wait->none UNSPECIFIED; ",
		} {
			reply, err := r.m.ListWaits(&v1.ListWaitsRequest{InstanceId: id})
			if err != nil || reply.Omitted {
				r.t.Fatal(reply, err)
			}
			got := ""
			for _, w := range reply.Waits {
				got += fmt.Sprintf("%s/%s->%s %s", w.Waits.InstanceId, w.Waits.Step, w.WaitsFor.InstanceId, stateName(w.State))
				if w.Called {
					got += " called"
				}
				got += "; "
			}
			if got != want {
				r.t.Errorf("of %q: %s", id, got)
			}
		}
		e := r.why("y", "wait")
		if len(e.Chain) != 3 || e.Sentence != `Step "wait" waits for instance "x", which is RUNNING; step "wait" of that waits for instance "p", which is RUNNING; step "s" of that waits for instance "p:s", which is RUNNING.` {
			r.t.Fatalf("explained as %v", e)
		}
		if _, err := r.m.ListWaits(&v1.ListWaitsRequest{InstanceId: "none"}); err == nil {
			r.t.Error("there is no such instance, and its waits are told")
		}
	})
}
