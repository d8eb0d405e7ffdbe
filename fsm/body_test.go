package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/require"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func completeOf(run *v1.LeasedRun) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{
		InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token,
	}}}
}

// leases are the runs of a queue that a worker gets, by step and index.
func (r *rig) leases(worker int64, want ...string) (runs map[string]*v1.LeasedRun) {
	r.t.Helper()
	runs = map[string]*v1.LeasedRun{}
	var got []string
	for _, run := range r.poll(worker, "q", 9) {
		name := fmt.Sprintf("%s/%d", run.Step, run.Index)
		got, runs[name] = append(got, name), run
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Fatalf("%v are leased; want %v", got, want)
	}
	return runs
}

// done completes a run that may be inside another.
func (r *rig) done(run *v1.LeasedRun, output string) {
	r.t.Helper()
	c := completeOf(run)
	c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(output)}
	if _, refusal := r.do(c); refusal != nil {
		r.t.Fatalf("%s/%d is not completed: %v", run.Step, run.Index, refusal)
	}
}

// runs is the state of an instance, and of each run by step and index.
func (r *rig) runs(id, want string) {
	r.t.Helper()
	i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	if err != nil {
		r.t.Fatal(err)
	}
	got := stateName(i.State)
	if i.Code != "" {
		got += "(" + i.Code + ")"
	}
	for _, run := range i.Runs {
		got += fmt.Sprintf(" %s/%d=%s", run.Step, run.Index, runStateName(run.State))
	}
	if got != want {
		r.t.Fatalf("instance %s is\n%s; want\n%s", id, got, want)
	}
}

func (r *rig) output(id, want string) {
	r.t.Helper()
	i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	if err != nil || string(i.OutputPayload.GetBytes()) != want {
		r.t.Fatalf("instance %s put out %s, %v; want %s", id, i.GetOutputPayload().GetBytes(), err, want)
	}
}

// Steps in place: they begin with the step, see what is upstream of it, and what they put out is the step's.
func TestAScopeIsDoneByWhatIsInsideIt(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: q}
  pay:
    needs: [a]
    scope:
      steps:
        charge: {queue: q, input: {of: "${steps.a.output.n}"}}
        book: {needs: [charge], queue: q, when: "steps.charge.output.ok"}
      output: {receipt: "${steps.charge.output.receipt}"}
  end: {needs: [pay], queue: q, input: "${steps.pay.output.receipt}"}
output: "${steps.pay.output}"
`)
		worker := r.session(600 * second)
		for _, id := range []string{"i", "j"} {
			r.start("w", id, `{}`)
		}
		first := r.poll(worker, "q", 2)
		r.done(first[0], `{"n":7}`)
		r.done(first[1], `{"n":8}`)
		r.midway()
		r.runs("i", "RUNNING a/0=COMPLETED pay/0=WAITING end/0=PENDING charge/0=READY book/0=PENDING")
		if e := r.why("i", "pay"); !strings.Contains(e.Sentence, "inside it") {
			r.t.Fatalf("explained as %v", e)
		}
		charges := r.poll(worker, "q", 2)
		if got := string(charges[0].InputPayload.Bytes); got != `{"of":7}` {
			r.t.Fatalf("it is given %s", got)
		}
		c := completeOf(charges[0])
		c.GetCompleteStep().OutputPayload = &v1.Payload{Bytes: []byte(`{"ok":false,"receipt":"r"}`)}
		r.did(r.tell(c), "step.completed charge", "step.skipped book", "step.completed pay", "step.ready end")
		r.done(charges[1], `{"ok":true,"receipt":"s"}`)
		r.midway()
		end := r.poll(worker, "q", 2)
		if string(end[0].InputPayload.Bytes) != `"r"` || end[1].Step != "book" {
			r.t.Fatalf("leased %v", end)
		}
		r.done(end[0], `{}`)
		r.output("i", `{"receipt":"r"}`)
		r.done(end[1], `{}`)
		r.midway()
		r.done(r.poll(worker, "q", 1)[0], `{}`)
		r.runs("j", "COMPLETED a/0=COMPLETED pay/0=COMPLETED end/0=COMPLETED charge/0=COMPLETED book/0=COMPLETED")
	})
}

const settle = `
workflow: w
steps:
  list: {queue: q}
  each:
    needs: [list]
    forEach:
      in: "${steps.list.output}"
      width: 2
      steps:
        take: {queue: q, input: {item: "${item}", at: "${index}"}, compensate: {}}
        send: {needs: [take], queue: q, compensate: {}}
      output: "${item + steps.send.output.n}"
  end: {needs: [each], queue: q, compensate: {}}
