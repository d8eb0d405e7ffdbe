package fsm

import (
	"fmt"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func resetOf(id, step string, index int32) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_ResetInstance{ResetInstance: &v1.ResetInstanceRequest{
		InstanceId: id, FromStep: step, Index: index, Reason: "the price was wrong",
	}}}
}

// resets sets an instance back, and compares what is answered.
func (r *rig) resets(c *logv1.Command, index, steps int32, existing bool) {
	r.t.Helper()
	reply, refusal := r.do(c)
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	if got := reply.(*v1.ResetInstanceResponse); got.Index != index || got.Steps != steps || got.Existing != existing {
		r.t.Fatalf("answered %v; want activation %d of %d steps, existing %v", got, index, steps, existing)
	}
}

// A reset does a step and what is behind it anew; what is beside it goes on, and what was done before stays as it was.
func TestAResetDoesStepsAnew(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(toFork)
		worker := r.session(3600 * second)
		r.start("w", "i", `{"n":1}`)
		r.puts(worker, `a {"by":"i"}`)
		runs := r.leases(worker, "b/0", "d/0")
		r.done(runs["b/0"], `1`)
		r.puts(worker, `c "wrong"`)
		r.midway()
		got := r.tell(resetOf("i", "c", 0))
		r.did(got, "instance.reset", "step.cancelled e", "step.ready c")
		if d := got.Events()[0].Data; d.Name != "c" || d.Index != 1 || d.Count != 2 || d.Reason != "the price was wrong" {
			r.t.Errorf("the reset is told as %v", d)
		}
		if d := got.Events()[1].Data; d.Code != "RESET" || d.Index != 0 {
			r.t.Errorf("what it supersedes is told as %v", d)
		}
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED b/0=COMPLETED c/0=COMPLETED d/0=LEASED e/0=CANCELLED c/1=READY e/1=PENDING")
		r.resets(resetOf("i", "c", 0), 1, 2, true)
		run := r.leases(worker, "c/1")["c/1"]
		if string(run.InputPayload.GetBytes()) != `{"by":"i"}` || run.IdempotencyKey != "default/i/c/1" {
			r.t.Errorf("leased is %v", run)
		}
		r.done(run, `"right"`)
		r.midway()
		if e := r.why("i", "d"); e.Code != v1.ExplainCode_EXPLAIN_CODE_LEASED {
			r.t.Errorf("explained as %v", e)
		}
		reply, err := r.m.Explain(&v1.ExplainRequest{InstanceId: "i", Step: "e", Index: 1})
		if err != nil || reply.Explanations[0].Sentence != `Step "e" waits for d.` {
			r.t.Errorf("explained as %v, %v", reply, err)
		}
		r.done(runs["d/0"], `2`)
		r.done(r.leases(worker, "e/1")["e/1"], `3`)
		r.runs("i", "COMPLETED a/0=COMPLETED b/0=COMPLETED c/0=COMPLETED d/0=COMPLETED e/0=CANCELLED c/1=COMPLETED e/1=COMPLETED")
		r.output("i", `{"a":{"by":"i"},"c":"right"}`)
		r.midway()
		if _, refusal := r.do(resetOf("i", "c", 1)); refusal.GetCode() != v1.Code_CODE_ALREADY_ENDED || !strings.Contains(refusal.Reason, `fork it from step "c"`) {
			r.t.Errorf("refused as %v", refusal)
		}
		r.resets(resetOf("i", "c", 0), 1, 2, true) // asked again it finds the first, whatever became of the instance
	})
}

