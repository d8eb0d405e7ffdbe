package fsm

import (
	"fmt"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// newYear is 2030-01-01T00:00:00Z.
const newYear = 1_893_456_000 * second

// A timer fires when its time of uptime has passed, by a tick, and tells how late that was.
func TestATimerFiresAfterItsTime(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {timer: {after: 5s}}\n  b: {needs: [a], timer: {after: 1s}}\n")
		r.tick(3 * second)
		r.start("w", "i", `{}`)
		if e := r.why("i", "a"); e.Code != v1.ExplainCode_EXPLAIN_CODE_TIMER_PENDING || e.NextIn.AsDuration() != 5e9 {
			r.t.Fatalf("explained as %v", e)
		}
		r.tick(5*second - 1)
		r.midway()
		r.is("i", "RUNNING a=WAITING b=PENDING")
		if got := kinds(r.tick(1)); fmt.Sprint(got) != "[timer.fired a step.completed a step.waiting b]" {
			r.t.Fatalf("at its time: %v", got)
		}
		r.midway()
		late := r.tick(3 * second)
		if fired := late.Events()[0]; fired.Type != "lockstep.timer.fired.v1" || fired.Data.Lag != 2*second || fmt.Sprint(late.Lags) != fmt.Sprint([]int64{2 * second}) {
			r.t.Fatalf("two seconds late: %v, lags %v", fired, late.Lags)
		}
		r.is("i", "COMPLETED a=COMPLETED b=COMPLETED")
		if c := r.m.Clock(); c.Deadline != 0 {
			r.t.Fatalf("something is left that is due: %+v", c)
		}
	})
}

const onADate = "workflow: w\nsteps:\n  a: {timer: {until: \"${input.on}\"}}\n  b: {needs: [a], queue: q}\n"

// A date is one of wall time: what uptime says of it does not count, and wall time that leaps ahead passes it.
func TestATimerFiresAtItsDate(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(onADate)
		r.wall = newYear - 10*second
		r.start("w", "i", `{"on":"2030-01-01T01:00:00+01:00"}`)
		if e := r.why("i", "a"); e.Code != v1.ExplainCode_EXPLAIN_CODE_TIMER_PENDING || e.NextIn.AsDuration() != 10e9 {
			r.t.Fatalf("explained as %v", e)
		}
		if c := r.m.Clock(); c.Deadline != c.Uptime+10*second {
			r.t.Fatalf("the next deadline is %d at uptime %d", c.Deadline, c.Uptime)
		}
		r.tick(9*second + 999_000_000)
		r.midway()
		if c := r.m.Clock(); c.Deadline != c.Uptime+dateGap {
			r.t.Fatalf("near the date the next deadline is %d at uptime %d", c.Deadline, c.Uptime)
		}
		r.wall -= 3600 * second
		r.tick(1800 * second) // by this leader's clock it is half an hour earlier
		r.is("i", "RUNNING a=WAITING b=PENDING")
		r.wall = newYear + 60*second
		leap := r.tick(0)
		if got := kinds(leap); fmt.Sprint(got) != "[timer.fired a step.completed a step.ready b]" || leap.Events()[0].Data.Lag != 60*second {
			r.t.Fatalf("a minute later: %v", leap.Events())
		}
		if due := leap.Events()[0].Data.Due; due.AsTime().UnixNano() != newYear {
			r.t.Fatalf("it was due %v", due.AsTime())
		}
	})
}

// A date in the past fires at once, and is not late: it was due before anybody waited for it.
func TestADateThatHasPassedFiresAtOnce(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(onADate)
		r.wall = newYear
		for n, on := range []string{"2030-01-01T00:00:00Z", "1999-12-31T23:59:59.5Z", "1969-07-20T20:17:40Z"} {
			id := fmt.Sprint("i", n)
			begun := r.tell(startOf("w", id, fmt.Sprintf(`{"on":%q}`, on)))
			if got := kinds(begun); fmt.Sprint(got) != "[instance.started step.waiting a timer.fired a step.completed a step.ready b]" {
				r.t.Fatalf("%s: %v", on, got)
			}
			if lag := begun.Events()[2].Data.Lag; lag != 0 {
				r.t.Fatalf("%s: told as %d late", on, lag)
			}
		}
	})
}

// Until a leader has trusted its clock nobody knows the date, so none has passed.
func TestWithoutATimeOfDayNoDateHasCome(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(onADate)
		r.start("w", "i", `{"on":"1999-01-01T00:00:00Z"}`)
		r.tick(5 * second)
		r.midway()
		r.is("i", "RUNNING a=WAITING b=PENDING")
		r.wall = newYear
		r.tick(0)
		r.is("i", "RUNNING a=COMPLETED b=READY")
	})
}

// What is no date is an incident, as with every expression, and the step fails in the end.
func TestWhatIsNoDateIsAnIncident(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(onADate)
		r.wall = newYear
		for n, c := range []struct{ input, why string }{
			{`{"on":"tomorrow"}`, "DATE_INVALID"}, {`{"on":7}`, "TYPE_MISMATCH"}, {`{}`, "MISSING_FIELD"}, {`{"on":"2300-01-01T00:00:00Z"}`, "DATE_INVALID"},
		} {
			id := fmt.Sprint("i", n)
			r.start("w", id, c.input)
			r.is(id, "RUNNING a=INCIDENT b=PENDING")
			if e := r.why(id, "a"); e.Code != v1.ExplainCode_EXPLAIN_CODE_INCIDENT || !strings.Contains(e.Sentence, "TIMER_INVALID") || !strings.Contains(e.Sentence, c.why) {
				r.t.Errorf("%s: explained as %v", c.input, e)
			}
		}
		r.midway()
		r.tick(30 * 86400 * second)
		r.is("i0", "FAILED(TIMEOUT_TOTAL) a=FAILED b=CANCELLED")
	})
}