output: "${has(steps.each.output) ? steps.each.output : []}"
`

// So many items at a time; what they put out stands in their order.
func TestForEachDoesItsItems(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(settle)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.done(r.leases(worker, "list/0")["list/0"], `[10,20,30]`)
		r.midway()
		first := r.leases(worker, "take/0", "take/1")
		if got := string(first["take/1"].InputPayload.Bytes); got != `{"at":1,"item":20}` {
			r.t.Fatalf("the second is given %s", got)
		}
		r.done(first["take/1"], `{}`)
		r.midway()
		r.done(r.leases(worker, "send/1")["send/1"], `{"n":2}`)
		r.midway()
		r.runs("i", "RUNNING list/0=COMPLETED each/0=WAITING end/0=PENDING take/0=LEASED send/0=PENDING take/1=COMPLETED send/1=COMPLETED take/2=READY send/2=PENDING")
		if e := r.why("i", "each"); !strings.Contains(e.Sentence, "3 items are begun, and 1 of these are done") {
			r.t.Fatalf("explained as %v", e)
		}
		r.done(r.leases(worker, "take/2")["take/2"], `{}`)
		r.done(r.leases(worker, "send/2")["send/2"], `{"n":3}`)
		r.done(first["take/0"], `{}`)
		r.midway()
		r.done(r.leases(worker, "send/0")["send/0"], `{"n":1}`)
		r.done(r.leases(worker, "end/0")["end/0"], `{}`)
		r.output("i", `[11,22,33]`)
	})
}

// No items: the step is skipped. What is no list stands still, and says so.
func TestForEachOfNothing(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(settle)
		worker := r.session(600 * second)
		r.start("w", "none", `{}`)
		r.done(r.leases(worker, "list/0")["list/0"], `[]`)
		r.midway()
		r.runs("none", "COMPLETED list/0=COMPLETED each/0=SKIPPED end/0=SKIPPED")
		r.start("w", "bad", `{}`)
		r.done(r.leases(worker, "list/0")["list/0"], `{"a":1}`)
		r.midway()
		r.runs("bad", "RUNNING list/0=COMPLETED each/0=INCIDENT end/0=PENDING")
		if e := r.why("bad", "each"); !strings.Contains(e.Sentence, "steps.each.forEach.in") {
			r.t.Fatalf("explained as %v", e)
		}
	})
}

// Turn after turn while the condition holds; its output is that of the last turn.
func TestALoopTakesTurns(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  poll:
    loop:
      while: "index < input.n && (index == 0 || !last.ready)"
      max: 3
      steps: {ask: {queue: q, input: {turn: "${index}", last: "${last}"}}}
      output: "${steps.ask.output}"
  end: {needs: [poll], queue: e, when: "input.n > 0"}
output: "${steps.poll.output}"
`)
		worker := r.session(600 * second)
		r.start("w", "i", `{"n":9}`)
		r.done(r.leases(worker, "ask/0")["ask/0"], `{"ready":false}`)
		r.midway()
		second := r.leases(worker, "ask/1")["ask/1"]
		if got := string(second.InputPayload.Bytes); got != `{"last":{"ready":false},"turn":1}` {
			r.t.Fatalf("the second turn is given %s", got)
		}
		r.done(second, `{"ready":true}`)
		r.midway()
		r.runs("i", "RUNNING poll/0=COMPLETED end/0=READY ask/0=COMPLETED ask/1=COMPLETED")
		r.done(r.poll(worker, "e", 1)[0], `{}`)
		r.output("i", `{"ready":true}`)

		r.start("w", "long", `{"n":9}`)
		for turn := range 3 {
			name := fmt.Sprintf("ask/%d", turn)
			r.done(r.leases(worker, name)[name], `{"ready":false}`)
			r.midway()
		}
		r.runs("long", "FAILED(LOOP_LIMIT) poll/0=FAILED end/0=CANCELLED ask/0=COMPLETED ask/1=COMPLETED ask/2=COMPLETED")

		r.start("w", "none", `{"n":0}`)
		r.midway()
		r.runs("none", "COMPLETED poll/0=COMPLETED end/0=SKIPPED")
	})
}

