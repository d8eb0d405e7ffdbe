package fsm

import (
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// undoing sets an instance back, and has what was completed undone before.
func undoingOf(c *logv1.Command) *logv1.Command {
	c.GetResetInstance().Compensate = true
	return c
}

// undoes completes compensations as they become ready, one after the other, and says which and with what.
func (r *rig) undoes(worker int64, want string) {
	r.t.Helper()
	undone := ""
	for range 9 {
		for _, run := range r.poll(worker, "u", 1) {
			undone += " " + run.Compensates + "=" + string(run.InputPayload.GetBytes())
			r.done(run, `{}`)
			r.midway()
		}
	}
	if undone = strings.TrimSpace(undone); undone != want {
		r.t.Fatalf("undone is %s; want %s", undone, want)
	}
}

const toUndo = `steps:
  a: {queue: q, compensate: {queue: u, input: "${steps.a.output}"}}
  b: {needs: [a], queue: q, compensate: {queue: u, input: "${steps.b.output}"}}
  c: {needs: [b], queue: q, compensate: {queue: u, input: "${steps.c.output}"}}
  d: {needs: [c], queue: q, compensate: {queue: u}}
  z: {queue: z, compensate: {queue: u}}
`

// What was completed from the step on is undone first, the newest first, and then done anew; what is beside goes on, and what was before stays.
func TestAResetThatCompensates(t *testing.T) {
	for _, sequential := range []string{"", "compensation: sequential\n"} {
		scenario(t, func(r *rig) {
			r.register("workflow: w\n" + sequential + toUndo)
			worker := r.session(3600 * second)
			r.start("w", "i", `{}`)
			r.puts(worker, `a 1`)
			r.puts(worker, `b 2`)
			r.puts(worker, `c 3`)
			held := r.leases(worker, "d/0")["d/0"]
			c := undoingOf(resetOf("i", "b", 0))
			got := r.tell(c)
			r.did(got, "instance.reset", "step.cancelled d", "step.ready c.compensate")
			if reply := got.Outcomes[0].Reply.(*v1.ResetInstanceResponse); reply.Undone != 2 || reply.Steps != 3 || got.Events()[0].Data.Code != "COMPENSATE" {
				r.t.Errorf("answered %v, and told as %v", reply, got.Events()[0].Data)
			}
			r.midway()
			r.runs("i", "RUNNING a/0=COMPLETED b/0=COMPLETED c/0=COMPLETED d/0=CANCELLED z/0=READY b.compensate/0=PENDING c.compensate/0=READY b/1=PENDING c/1=PENDING d/1=PENDING")
			if _, refusal := r.complete(held, `{}`); refusal.GetCode() != v1.Code_CODE_FENCED {
				r.t.Errorf("the token of before is answered %v", refusal)
			}
			reply, err := r.m.Explain(&v1.ExplainRequest{InstanceId: "i", Step: "b", Index: 1})
			if err != nil || reply.Explanations[0].Code != v1.ExplainCode_EXPLAIN_CODE_NEEDS_PENDING || reply.Explanations[0].Sentence != `Step "b" is done anew when what was completed before is undone: b.compensate.` && reply.Explanations[0].Sentence != `Step "b" is done anew when what was completed before is undone: c.compensate.` {
				r.t.Errorf("explained as %v, %v", reply, err)
			}
			r.resets(c, 1, 3, true)
			r.undoes(worker, "c=3 b=2")
			r.runs("i", "RUNNING a/0=COMPLETED b/0=COMPLETED c/0=COMPLETED d/0=CANCELLED z/0=READY b.compensate/0=COMPLETED c.compensate/0=COMPLETED b/1=READY c/1=PENDING d/1=PENDING")
			r.puts(worker, `b 20`)
			r.puts(worker, `c 30`)
			r.midway()
			r.tell(cancelOf("i")) // what was undone is not undone again
			r.undoes(worker, "c=30 b=20 a=1")
			if got := r.state("i"); !strings.HasPrefix(got, "CANCELLED ") {
				r.t.Errorf("it is %s", got)
			}
		})
	}
}

// What was kept by one reset is undone by one that compensates, the newest activation first; and what was undone once is not undone again.
func TestAResetCompensatesWhatWasKept(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\n" + toUndo)
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `a 1`)
		r.puts(worker, `b 2`)
		r.resets(resetOf("i", "b", 0), 1, 3, false)
		r.puts(worker, `b 20`)
		r.puts(worker, `c 30`)
		c := undoingOf(resetOf("i", "b", 1))
		r.resets(c, 2, 3, false)
		r.midway()
		r.undoes(worker, "c=30 b=20 b=2")
		r.puts(worker, `b 200`)
		c = undoingOf(resetOf("i", "a", 0))
		r.resets(c, 3, 4, false)
		r.undoes(worker, "b=200 a=1")
		r.puts(worker, `a 1000`)
		r.leases(worker, "b/3")
	})
}

// A fork copies what was done anew, whatever became of what was before it.
func TestAForkOfAResetThatCompensates(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\n" + toUndo)
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `a 1`)
		r.resets(undoingOf(resetOf("i", "a", 0)), 1, 4, false)
		r.undoes(worker, "a=1")
		r.puts(worker, `a 10`)
		r.midway()
		r.forks(forkOf("i", "b", "j"), 1)
	})
}

