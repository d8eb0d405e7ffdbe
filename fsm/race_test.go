package fsm

import (
	"fmt"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The first to complete ends the others, and what hangs on those is skipped with them; the step that races them goes on.
func TestTheFirstOfARaceSkipsTheOthers(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  paid: {signal: {name: paid}}
  late: {timer: {after: 5s}}
  said: {approval: {role: boss}}
  far: {needs: [pack], timer: {after: 1s}}
  pack: {queue: q}
  ship: {race: [paid, late, said, far], queue: q, when: "has(steps.paid.output)"}
  remind: {needs: [late], queue: q}
`)
		r.start("w", "i", `{}`)
		r.start("w", "j", `{}`)
		r.midway()
		got := r.tell(signalOf("i", "paid"))
		want := "[signal.received signal.delivered paid step.completed paid step.skipped late step.skipped said step.skipped far step.ready ship step.skipped remind]"
		if fmt.Sprint(kinds(got)) != want {
			r.t.Fatalf("paid in time: %v", kinds(got))
		}
		if e := got.Events()[3].Data; e.Code != "RACE_LOST" || e.Reason != "step paid completed first" {
			r.t.Fatalf("skipped as %v", e)
		}
		r.midway()
		r.tick(5 * second)
		r.is("i", "RUNNING paid=COMPLETED late=SKIPPED said=SKIPPED far=SKIPPED pack=READY ship=READY remind=SKIPPED")
		r.is("j", "RUNNING paid=SKIPPED late=COMPLETED said=SKIPPED far=SKIPPED pack=READY ship=SKIPPED remind=READY")
		worker := r.session(60 * second)
		for _, run := range r.poll(worker, "q", 9) {
			r.complete(run, `{}`)
		}
		r.is("i", "COMPLETED paid=COMPLETED late=SKIPPED said=SKIPPED far=SKIPPED pack=COMPLETED ship=COMPLETED remind=SKIPPED")
		r.is("j", "COMPLETED paid=SKIPPED late=COMPLETED said=SKIPPED far=SKIPPED pack=COMPLETED ship=SKIPPED remind=COMPLETED")
	})
}

// Who wins when several could in one entry is settled: a command goes before the tick; of a tick what is due by uptime goes
// before dates, and each in the order of its times; what is equal goes in the order of the definition.
func TestARaceInOneEntryHasAnOrder(t *testing.T) {
	const newYearDate = `{until: "2030-01-01T00:00:00Z"}`
	for _, c := range []struct{ name, steps, winner string }{
		{"the earlier timer", "a: {timer: {after: 3s}}, b: {timer: {after: 2s}}", "b"},
		{"timers that are equal", "b: {timer: {after: 2s}}, a: {timer: {after: 2s}}", "b"},
		{"uptime before a date", "a: {timer: " + newYearDate + "}, b: {timer: {after: 4s}}", "b"},
		{"the earlier date", `a: {timer: {until: "2030-01-01T00:00:01Z"}}, b: {timer: ` + newYearDate + "}", "b"},
		{"dates that are equal", "b: {timer: " + newYearDate + "}, a: {timer: " + newYearDate + "}", "b"},
		{"a signal before the tick", "a: {timer: {after: 1s}}, b: {signal: {name: go}}", "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			scenario(t, func(r *rig) {
				r.register("workflow: w\nsteps: {" + c.steps + ", c: {race: [a, b], queue: q}}\n")
				r.wall = newYear - 2*second
				r.start("w", "i", `{}`)
				r.midway()
				r.elapsed, r.wall = r.elapsed+5*second, r.wall+5*second
				r.due = r.elapsed
				if strings.Contains(c.steps, "signal") {
					r.tell(signalOf("i", "go"))
				} else {
					r.apply(&logv1.Entry{})
				}
				if got := r.state("i"); !strings.Contains(got, c.winner+"=COMPLETED") || strings.Count(got, "SKIPPED") != 1 || !strings.Contains(got, "c=READY") {
					r.t.Fatal(got)
				}
			})
		})
	}
}

// Waits that are over as they begin: the first in the definition wins, and the others are not begun.
func TestARaceThatIsOverAsItBegins(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {queue: q}
  z: {needs: [a], timer: {until: "2029-01-01T00:00:00Z"}}
  b: {needs: [a], signal: {name: go}}
  c: {race: [b, z], queue: q}
`)
		r.wall = newYear
		r.start("w", "i", `{}`)
		r.tell(signalOf("i", "go"))
		run := r.poll(r.session(60*second), "q", 1)[0]
		got := r.tell(&logv1.Command{Body: &logv1.Command_CompleteStep{CompleteStep: &v1.CompleteStepRequest{InstanceId: "i", Step: "a", Token: run.Token}}})
		if want := "[step.completed a step.waiting z timer.fired z step.completed z step.skipped b step.ready c]"; fmt.Sprint(kinds(got)) != want {
			r.t.Fatalf("got %v", kinds(got))
		}
		r.midway()
	})
}

// A race whose waits are all skipped is none, and one that failed fails the instance.
func TestARaceWithoutAWinner(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(`
workflow: w
steps:
  a: {when: "input.n > 1", signal: {name: a}}
  b: {when: "input.n > 0", signal: {name: b}, timeouts: {total: 5s}}
  c: {race: [a, b], queue: q}
`)
		r.start("w", "none", `{"n":0}`)
		r.is("none", "COMPLETED a=SKIPPED b=SKIPPED c=SKIPPED")
		r.start("w", "one", `{"n":1}`)
		r.midway()
		r.tick(5 * second)
		r.is("one", "FAILED(TIMEOUT_TOTAL) a=SKIPPED b=FAILED c=CANCELLED")
	})
}