// A bound without a condition is an end, and no limit. Turns that have nothing to do are over at once.
func TestALoopOfSoManyTurns(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  often:
    loop: {max: 1000, steps: {a: {when: "index == input.n", queue: q}}, output: "${index}"}
output: "${steps.often.output}"
`)
		worker := r.session(600 * second)
		r.start("w", "i", `{"n":600}`)
		r.done(r.leases(worker, "a/600")["a/600"], `{}`)
		r.midway()
		r.output("i", `999`)
	})
}

const trip = `
workflow: w
steps:
  reserve: {queue: q, compensate: {}}
  book:
    needs: [reserve]
    timeouts: {total: 60s}
    scope:
      steps:
        flight: {queue: q, compensate: {}}
        hotel: {needs: [flight], queue: q, compensate: {}}
        car: {needs: [flight], queue: q, retry: {attempts: 1}}
  train: {needs: [{step: book, ends: failed, codes: [FULL, TIMEOUT_TOTAL]}], queue: q, input: {why: "${steps.book.error.code}"}, compensate: {}}
  close: {needs: [{step: book, ends: any, codes: [FULL, TIMEOUT_TOTAL]}, train], queue: q}
`

// What fails inside a scope fails the scope: the others inside it stop, what was completed there is undone, and then a step may need that.
func TestAScopeThatFailsIsUndone(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(trip)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.done(r.leases(worker, "reserve/0")["reserve/0"], `{}`)
		r.done(r.leases(worker, "flight/0")["flight/0"], `{}`)
		both := r.leases(worker, "hotel/0", "car/0")
		r.midway()
		r.did(r.tell(failOf(both["car/0"], "FULL")), "step.failed car", "step.failing book")
		r.midway()
		if e := r.why("i", "book"); !strings.Contains(e.Sentence, "FULL") {
			r.t.Fatalf("explained as %v", e)
		}
		r.runs("i", "RUNNING reserve/0=COMPLETED book/0=WAITING train/0=PENDING close/0=PENDING flight/0=COMPLETED hotel/0=LEASED car/0=FAILED")
		r.done(both["hotel/0"], `{}`) // it had been done already: that counts, and is undone
		r.midway()
		r.runs("i", "RUNNING reserve/0=COMPLETED book/0=WAITING train/0=PENDING close/0=PENDING flight/0=COMPLETED hotel/0=COMPLETED car/0=FAILED flight.compensate/0=PENDING hotel.compensate/0=READY")
		r.done(r.leases(worker, "hotel.compensate/0")["hotel.compensate/0"], `{}`)
		r.midway()
		last := r.leases(worker, "flight.compensate/0")["flight.compensate/0"]
		r.did(r.tell(completeOf(last)), "step.completed flight.compensate", "step.failed book", "step.ready train")
		r.midway()
		train := r.leases(worker, "train/0")["train/0"]
		if got := string(train.InputPayload.Bytes); got != `{"why":"FULL"}` {
			r.t.Fatalf("it is given %s", got)
		}
		r.done(train, `{}`)
		r.done(r.leases(worker, "close/0")["close/0"], `{}`)
		r.runs("i", "COMPLETED reserve/0=COMPLETED book/0=FAILED train/0=COMPLETED close/0=COMPLETED flight/0=COMPLETED hotel/0=COMPLETED car/0=FAILED flight.compensate/0=COMPLETED hotel.compensate/0=COMPLETED")
	})
}

// A scope has a deadline of its own.
func TestAScopeHasADeadline(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(trip)
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.done(r.leases(worker, "reserve/0")["reserve/0"], `{}`)
		flight := r.leases(worker, "flight/0")["flight/0"]
		r.midway()
		r.did(r.tick(60*second), "step.failing book", "step.cancelled hotel", "step.cancelled car")
		r.midway()
		r.did(r.tell(failOf(flight, "LATE")), "step.cancelled flight", "step.failed book", "step.ready train")
		r.midway()
		r.runs("i", "RUNNING reserve/0=COMPLETED book/0=FAILED train/0=READY close/0=PENDING flight/0=CANCELLED hotel/0=CANCELLED car/0=CANCELLED")
	})
}

// A failure that nobody needs goes outwards: what was completed inside the scope is undone first, and then the instance's.
func TestAFailureInsideAScopeFailsTheInstance(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(trip)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.done(r.leases(worker, "reserve/0")["reserve/0"], `{}`)
		r.done(r.leases(worker, "flight/0")["flight/0"], `{}`)
		r.tell(failOf(r.leases(worker, "hotel/0", "car/0")["hotel/0"], "LOST"))
		r.midway()
		r.tick(700 * second) // the other's session is over
		worker = r.session(600 * second)
		r.midway()
		r.runs("i", "RUNNING reserve/0=COMPLETED book/0=WAITING train/0=PENDING close/0=PENDING flight/0=COMPLETED hotel/0=FAILED car/0=CANCELLED flight.compensate/0=READY")
		r.done(r.leases(worker, "flight.compensate/0")["flight.compensate/0"], `{}`)
		r.midway()
		r.runs("i", "COMPENSATING(LOST) reserve/0=COMPLETED book/0=FAILED train/0=CANCELLED close/0=CANCELLED reserve.compensate/0=READY flight/0=COMPLETED hotel/0=FAILED car/0=CANCELLED flight.compensate/0=COMPLETED")
		r.done(r.leases(worker, "reserve.compensate/0")["reserve.compensate/0"], `{}`)
		r.runs("i", "FAILED(LOST) reserve/0=COMPLETED book/0=FAILED train/0=CANCELLED close/0=CANCELLED reserve.compensate/0=COMPLETED flight/0=COMPLETED hotel/0=FAILED car/0=CANCELLED flight.compensate/0=COMPLETED")
	})
}

// An instance that is undone undoes a completed forEach by its items, the last first, when what came behind it is undone.
func TestForEachIsUndoneByItsItems(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(settle)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.done(r.leases(worker, "list/0")["list/0"], `[1,2]`)
		takes := r.leases(worker, "take/0", "take/1")
		r.done(takes["take/0"], `{}`)
		r.done(takes["take/1"], `{}`)
		sends := r.leases(worker, "send/0", "send/1")
		r.done(sends["send/0"], `{"n":1}`)
		r.done(sends["send/1"], `{"n":1}`)
		r.midway()
		r.tell(failOf(r.leases(worker, "end/0")["end/0"], "X"))
		r.midway()
		for _, name := range []string{"send.compensate/1", "take.compensate/1", "send.compensate/0", "take.compensate/0"} {
			r.done(r.leases(worker, name)[name], `{}`)
			r.midway()
		}
		r.runs("i", "FAILED(X) list/0=COMPLETED each/0=COMPLETED end/0=FAILED take/0=COMPLETED send/0=COMPLETED take.compensate/0=COMPLETED send.compensate/0=COMPLETED take/1=COMPLETED send/1=COMPLETED take.compensate/1=COMPLETED send.compensate/1=COMPLETED")
	})
}

// An item that fails has the others stop, and what was done for those before undone.
func TestAnItemThatFailsFailsTheList(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(settle)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.done(r.leases(worker, "list/0")["list/0"], `[1,2,3]`)
		takes := r.leases(worker, "take/0", "take/1")
		r.done(takes["take/0"], `{}`)
		r.done(r.leases(worker, "send/0")["send/0"], `{"n":1}`)
		third := r.leases(worker, "take/2")["take/2"]
		r.midway()
		r.did(r.tell(failOf(takes["take/1"], "X")), "step.failed take", "step.failing each", "step.cancelled send", "step.cancelled send")
		r.midway()
		r.done(third, `{}`)
		r.midway()
		for _, name := range []string{"take.compensate/2", "send.compensate/0", "take.compensate/0"} {
			r.done(r.leases(worker, name)[name], `{}`)
			r.midway()
		}
		r.runs("i", "FAILED(X) list/0=COMPLETED each/0=FAILED end/0=CANCELLED take/0=COMPLETED send/0=COMPLETED take.compensate/0=COMPLETED send.compensate/0=COMPLETED take/1=FAILED send/1=CANCELLED take/2=COMPLETED send/2=CANCELLED take.compensate/2=COMPLETED")
	})
}

// A cancelled instance waits for what a scope is undoing, and undoes the rest behind that.
func TestCancelWhileAScopeIsUndone(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(trip)
		worker := r.session(600 * second)
		r.start("w", "i", `{}`)
		r.done(r.leases(worker, "reserve/0")["reserve/0"], `{}`)
		r.done(r.leases(worker, "flight/0")["flight/0"], `{}`)
		both := r.leases(worker, "hotel/0", "car/0")
		r.tell(failOf(both["car/0"], "FULL"))
		r.done(both["hotel/0"], `{}`)
		hotel := r.leases(worker, "hotel.compensate/0")["hotel.compensate/0"]
		r.midway()
		r.did(r.tell(cancelOf("i")), "instance.cancelling", "step.cancelled train", "step.cancelled close")
		r.midway()
		r.done(hotel, `{}`)
		e, err := r.m.Explain(&v1.ExplainRequest{InstanceId: "i"})
		if err != nil || e.Explanations[0].Sentence != "The instance is CANCELLING: it ends when none of its 0 leased runs is left, and what was completed inside 1 of its steps is undone." {
			r.t.Fatalf("explained as %v, %v", e, err)
		}
		r.did(r.tell(completeOf(r.leases(worker, "flight.compensate/0")["flight.compensate/0"])),
			"step.completed flight.compensate", "step.cancelled book", "instance.compensating", "step.ready reserve.compensate")
		r.midway()
		r.done(r.leases(worker, "reserve.compensate/0")["reserve.compensate/0"], `{}`)
		r.runs("i", "CANCELLED reserve/0=COMPLETED book/0=CANCELLED train/0=CANCELLED close/0=CANCELLED reserve.compensate/0=COMPLETED flight/0=COMPLETED hotel/0=COMPLETED car/0=FAILED flight.compensate/0=COMPLETED hotel.compensate/0=COMPLETED")
	})
}

// Bodies inside bodies: each sees its own item and turn, and stops with what it is in.
func TestBodiesInsideBodies(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
compensation: sequential
steps:
  each:
    forEach:
      in: "${input.list}"
      width: 2
      steps:
        poll:
          loop:
            while: "index < item"
            steps:
              one: {scope: {steps: {ask: {queue: q, input: ["${item}", "${index}"], compensate: {}}}, output: "${steps.ask.output}"}}
            output: "${[item, index, steps.one.output]}"
      output: "${steps.poll.output}"
output: "${steps.each.output}"
`)
		worker := r.session(600 * second)
		r.start("w", "i", `{"list":[1,2]}`)
		first := r.leases(worker, "ask/0", "ask/1")
		if got := string(first["ask/1"].InputPayload.Bytes); got != `[2,0]` {
			r.t.Fatalf("it is given %s", got)
		}
		r.done(first["ask/1"], `"x"`)
		r.midway()
		third := r.leases(worker, "ask/2")["ask/2"]
		r.done(first["ask/0"], `"y"`)
		r.midway()
		r.start("w", "j", `{"list":[1,1]}`)
		other := r.leases(worker, "ask/0", "ask/1")
		r.done(other["ask/0"], `1`)
		r.tell(cancelOf("j"))
		r.midway()
		r.done(other["ask/1"], `2`)
		r.midway()
		r.done(r.leases(worker, "ask.compensate/1")["ask.compensate/1"], `{}`)
		r.midway()
		r.done(r.leases(worker, "ask.compensate/0")["ask.compensate/0"], `{}`)
		r.done(third, `"z"`)
		r.output("i", `[[1,0,"y"],[2,1,"z"]]`)
		if i, _ := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "j"}); i.State != v1.InstanceState_INSTANCE_STATE_CANCELLED {
			r.t.Fatalf("the other is %s", i.State)
		}
	})
}

