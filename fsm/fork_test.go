package fsm

import (
	"fmt"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// toFork is an order of which the third step is where it goes wrong.
const toFork = `
workflow: w
steps:
  a: {queue: q, compensate: {}}
  b: {needs: [a], queue: q}
  c: {needs: [b], queue: q, input: "${steps.a.output}"}
  d: {needs: [a], queue: q}
  e: {needs: [c, d], queue: q}
output: {a: "${steps.a.output}", c: "${steps.c.output}"}
`

func forkOf(from, step, id string) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_ForkInstance{ForkInstance: &v1.ForkInstanceRequest{
		InstanceId: from, FromStep: step, NewInstanceId: id, Reason: "the price was wrong",
	}}}
}

// forks forks an instance, and compares how many runs are copied.
func (r *rig) forks(c *logv1.Command, copied int32) *v1.ForkInstanceResponse {
	r.t.Helper()
	reply, refusal := r.do(c)
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	got := reply.(*v1.ForkInstanceResponse)
	if got.Copied != copied {
		r.t.Fatalf("forked: %v; want %d copied", got, copied)
	}
	return got
}

// unforked forks an instance, which must be refused.
func (r *rig) unforked(c *logv1.Command, code v1.Code, sentence string) {
	r.t.Helper()
	ns, _ := r.m.namespace("")
	before := ns.rec.Position
	if _, refusal := r.do(c); refusal.GetCode() != code || !strings.Contains(refusal.GetReason(), sentence) {
		r.t.Fatalf("refused with %v; want %s, %q", refusal, code, sentence)
	}
	if ns.rec.Position != before {
		r.t.Fatal("and something has happened")
	}
}

// puts leases what is ready and completes it with what it puts out, by step.
func (r *rig) puts(worker int64, outputs ...string) {
	r.t.Helper()
	runs := r.poll(worker, "q", 100)
	if len(runs) != len(outputs) {
		r.t.Fatalf("%v are ready; want %q", runs, outputs)
	}
	for n, run := range runs {
		step, output, _ := strings.Cut(outputs[n], " ")
		if run.Step != step {
			r.t.Fatalf("step %s is ready; want %s", run.Step, step)
		}
		if _, refusal := r.complete(run, output); refusal != nil {
			r.t.Fatal(refusal)
		}
	}
}

// A fork has done what is before the step, and does the rest anew. What it copied has no token, and is told in both histories.
func TestAForkGoesOnFromAStep(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(toFork)
		worker := r.session(3600 * second)
		r.start("w", "i", `{"n":1}`)
		r.puts(worker, `a {"by":"i"}`)
		r.puts(worker, `b 1`, `d 2`)
		r.puts(worker, `c "wrong"`)
		r.puts(worker, `e 3`)
		r.output("i", `{"a":{"by":"i"},"c":"wrong"}`)
		r.midway()
		got := r.tell(forkOf("i", "c", "j"))
		r.did(got, "instance.started", "step.copied a", "step.copied b", "instance.forked", "step.ready c", "step.ready d")
		events := got.Events()
		if d := events[0].Data; d.ForkedFrom != "i" || d.Name != "c" || d.Count != 2 || d.Reason != "the price was wrong" {
			r.t.Errorf("the fork is told as %v", d)
		}
		if d := events[1].Data; d.Token != 0 || d.Attempt != 0 || d.Name != "COMPLETED" || d.OtherInstance != "i" || d.PayloadSize != 10 {
			r.t.Errorf("what is copied is told as %v", d)
		}
		if e := events[3]; e.Subject != "instance/i" || e.Data.InstanceId != "i" || e.Data.OtherInstance != "j" || e.Data.Name != "c" || e.Data.Count != 2 || e.Data.Reason != "the price was wrong" {
			r.t.Errorf("its origin is told as %v", e)
		}
		history, err := r.m.GetHistory(&v1.GetHistoryRequest{InstanceId: "i"})
		must(err)
		if last := history.Events[len(history.Events)-1]; last.Type != "lockstep.instance.forked.v1" {
			r.t.Errorf("the history of the origin ends with %v", last)
		}
		r.midway()
		r.is("j", "RUNNING a=COMPLETED b=COMPLETED c=READY d=READY e=PENDING")
		j, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "j"})
		must(err)
		if f := j.ForkedFrom; f.GetInstanceId() != "i" || f.GetStep() != "c" || string(j.InputPayload.GetBytes()) != `{"n":1}` {
			r.t.Errorf("the fork is %v", j)
		}
		for n, run := range j.Runs {
			if run.Copied != (n < 2) || run.Token != 0 || run.Attempt != 0 {
				r.t.Errorf("of the fork %v", run)
			}
		}
		run := r.poll(worker, "q", 1)[0]
		if run.Step != "c" || string(run.InputPayload.GetBytes()) != `{"by":"i"}` {
			r.t.Errorf("leased is %v", run)
		}
		if _, refusal := r.complete(run, `"right"`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.midway()
		r.puts(worker, `d 2`)
		r.puts(worker, `e 3`)
		r.output("j", `{"a":{"by":"i"},"c":"right"}`)
		r.output("i", `{"a":{"by":"i"},"c":"wrong"}`)
	})
}