// An instance that stops while a reset undoes waits until that is done, and then undoes the rest: each completion is undone once.
func TestACancelDuringAResetThatCompensates(t *testing.T) {
	for _, sequential := range []string{"", "compensation: sequential\n"} {
		scenario(t, func(r *rig) {
			r.register("workflow: w\n" + sequential + toUndo)
			worker := r.session(3600 * second)
			r.start("w", "i", `{}`)
			r.puts(worker, `a 1`)
			r.puts(worker, `b 2`)
			r.puts(worker, `c 3`)
			c := undoingOf(resetOf("i", "b", 0))
			r.tell(c)
			run := r.poll(worker, "u", 1)[0]
			r.tell(cancelOf("i"))
			r.midway()
			r.runs("i", "CANCELLING a/0=COMPLETED b/0=COMPLETED c/0=COMPLETED d/0=CANCELLED z/0=CANCELLED b.compensate/0=PENDING c.compensate/0=LEASED b/1=CANCELLED c/1=CANCELLED d/1=CANCELLED")
			r.done(run, `{}`)
			r.midway()
			r.undoes(worker, "b=2 a=1")
			if got := r.state("i"); !strings.HasPrefix(got, "CANCELLED ") {
				r.t.Errorf("it is %s", got)
			}
		})
	}
}

// A compensation of what was set back stands still as any other, and keeps what is new from beginning until somebody has it tried again or skips it.
func TestAResetWhoseCompensationStandsStill(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, compensate: {queue: u, retry: {attempts: 1}}}\n  b: {needs: [a], queue: none}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.puts(worker, `a 1`)
		c := undoingOf(resetOf("i", "a", 0))
		r.tell(c)
		r.fail(r.poll(worker, "u", 1)[0], "GONE", true)
		r.midway()
		if i := r.needs("COMPENSATION i a.compensate")[0]; i.State != v1.InstanceState_INSTANCE_STATE_RUNNING {
			r.t.Errorf("told as %v", i)
		}
		r.unforked(undoingOf(resetOf("i", "a", 1)), v1.Code_CODE_STEP_NOT_BEGUN, "")
		r.tell(retry("i", "a.compensate"))
		held := r.poll(worker, "u", 1)[0]
		r.tell(pause("i"))
		r.fail(held, "GONE", true)
		r.midway()
		r.tell(skip("i", "a.compensate"))
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED b/0=CANCELLED a.compensate/0=SKIPPED a/1=PENDING b/1=PENDING")
		r.did(r.tell(resume("i")), "instance.resumed", "step.ready a")
	})
}

// What is inside a step that is set back is undone with it, item by item; a step without anything to undo is passed by.
func TestAResetCompensatesWhatIsInside(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: q, compensate: {queue: u, input: "${steps.a.output}"}}
  all: {needs: [a], forEach: {in: "${input.list}", steps: {x: {queue: q, input: "${item}", compensate: {queue: u, input: "${steps.x.output}"}}, y: {needs: [x], queue: q, compensate: {queue: u, input: "${steps.y.output}"}}}}}
  m: {needs: [all], queue: q}
  e: {needs: [m], queue: q, compensate: {queue: u, input: "${steps.e.output}"}}
  f: {needs: [e], queue: none}
`)
		worker := r.session(3600 * second)
		r.start("w", "i", `{"list":[1,2]}`)
		for _, put := range []string{`a 1`, `x 2`, `y 3`, `x 4`, `y 5`, `m 6`, `e 7`} {
			r.puts(worker, put)
		}
		r.midway()
		r.resets(undoingOf(resetOf("i", "a", 0)), 1, 5, false)
		r.midway()
		r.undoes(worker, "e=7 y=5 x=4 y=3 x=2 a=1")
		for _, put := range []string{`a 10`, `x 20`} {
			r.puts(worker, put)
		}
		r.resets(undoingOf(resetOf("i", "all", 1)), 2, 4, false)
		r.undoes(worker, "x=20")
		r.leases(worker, "x/3")
	})
}

// What was called and lives, or is being undone already, refuses a reset that compensates; where nothing is to be undone what is new begins at once.
func TestWhatIsNotCompensatedByAReset(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.done(r.shipping(worker, "o"), `{}`)
		r.unforked(undoingOf(resetOf("o", "charge", 0)), v1.Code_CODE_RESET_BUSY, `step "ship" of instance "o" has called instance "o:ship", which goes on; cancel that, or keep what was completed`)
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n  c: {needs: [a, b], queue: q, compensate: {queue: u}}\n  d: {needs: [c], queue: none}\n  z: {queue: none}\n")
		r.start("w", "i", `{}`)
		r.poll(worker, "q", 1) // of o
		r.puts(worker, `a 1`, `b 1`)
		r.did(r.tell(undoingOf(resetOf("i", "b", 0))), "instance.reset", "step.cancelled c", "step.cancelled d", "step.ready b")
		r.puts(worker, `b 2`)
		r.puts(worker, `c 2`)
		r.resets(undoingOf(resetOf("i", "a", 0)), 2, 3, false)
		r.unforked(undoingOf(resetOf("i", "b", 1)), v1.Code_CODE_RESET_BUSY, `step "c" of instance "i" was set back before, and is not at its end`)
		r.unforked(undoingOf(resetOf("i", "z", 0)), v1.Code_CODE_RESET_BUSY, `step "c" of instance "i" was set back before`)
		r.resets(resetOf("i", "b", 1), 3, 3, false) // but for the step itself, all of that is behind what is undone
		r.midway()
		r.undoes(worker, "c={\"input\":{},\"output\":2}")
		r.puts(worker, `a 3`, `b 3`)
		r.leases(worker, "c/3")
	})
}