// The largest list, all of it at once: the last item fails, and the others are undone. What one command costs does not grow with
// the list, or this would take minutes. One item more stands still.
func TestTheLongestList(t *testing.T) {
	require.WithoutRace(t)
	const most = 10_000
	r := newRig(t)
	r.register(`
workflow: w
steps:
  list: {queue: q}
  each:
    needs: [list]
    forEach:
      in: "${steps.list.output}"
      width: 10000
      steps:
        take: {queue: q, retry: {attempts: 1}, compensate: {queue: undo}}
`)
	worker := r.session(3000 * second)
	items := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
	r.start("w", "more", `{}`)
	r.done(r.poll(worker, "q", 1)[0], items(most+1))
	if e := r.why("more", "each"); e.Code != v1.ExplainCode_EXPLAIN_CODE_INCIDENT || !strings.Contains(e.Sentence, "more than 10000 items") {
		t.Errorf("more items: %v", e)
	}
	r.start("w", "i", `{}`)
	r.done(r.poll(worker, "q", 1)[0], items(most))
	for n := range most - 1 {
		run := r.poll(worker, "q", 1)[0]
		if int(run.Index) != n {
			t.Fatalf("%d is given in the place of %d", run.Index, n)
		}
		r.done(run, `{}`)
	}
	r.tell(failOf(r.poll(worker, "q", 1)[0], "BAD"))
	for n := most - 2; n >= 0; n-- {
		run := r.poll(worker, "undo", 1)[0]
		if int(run.Index) != n {
			t.Fatalf("%d is undone in the place of %d", run.Index, n)
		}
		r.done(run, `{}`)
	}
	if i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); err != nil || i.State != v1.InstanceState_INSTANCE_STATE_FAILED {
		t.Errorf("it ends as %v, %v", i.GetState(), err)
	}
}