// What is leased as its step is set back is taken from its holder: its token is refused, and what it did is kept as a late result.
func TestAResetFencesWhatIsLeased(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, locks: [l], compensate: {}}\n  b: {needs: [a], queue: q, locks: [l]}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		old := r.leases(worker, "a/0")["a/0"]
		r.midway()
		r.did(r.tell(resetOf("i", "a", 0)), "instance.reset", "step.cancelled b", "step.cancelled a", "lock.released", "step.ready a")
		r.midway()
		run := r.leases(worker, "a/1")["a/1"]
		if run.Token <= old.Token || run.Attempt != 1 {
			r.t.Errorf("leased is %v", run)
		}
		if _, refusal := r.complete(old, `{}`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Errorf("the token of before is answered %v", refusal)
		}
		late, err := r.m.ListLateResults(&v1.ListLateResultsRequest{InstanceId: "i"})
		if err != nil || len(late.Results) != 1 || late.Results[0].Token != old.Token {
			r.t.Errorf("late are %v, %v", late, err)
		}
		r.done(run, `{}`)
		r.done(r.leases(worker, "b/1")["b/1"], `{}`)
	})
}

// What is set back is not leased once more by a lock that another gives back which is set back with it, though a worker waits.
func TestAResetLeasesNothingOfWhatItEnds(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q, locks: [l]}\n  c: {needs: [a], queue: r, locks: [l]}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.work(worker, "a")
		r.leases(worker, "b/0")
		r.tell(&logv1.Command{Envelope: &logv1.Envelope{WaitId: 78}, Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: worker, Queues: []string{"r"}, Count: 1, Wait: 50 * second}}})
		r.did(r.tell(resetOf("i", "a", 0)), "instance.reset", "step.cancelled c", "step.cancelled b", "lock.released", "step.ready a")
	})
}

// What is not to be done, for something before it ended otherwise than is needed, is not begun by what ends as it begins beside it.
func TestWhatIsBarredStaysBarred(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  x: {needs: [a], when: input.x, queue: q}\n  b: {needs: [a, x], loop: {while: \"input.none\", max: 3, steps: {s: {queue: q}}}}\n" +
			"  t: {needs: [a, {step: x, ends: failed}, {step: b, ends: failed}], queue: q}\n  z: {needs: [a], queue: r}\n")
		r.start("w", "i", `{"x":false}`)
		r.work(r.session(3600*second), "a")
		r.is("i", "RUNNING a=COMPLETED x=SKIPPED b=FAILED t=SKIPPED z=READY")
		r.midway()
		r.did(r.tell(resetOf("i", "b", 0)), "instance.reset", "step.waiting b", "step.failing b", "step.failed b", "step.skipped t")
		r.did(r.tell(forkOf("i", "b", "j")), "instance.started", "step.copied a", "step.copied x", "instance.forked", "step.waiting b", "step.failing b", "step.failed b", "step.skipped t", "step.ready z")
	})
}

// A step is set back again and again; each time by the name of the activation that is the newest. What needs it means that.
func TestAResetOfAReset(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q, input: \"${steps.a.output}\"}\n  c: {needs: [b, a], queue: q, input: \"${steps.a.output}\"}\n  d: {queue: r}\noutput: \"${steps.c.output}\"\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `a 1`)
		r.puts(worker, `b 1`)
		r.resets(resetOf("i", "c", 0), 1, 1, false)
		r.resets(resetOf("i", "a", 0), 2, 3, false)
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED b/0=COMPLETED c/0=CANCELLED d/0=READY c/1=CANCELLED a/2=READY b/2=PENDING c/2=PENDING")
		if _, refusal := r.do(resetOf("i", "a", 1)); refusal.GetCode() != v1.Code_CODE_RUN_NOT_FOUND {
			r.t.Errorf("an activation that is none is answered %v", refusal)
		}
		r.puts(worker, `a 2`)
		r.resets(resetOf("i", "b", 2), 3, 2, false)
		r.midway()
		if run := r.leases(worker, "b/3")["b/3"]; string(run.InputPayload.GetBytes()) != `2` {
			r.t.Errorf("leased is %v", run)
		} else {
			r.done(run, `3`)
		}
		run := r.leases(worker, "c/3")["c/3"]
		if string(run.InputPayload.GetBytes()) != `2` {
			r.t.Errorf("leased is %v", run)
		}
		r.done(run, `"end"`)
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED b/0=COMPLETED c/0=CANCELLED d/0=READY c/1=CANCELLED a/2=COMPLETED b/2=CANCELLED c/2=CANCELLED b/3=COMPLETED c/3=COMPLETED")
	})
}