// The same fork again finds the first, and another one is refused. A token of the origin is worth nothing in the fork.
func TestAForkIsMadeOnce(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(toFork)
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		a := r.poll(worker, "q", 1)[0]
		if _, refusal := r.complete(a, `1`); refusal != nil {
			r.t.Fatal(refusal)
		}
		if got := r.forks(forkOf("i", "b", "j"), 1); got.Existing || got.Version != 1 || got.State != v1.InstanceState_INSTANCE_STATE_RUNNING {
			r.t.Errorf("forked: %v", got)
		}
		r.midway()
		if got := r.forks(forkOf("i", "b", "j"), 1); !got.Existing {
			r.t.Errorf("forked again: %v", got)
		}
		r.unforked(forkOf("i", "d", "j"), v1.Code_CODE_INSTANCE_EXISTS, `not forked from step "d" of instance "i"`)
		r.unforked(forkOf("i", "b", "i"), v1.Code_CODE_INSTANCE_EXISTS, "")
		other := forkOf("i", "b", "j")
		other.GetForkInstance().Version = 2
		r.unforked(other, v1.Code_CODE_INSTANCE_EXISTS, "it is w version 1")
		a.InstanceId = "j"
		if _, refusal := r.complete(a, `2`); refusal.GetCode() != v1.Code_CODE_FENCED {
			r.t.Errorf("the token of the origin is answered %v in the fork", refusal)
		}
		if again := r.tell(startOf("w", "j", `{}`)).Outcomes[0]; again.Refusal != nil || !again.Reply.(*v1.StartInstanceResponse).Existing {
			r.t.Errorf("a start under its id is answered %v", again)
		}
	})
}