// A tick overtakes nothing that the leader has in hand, and one of another term fires nothing.
func TestATimerWaitsForItsTick(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {timer: {after: 5s}}\n  b: {timer: {until: \"2030-01-01T00:00:00Z\"}}\n")
		r.wall = newYear - 5*second
		r.start("w", "i", `{}`)
		r.elapsed, r.wall = r.elapsed+6*second, r.wall+6*second
		r.due = r.elapsed - 1500*second/1000
		r.apply(&logv1.Entry{})
		r.midway()
		r.is("i", "RUNNING a=WAITING b=WAITING")
		r.at(2, &logv1.Header{Term: 1, Elapsed: 99 * second, Due: 99 * second, Wall: newYear + 99*second})
		r.is("i", "RUNNING a=WAITING b=WAITING")
		r.at(2, &logv1.Header{Term: 2})
		r.is("i", "COMPLETED a=COMPLETED b=COMPLETED")
	})
}

// A tick does a thousand things, and what is left is due at once.
func TestManyTimersAtOnce(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a: {timer: {until: \"2030-01-01T00:00:00Z\"}}\n")
	r.wall = newYear - second
	for n := range expirations + 1 {
		r.start("w", fmt.Sprint("i", n), `{}`)
	}
	if fired := len(r.tick(second).Lags); fired != expirations {
		r.t.Fatalf("%d timers fired in a tick", fired)
	}
	if c := r.m.Clock(); c.Deadline == 0 || c.Deadline > c.Uptime {
		r.t.Fatalf("one is left, and the next deadline is %d at uptime %d", c.Deadline, c.Uptime)
	}
	if fired := len(r.tick(0).Lags); fired != 1 {
		r.t.Fatalf("%d timers fired in the tick behind it", fired)
	}
}

// Timers go with their instance, and with their namespace.
func TestTimersThatNobodyWaitsForAreGone(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\ntimeouts: {total: 1h}\nsteps:\n  a: {timer: {after: 5s}}\n  b: {timer: {until: \"2030-01-01T00:00:00Z\"}}\n")
		r.wall = newYear - 5*second
		r.start("w", "i", `{}`)
		r.do(&logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "i"}}})
		if r.midway(); r.m.deadlines.order.Len()+r.m.dates.Len() > 0 {
			r.t.Fatalf("behind a cancellation: %s", dump(r.m))
		}
		r.do(&logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}})
		workflow, _ := r.m.GetWorkflow(&v1.GetWorkflowRequest{Workflow: "w"})
		in := &logv1.Envelope{Namespace: "n"}
		v, _ := r.m.namespaces[DefaultNamespace].version("w", 1)
		r.do(&logv1.Command{Envelope: in, Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: "w", Digest: workflow.Digest, Graph: v.rec.Graph}}})
		r.do(&logv1.Command{Envelope: in, Body: startOf("w", "j", `{}`).Body})
		if r.midway(); r.m.deadlines.order.Len() != 2 || r.m.dates.Len() != 1 {
			r.t.Fatalf("in the other namespace: %s", dump(r.m))
		}
		r.do(&logv1.Command{Envelope: in, Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n", Force: true}}})
		if r.midway(); r.m.deadlines.order.Len()+r.m.dates.Len() > 0 {
			r.t.Fatalf("behind the namespace: %s", dump(r.m))
		}
		r.tick(3600 * second)
	})
}

// ofLevel: a definition is proposed from a level on, and a cluster of the level before refuses it.
func ofLevel(t *testing.T, yaml string, level uint32) {
	t.Helper()
	r := newRig(t)
	r.register(yaml)
	v, _ := r.m.namespaces[DefaultNamespace].version("w", 1)
	old := newRig(t)
	old.m.group.Level = level - 1
	command := &logv1.Command{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: "w", Digest: v.rec.Digest, Graph: v.rec.Graph}}}
	if got := LevelOf(command); got != level {
		t.Errorf("%s: it is proposed from level %d on", yaml, got)
	}
	_, refusal := old.do(command)
	if refusal.GetCode() != v1.Code_CODE_WORKFLOW_INVALID || refusal.Reason != `the definition of workflow "w" does not compile, or is not what its digest says` {
		t.Errorf("%s: %v", yaml, refusal)
	}
}

// A cluster of the level before refuses the second edition of the language, with the words of the version before it.
func TestAnOlderLevelTakesNoTimers(t *testing.T) {
	for _, yaml := range []string{
		"workflow: w\nsteps:\n  a: {timer: {after: 5s}}\n", "workflow: w\nsteps:\n  a: {approval: {}}\n", "workflow: w\ntimeouts: {total: 1h}\nsteps: {a: }\n",
		"workflow: w\nsteps:\n  a: {signal: {name: a}}\n  b: {signal: {name: b}}\n  c: {race: [a, b]}\n",
	} {
		ofLevel(t, yaml, waitsLevel)
	}
	for _, c := range []*logv1.Command{approve("i", "a", ""), reject("i", "a", "")} {
		if level := LevelOf(c); level != waitsLevel {
			t.Errorf("%T is proposed from level %d on", c.Body, level)
		}
	}
}