// What was completed before a reset is kept, and undone with the instance: the newest first, and what was not set back at last.
func TestWhatIsKeptIsUndone(t *testing.T) {
	for _, sequential := range []string{"", "compensation: sequential\n"} {
		scenario(t, func(r *rig) {
			r.register("workflow: w\n" + sequential + `steps:
  a: {queue: q, compensate: {queue: u, input: "${steps.a.output}"}}
  b: {needs: [a], queue: q, compensate: {queue: u, input: "${steps.b.output}"}}
  c: {needs: [b], queue: q, compensate: {queue: u}}
  d: {queue: q, compensate: {queue: u}}
`)
			worker := r.session(3600 * second)
			r.start("w", "i", `{}`)
			r.puts(worker, `a 1`, `d 1`)
			r.puts(worker, `b "old"`)
			r.resets(resetOf("i", "b", 0), 1, 2, false)
			r.puts(worker, `b "new"`)
			r.midway()
			r.tell(cancelOf("i"))
			undone := ""
			for range 4 {
				for _, run := range r.poll(worker, "u", 1) {
					undone += " " + run.Compensates + "=" + string(run.InputPayload.GetBytes())
					r.done(run, `{}`)
					r.midway()
				}
			}
			fresh, old, first := strings.Index(undone, ` b="new"`), strings.Index(undone, ` b="old"`), strings.Index(undone, " a=1")
			if fresh != 0 || old < fresh || first < old || !strings.Contains(undone, " d=") {
				r.t.Errorf("undone is%s", undone)
			}
			if got := r.state("i"); !strings.HasPrefix(got, "CANCELLED ") {
				r.t.Errorf("it is %s", got)
			}
		})
	}
}