// A fork that fails undoes what it did itself. What it copied stays, for it is its origin's to undo.
func TestAForkUndoesNothingOfItsOrigin(t *testing.T) {
	for name, how := range map[string]string{"by the graph": "", "one at a time": "compensation: sequential\n"} {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(r *rig) {
				r.register("workflow: w\n" + how + `
steps:
  a: {queue: q, compensate: {}}
  b: {needs: [a], queue: q, compensate: {}}
  c: {needs: [b], queue: q, compensate: {}}
  d: {needs: [c], queue: q, retry: {attempts: 1}}
`)
				worker := r.session(3600 * second)
				r.start("w", "i", `{}`)
				r.puts(worker, `a 1`)
				r.puts(worker, `b 1`)
				r.forks(forkOf("i", "c", "j"), 2)
				r.midway()
				r.tell(cancelOf("j"))
				r.is("j", "CANCELLED a=COMPLETED b=COMPLETED c=CANCELLED d=CANCELLED")
				r.forks(forkOf("i", "c", "k"), 2)
				r.tell(cancelOf("i")) // it undoes both, whatever was forked from it
				r.is("i", "COMPENSATING a=COMPLETED b=COMPLETED c=CANCELLED d=CANCELLED a.compensate=PENDING b.compensate=READY")
				r.puts(worker, `c 1`, `b.compensate 1`)
				r.midway()
				r.tell(cancelOf("k"))
				r.is("k", "COMPENSATING a=COMPLETED b=COMPLETED c=COMPLETED d=CANCELLED c.compensate=READY")
				r.puts(worker, `a.compensate 1`, `c.compensate 1`)
				r.is("k", "CANCELLED a=COMPLETED b=COMPLETED c=COMPLETED d=CANCELLED c.compensate=COMPLETED")
				r.unforked(forkOf("i", "c", "l"), v1.Code_CODE_UPSTREAM_UNFIT, `that of instance "i" is undone`)
				r.forks(forkOf("k", "c", "l"), 2) // a fork of a fork: what is copied there was not undone by that
				r.forks(forkOf("i", "a", "m"), 0)
			})
		})
	}
}

// An instance that is undone from a step on can be forked from that: what is before stays done.
func TestAForkOfWhatIsUndoneBehind(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, compensate: {}}\n  b: {needs: [a], queue: q, compensate: {}}\n  c: {needs: [b], queue: q}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `a 1`)
		r.puts(worker, `b 1`)
		c := r.poll(worker, "q", 1)[0]
		r.tell(&logv1.Command{Body: &logv1.Command_CompensateInstance{CompensateInstance: &v1.CompensateInstanceRequest{InstanceId: "i", FromStep: "b"}}})
		r.forks(forkOf("i", "b", "j"), 1) // while it stops
		r.unforked(forkOf("i", "c", "k"), v1.Code_CODE_UPSTREAM_UNFIT, `step "b"`)
		r.midway()
		if _, refusal := r.complete(c, `1`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.is("i", "COMPENSATING a=COMPLETED b=COMPLETED c=COMPLETED b.compensate=READY")
		r.forks(forkOf("i", "b", "k"), 1)
		r.puts(worker, `b 2`, `b.compensate 1`, `b 3`)
		r.is("i", "CANCELLED a=COMPLETED b=COMPLETED c=COMPLETED b.compensate=COMPLETED")
		r.forks(forkOf("i", "b", "l"), 1)
	})
}

// What is about to be undone is not copied either, nor what undoes the body of a step.
func TestAForkOfWhatIsUndoneIsRefused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {scope: {steps: {x: {queue: q, compensate: {}}}}}
  b: {needs: [a], queue: q, retry: {attempts: 1}}
  c: {queue: q}
  d: {needs: [b], queue: q}