// The longest loop takes its turns, and none more.
func TestTheLongestLoop(t *testing.T) {
	require.WithoutRace(t)
	const most = 10_000
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a:\n    loop:\n      while: \"true\"\n      max: 10000\n      steps:\n        turn: {queue: q}\n")
	worker := r.session(3000 * second)
	r.start("w", "i", `{}`)
	for n := range most {
		run := r.poll(worker, "q", 1)[0]
		if int(run.Index) != n {
			t.Fatalf("it is at turn %d, not %d", run.Index, n)
		}
		r.done(run, `{}`)
	}
	if i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); err != nil || i.State != v1.InstanceState_INSTANCE_STATE_FAILED || i.Code != "LOOP_LIMIT" {
		t.Errorf("it ends as %v (%s), %v", i.GetState(), i.GetCode(), err)
	}
}

// What fails as soon as it begins stops what it is in, of which nothing more is begun.
func TestWhatFailsAtOnceStopsTheList(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  each:
    forEach:
      in: "${input.items}"
      width: 2
      steps:
        again: {loop: {while: "item.missing", max: 2, steps: {ask: {queue: q}}}}
        beside: {queue: q}
  end: {needs: [{step: each, ends: failed}], queue: q}
`)
		worker := r.session(600 * second)
		r.start("w", "i", `{"items": [{}, {}]}`)
		r.midway()
		r.runs("i", "RUNNING each/0=FAILED end/0=READY again/0=FAILED beside/0=CANCELLED")
		r.done(r.leases(worker, "end/0")["end/0"], `{}`)
		r.midway()
	})
}

// Bodies multiply: the step fails whose next activation would be one too many for its instance, and no entry is without end.
func TestBodiesAreNotWithoutEnd(t *testing.T) {
	require.WithoutRace(t)
	list := "[" + strings.Repeat("1,", 9_999) + "1]"
	for _, c := range []struct{ name, body, input string }{
		{"loops", "{loop: {max: 10000, steps: {b: {loop: {max: 10000, steps: {c: {queue: q, when: \"input != 1\"}}}}}}}", "1"},
		{"lists", "{forEach: {in: \"${input}\", width: 10000, steps: {b: {forEach: {in: \"${input}\", width: 10000, steps: {c: {queue: q}}}}}}}", list},
	} {
		r := newRig(t)
		r.register("workflow: w\nsteps:\n  a: " + c.body + "\n")
		r.start("w", "i", c.input)
		for r.m.todos.Len() > 0 {
			r.apply(&logv1.Entry{})
		}
		i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"})
		if err != nil || i.State != v1.InstanceState_INSTANCE_STATE_FAILED || i.Code != "TOO_MANY_RUNS" {
			t.Errorf("%s: it is %v (%s), %v", c.name, i.GetState(), i.GetCode(), err)
		}
	}
}