// What is inside a step that is set back is cancelled with it, whatever it does; and begins anew with it.
func TestAResetOfBodies(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  all:
    forEach: {in: "${input.list}", width: 2, steps: {x: {queue: q, input: "${item}", compensate: {queue: u}}, y: {needs: [x], signal: {name: go}}}, output: "${steps.x.output}"}
  after: {needs: [all], queue: q, input: "${steps.all.output}"}
`)
		worker := r.session(3600 * second)
		r.start("w", "i", `{"list":[1,2]}`)
		runs := r.leases(worker, "x/0", "x/1")
		r.done(runs["x/0"], `10`)
		r.midway()
		r.runs("i", "RUNNING all/0=WAITING after/0=PENDING x/0=COMPLETED y/0=WAITING x/1=LEASED y/1=PENDING")
		r.did(r.tell(resetOf("i", "all", 0)), "instance.reset", "step.cancelled all", "step.cancelled after", "step.cancelled y", "step.cancelled y", "step.cancelled x",
			"step.waiting all", "step.ready x", "step.ready x")
		r.midway()
		r.runs("i", "RUNNING all/0=CANCELLED after/0=CANCELLED x/0=COMPLETED y/0=CANCELLED x/1=CANCELLED y/1=CANCELLED x/2=READY y/2=PENDING x/3=READY y/3=PENDING all/1=WAITING after/1=PENDING")
		if _, refusal := r.complete(runs["x/1"], `{}`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Errorf("the token of before is answered %v", refusal)
		}
		for _, run := range r.leases(worker, "x/2", "x/3") {
			r.done(run, string(run.InputPayload.GetBytes())+"00")
		}
		r.tell(signalOf("i", "go"))
		r.tell(&logv1.Command{Body: &logv1.Command_SendSignal{SendSignal: &v1.SendSignalRequest{InstanceId: "i", Name: "go", SignalId: "2"}}})
		r.midway()
		if run := r.leases(worker, "after/1")["after/1"]; string(run.InputPayload.GetBytes()) != `[100,200]` {
			r.t.Errorf("leased is %v", run)
		}
		r.tell(cancelOf("i"))
		if _, refusal := r.do(resetOf("i", "all", 1)); refusal.GetCode() != v1.Code_CODE_NOT_RUNNING {
			r.t.Errorf("a reset of what stops is answered %v", refusal)
		}
	})
}

// A race that is set back is run again by all.
func TestAResetOfARace(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  s: {signal: {name: go}}\n  t: {timer: {after: 5s}}\n  r: {race: [s, t], queue: q}\n")
		r.start("w", "i", `{}`)
		r.tick(6 * second)
		r.runs("i", "RUNNING s/0=SKIPPED t/0=COMPLETED r/0=READY")
		r.resets(resetOf("i", "s", 0), 1, 3, false)
		r.midway()
		r.runs("i", "RUNNING s/0=SKIPPED t/0=COMPLETED r/0=CANCELLED s/1=WAITING t/1=WAITING r/1=PENDING")
		r.tell(signalOf("i", "go"))
		r.midway()
		r.runs("i", "RUNNING s/0=SKIPPED t/0=COMPLETED r/0=CANCELLED s/1=COMPLETED t/1=SKIPPED r/1=READY")
	})
}

// Who waits for a step that is set back waits for its newest activation, and who went on before has.
func TestAResetIsAwaited(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.awaiters(", of: all, step: pay", ", step: fee")
		r.register("workflow: v1\nsteps:\n  wait: {await: {instance: p1, step: pay}}\n  then: {needs: [wait], queue: r}\n")
		r.startKeyed("payment", "p1", "order=7")
		r.startKeyed("payment", "p2", "order=7")
		r.start("v1", "first", `{}`)
		r.start("w0", "all", `{}`)
		r.midway()
		r.done(r.lease(worker, "p1", "pay"), `{"fee":1}`)
		r.is("first", "RUNNING wait=COMPLETED then=READY")
		r.resets(resetOf("p1", "pay", 0), 1, 2, false)
		r.start("v1", "second", `{}`)
		r.midway()
		r.is("second", "RUNNING wait=WAITING then=PENDING")
		r.done(r.lease(worker, "p2", "pay"), `{}`)
		r.midway()
		r.is("all", "RUNNING wait=WAITING go=PENDING")
		run := r.poll(worker, "q", 1)[0]
		if run.InstanceId != "p1" || run.Index != 1 {
			r.t.Fatalf("leased is %v", run)
		}
		r.done(run, `{}`)
		r.apply(&logv1.Entry{})
		r.is("second", "RUNNING wait=COMPLETED then=READY")
		r.is("all", "RUNNING wait=COMPLETED go=READY")
		r.waited("all", `{"count":2,"instances":["p1","p2"]}`)
	})
}

// A fork copies the newest activations.
func TestAForkOfAReset(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(toFork)
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `a "old"`)
		r.unforked(forkOf("i", "c", "j"), v1.Code_CODE_UPSTREAM_PENDING, "")
		r.resets(resetOf("i", "a", 0), 1, 5, false)
		r.unforked(forkOf("i", "b", "j"), v1.Code_CODE_UPSTREAM_PENDING, `step "a" of instance "i" is READY`)
		r.puts(worker, `a "new"`)
		r.midway()
		r.forks(forkOf("i", "b", "j"), 1)
		r.runs("j", "RUNNING a/0=COMPLETED b/0=READY c/0=PENDING d/0=READY e/0=PENDING")
		r.puts(worker, `b 1`, `d 1`, `b 1`, `d 1`)
		for _, run := range r.poll(worker, "q", 2) {
			if string(run.InputPayload.GetBytes()) != `"new"` {
				r.t.Errorf("leased is %v", run)
			}
			r.done(run, `2`)
		}
	})
}

// An instance that was set back, and is removed in several slices, has its own payloads until the last: only its runs are taken apart.
func TestAResetIsTakenApart(t *testing.T) {
	r := newRig(t)
	r.register(toFork)
	r.start("w", "i", `{"n":1}`)
	r.puts(r.session(3600*second), `a 1`)
	r.resets(resetOf("i", "a", 0), 1, 5, false)
	turn := &turn{m: r.m, ns: r.m.namespaces[DefaultNamespace]}
	i := turn.known("i")
	if rows := turn.takeApart(i, 100); rows == 0 || i.payloadRows() != 1 || i.root.payloads.count() != 1 {
		t.Errorf("%d payloads went; %d are left, of which %d are its own", rows, i.payloadRows(), i.root.payloads.count())
	}
}

// What cannot be set back is refused, and nothing has happened.
func TestWhatIsNotSetBack(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: child\nsteps:\n  a: {queue: c}\n")
		r.register(`
workflow: w
steps:
  a: {queue: q, compensate: {queue: u}}
  b: {needs: [a], queue: q}
  in: {needs: [a], scope: {steps: {x: {queue: q, compensate: {queue: u}}, y: {needs: [x], queue: q, retry: {attempts: 1}}}}}
  rescue: {needs: [{step: in, ends: failed}], queue: q}
  call: {call: {workflow: child}}
`)
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.unforked(resetOf("j", "a", 0), v1.Code_CODE_INSTANCE_NOT_FOUND, "")
		r.unforked(resetOf("i", "z", 0), v1.Code_CODE_STEP_NOT_FOUND, "")
		r.unforked(resetOf("i", "undo-a", 0), v1.Code_CODE_STEP_NOT_FOUND, "")
		r.unforked(resetOf("i", "x", 0), v1.Code_CODE_INVALID, "name the step whose body it is in")
		r.unforked(resetOf("i", "a", 1), v1.Code_CODE_RUN_NOT_FOUND, "")
		r.unforked(resetOf("i", "b", 0), v1.Code_CODE_STEP_NOT_BEGUN, "nothing to set back")
		r.puts(worker, `a 1`)
		r.done(r.leases(worker, "b/0", "x/0")["x/0"], `{}`)
		r.tell(failOf(r.leases(worker, "y/0")["y/0"], "BROKE"))
		r.midway()
		r.unforked(resetOf("i", "a", 0), v1.Code_CODE_RESET_BUSY, `fails (BROKE), and is not at its end`)
		r.resets(resetOf("i", "b", 0), 1, 1, false)
	})
}

// An instance is set back a thousand times, and no more.
func TestResetsAreBounded(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n")
	r.start("w", "i", `{}`)
	for n := range int32(MaxResets) {
		r.resets(resetOf("i", "a", n), n+1, 1, false)
	}
	r.unforked(resetOf("i", "a", MaxResets), v1.Code_CODE_INVALID, "was set back 1000 times")
	must(check(r.m))
}

// A reset of the longest chain is one entry, and what goes on behind it is left to others.
func TestAResetOfManySteps(t *testing.T) {
	r := newRig(t)
	var yaml strings.Builder
	yaml.WriteString("workflow: w\nsteps:\n  go: {queue: q}\n  s0: {needs: [go], queue: q, when: \"has(input.k)\"}\n")
	for n := 1; n < 9_000; n++ {
		fmt.Fprintf(&yaml, "  s%d: {needs: [s%d], queue: q}\n", n, n-1)
	}
	yaml.WriteString("  last: {needs: [s8999, go], queue: q}\n")
	r.register(yaml.String())
	r.start("w", "i", `{}`)
	worker := r.session(3600 * second)
	r.puts(worker, "go 1")
	for range 10 {
		r.apply(&logv1.Entry{})
	}
	r.leases(worker, "last/0")
	r.resets(resetOf("i", "go", 0), 1, 9002, false)
	must(check(r.m))
	both := r.apply(&logv1.Entry{Commands: []*logv1.Command{
		{Envelope: &logv1.Envelope{}, Body: resetOf("i", "go", 1).Body}, {Envelope: &logv1.Envelope{}, Body: resetOf("i", "go", 2).Body},
	}})
	if both.Outcomes[0].Refusal != nil {
		t.Errorf("two in an entry are answered %v", both.Outcomes)
	}
	must(check(r.m))
}

// Below its level nobody knows of resets.
func TestResetsHaveALevel(t *testing.T) {
	if got := LevelOf(resetOf("i", "a", 0)); got != resetLevel {
		t.Errorf("a reset has level %d", got)
	}
}