`)
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `x 1`, `c 1`)
		b := r.poll(worker, "q", 1)[0]
		r.forks(forkOf("i", "b", "j"), 1)
		r.is("j", "RUNNING a=COMPLETED b=READY c=READY d=PENDING")
		r.midway()
		r.tell(cancelOf("i"))
		r.unforked(forkOf("i", "b", "k"), v1.Code_CODE_UPSTREAM_UNFIT, `step "a" of version 1 comes before, and that of instance "i" is undone, or is about to be`)
		r.midway()
		if _, refusal := r.complete(b, `1`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.unforked(forkOf("i", "b", "k"), v1.Code_CODE_UPSTREAM_UNFIT, "is undone")
		r.forks(forkOf("i", "c", "k"), 0)
	})
}

// A version may say something else behind the step, and not before it.
func TestAForkIntoAnotherVersion(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(toFork)
		r.register("workflow: w\nsteps:\n  new: {queue: q, needs: [b]}\n  b: {needs: [a], queue: q}\n  a: {queue: q}\n  c: {needs: [new], queue: q}\n")
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n  c: {needs: [b], queue: q}\n")
		r.register("workflow: w\nsteps:\n  a: {signal: {name: go}}\n  b: {needs: [a], queue: q}\n  c: {needs: [b], queue: q}\n")
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [{step: a, ends: any}], queue: q}\n  c: {needs: [b], queue: q}\n")
		r.register("workflow: w\ninputSchema: {required: [m]}\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q}\n  c: {needs: [b], queue: q}\n")
		worker := r.session(3600 * second)
		c := startOf("w", "i", `{}`)
		c.GetStartInstance().Version = 1
		r.tell(c)
		r.puts(worker, `a 1`)
		r.puts(worker, `b 2`, `d 2`)
		into := func(version int32, step, id string) *logv1.Command {
			c := forkOf("i", step, id)
			c.GetForkInstance().Version = version
			return c
		}
		if got := r.forks(into(2, "new", "j"), 2); got.Version != 2 {
			r.t.Errorf("forked: %v", got)
		}
		r.midway()
		r.is("j", "RUNNING new=READY b=COMPLETED a=COMPLETED c=PENDING")
		r.versions("1, 1, 0, 0, 0, 0")
		r.unforked(into(2, "c", "k"), v1.Code_CODE_UPSTREAM_UNFIT, `step "new" of version 2 comes before, and that of instance "i" is not the same there`)
		r.unforked(into(3, "c", "k"), v1.Code_CODE_UPSTREAM_UNFIT, `step "b" of version 3`)
		r.unforked(into(4, "c", "k"), v1.Code_CODE_UPSTREAM_UNFIT, `step "a" of version 4`)
		r.unforked(into(5, "c", "k"), v1.Code_CODE_UPSTREAM_UNFIT, `step "b" of version 5`)
		r.unforked(into(6, "c", "k"), v1.Code_CODE_INPUT_INVALID, "")
		r.unforked(into(7, "c", "k"), v1.Code_CODE_WORKFLOW_NOT_FOUND, "")
		r.unforked(into(2, "d", "k"), v1.Code_CODE_STEP_NOT_FOUND, `version 2 has no step "d"`)
		r.tell(drainOf(1))
		r.unforked(forkOf("i", "c", "k"), v1.Code_CODE_VERSION_DRAINED, "")
	})
}

// What cannot be forked is refused, and says where to fork instead.
func TestAForkIsRefused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: q}
  b: {needs: [a], queue: q, retry: {attempts: 1}}
  c: {needs: [{step: b, ends: any, codes: [E]}], scope: {steps: {x: {queue: q}}}}
  d: {needs: [c], queue: q}
  l: {queue: q, locks: [{name: dock, hold: instance}]}
  m: {needs: [l], queue: q}
`)
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.unforked(forkOf("i", "b", "j"), v1.Code_CODE_UPSTREAM_PENDING, `step "a" of instance "i" is READY`)
		r.unforked(forkOf("i", "x", "j"), v1.Code_CODE_INVALID, `step "x" is inside another`)
		r.unforked(forkOf("i", "y", "j"), v1.Code_CODE_STEP_NOT_FOUND, "")
		r.unforked(forkOf("h", "b", "j"), v1.Code_CODE_INSTANCE_NOT_FOUND, "")
		r.unforked(forkOf("i", "b", ""), v1.Code_CODE_INVALID, "")
		r.puts(worker, `a 1`, `l 1`)
		r.unforked(forkOf("i", "m", "j"), v1.Code_CODE_UPSTREAM_UNFIT, `step "l" of version 1 comes before, and that of instance "i" takes a lock`)
		runs := r.poll(worker, "q", 9)
		r.tell(&logv1.Command{Body: &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{InstanceId: "i", Step: "b", Token: runs[0].Token, Code: "E"}}})
		r.is("i", "RUNNING a=COMPLETED b=FAILED c=WAITING d=PENDING l=COMPLETED m=LEASED x=READY")
		r.midway()
		r.forks(forkOf("i", "c", "j"), 2) // that b failed is what c needs
		r.is("j", "RUNNING a=COMPLETED b=FAILED c=WAITING d=PENDING l=READY m=PENDING x=READY")
		r.tell(cancelOf("i"))
		r.unforked(forkOf("i", "d", "k"), v1.Code_CODE_UPSTREAM_UNFIT, `step "c" of version 1`)
	})
}

// What was skipped is copied as skipped, who lost a race to what is copied loses it again, and what can be reached no more is skipped.
func TestAForkFollowsWhatItCopies(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: q, when: "input.n > 1"}
  "yes": {signal: {name: "yes"}}
  "no": {signal: {name: "no"}}
  r: {race: ["yes", "no"], queue: q}
  b: {needs: [a, "yes"], queue: q}
  c: {needs: ["no"], queue: q}
  late: {needs: [{step: "yes", ends: failed}], queue: q}
  one: {needs: [a, "no", "yes"], join: any, queue: q}
`)
		r.start("w", "i", `{"n":1}`)
		r.tell(signalOf("i", "yes"))
		r.is("i", "RUNNING a=SKIPPED yes=COMPLETED no=SKIPPED r=READY b=READY c=SKIPPED late=SKIPPED one=READY")
		r.forks(forkOf("i", "b", "j"), 2)
		r.midway()
		r.is("j", "RUNNING a=SKIPPED yes=COMPLETED no=SKIPPED r=READY b=READY c=SKIPPED late=SKIPPED one=READY")
	})
}

// A decision that is copied counts in the fork.
func TestAForkKeepsDecisions(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {approval: {}}\n  b: {needs: [{step: a, ends: failed}], queue: q}\n")
		r.start("w", "i", `{}`)
		reject := func(id string) *logv1.Command {
			return &logv1.Command{Body: &logv1.Command_RejectStep{RejectStep: &v1.RejectStepRequest{InstanceId: id, Step: "a"}}}
		}
		r.tell(reject("i"))
		r.forks(forkOf("i", "b", "j"), 1)
		r.midway()
		r.is("j", "RUNNING a=FAILED b=READY")
		if reply, refusal := r.do(reject("j")); refusal != nil || !reply.(*v1.RejectStepResponse).Duplicate {
			r.t.Errorf("rejected again it is answered %v, %v", reply, refusal)
		}
		_, refusal := r.do(&logv1.Command{Body: &logv1.Command_ApproveStep{ApproveStep: &v1.ApproveStepRequest{InstanceId: "j", Step: "a"}}})
		if refusal.GetCode() != v1.Code_CODE_ALREADY_DONE {
			r.t.Errorf("the other decision is answered %v", refusal)
		}
	})
}

// Who waits for a step of an instance that is not there yet goes on when it comes to be as a fork that has done the step.
func TestAForkIsAwaited(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(toFork)
		r.register("workflow: v\nsteps:\n  wait: {await: {instance: j, step: a}}\n  then: {needs: [wait], queue: r}\n")
		worker := r.session(3600 * second)
		r.start("v", "waits", `{}`)
		r.start("w", "i", `{}`)
		r.puts(worker, `a 1`)
		r.is("waits", "RUNNING wait=WAITING then=PENDING")
		r.midway()
		c := forkOf("i", "b", "j")
		c.GetForkInstance().Keys = map[string]string{"k": "v"}
		r.tell(&logv1.Command{Body: &logv1.Command_SendSignal{SendSignal: &v1.SendSignalRequest{Key: &v1.Key{Name: "k", Value: "v"}, Name: "go", SignalId: "1"}}})
		r.forks(c, 1)
		r.apply(&logv1.Entry{})
		r.is("waits", "RUNNING wait=COMPLETED then=READY")
		r.keyed("k=v", "[j]")
	})
}

// What a fork copies is bounded, and so is what an entry does of it.
func TestAForkIsBounded(t *testing.T) {
	r := newRig(t)
	var yaml strings.Builder
	yaml.WriteString("workflow: w\nsteps:\n")
	needs := ""
	const steps = ForkBytes / (256 << 10)
	for n := range steps + 1 {
		fmt.Fprintf(&yaml, "  s%d: {queue: q}\n", n)
		needs += fmt.Sprintf("s%d, ", n)
	}
	fmt.Fprintf(&yaml, "  at: {needs: [%s], queue: q}\n", strings.TrimSuffix(needs, fmt.Sprintf("s%d, ", steps)))
	fmt.Fprintf(&yaml, "  above: {needs: [%s], queue: q}\n", needs)
	r.register(yaml.String())
	worker := r.session(3600 * second)
	r.start("w", "i", `{}`)
	for n, run := range r.poll(worker, "q", 100) {
		output := `"` + strings.Repeat("x", 256<<10-2) + `"`
		if n == steps {
			output = `1`
		}
		if _, refusal := r.complete(run, output); refusal != nil {
			t.Fatal(refusal)
		}
	}
	r.forks(forkOf("i", "at", "j"), steps)
	r.unforked(forkOf("i", "above", "k"), v1.Code_CODE_PAYLOAD_TOO_LARGE, "fork from an earlier step")
	both := r.apply(&logv1.Entry{Commands: []*logv1.Command{
		{Envelope: &logv1.Envelope{}, Body: forkOf("i", "at", "k").Body}, {Envelope: &logv1.Envelope{}, Body: forkOf("i", "at", "l").Body},
	}})
	if both.Outcomes[0].Refusal != nil || both.Outcomes[1].Refusal.GetCode() != v1.Code_CODE_OVERLOADED {
		t.Errorf("two in an entry are answered %v", both.Outcomes)
	}
	must(check(r.m))
}

// A fork of the longest chain is one entry, and what goes on behind it is left to others.
func TestAForkOfManySteps(t *testing.T) {
	r := newRig(t)
	var yaml strings.Builder
	yaml.WriteString("workflow: w\nsteps:\n  s0: {queue: q, when: \"has(input.k)\"}\n")
	for n := 1; n < 9_000; n++ {
		fmt.Fprintf(&yaml, "  s%d: {needs: [s%d], queue: q}\n", n, n-1)
	}
	yaml.WriteString("  go: {queue: q}\n  last: {needs: [s8999, go], queue: q}\n  end: {needs: [last], queue: q}\n")
	r.register(yaml.String())
	r.start("w", "i", `{}`)
	for range 100 {
		r.apply(&logv1.Entry{})
	}
	r.puts(r.session(3600*second), "go 1")
	r.forks(forkOf("i", "last", "j"), 9001)
	must(check(r.m))
	for range 10 {
		r.apply(&logv1.Entry{})
	}
	if got := r.state("j"); !strings.HasSuffix(got, "s8999=SKIPPED go=COMPLETED last=READY end=PENDING") {
		t.Errorf("the fork is %s", got[len(got)-80:])
	}
}

// Below its level nobody knows of forks.
func TestForksHaveALevel(t *testing.T) {
	if got := LevelOf(forkOf("i", "a", "j")); got != forkLevel {
		t.Errorf("a fork has level %d", got)
	}
}

// What is copied has won its race in the fork as well: the others of it end at once, and not when it is their turn.
func TestAForkEndsTheRacesThatItCopies(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: q}
  paid: {signal: {name: paid}}
  late: {needs: [a], timer: {after: 1h}}
  first: {race: [paid, late], queue: late}
  remind: {needs: [late], queue: q}
  z: {needs: [paid], queue: q}
`)
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.tell(signalOf("i", "paid"))
		r.puts(worker, "a 1", "z 2")
		r.midway()
		r.forks(forkOf("i", "z", "f"), 1)
		r.is("f", "RUNNING a=READY paid=COMPLETED late=SKIPPED first=READY remind=SKIPPED z=READY")
		r.midway()
		r.puts(worker, "a 1", "z 2")
		r.is("f", "RUNNING a=COMPLETED paid=COMPLETED late=SKIPPED first=READY remind=SKIPPED z=COMPLETED")
	})
}
