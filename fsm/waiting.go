package fsm

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Runs that no worker takes are WAITING, whatever they wait for. This is the one place that tells waits apart, by what ends
// them: a signal (signal.go), a time (timer.go), somebody's word (approval.go), another instance (depend.go) or one that is called
// (call.go), others at the same barrier (barrier.go), or what is inside them (body.go). The first of a race ends the others (race.go).

// await has a run wait for what its step says, unless that is there already: it tells whether the run has ended with it.
func (t *turn) await(i *instance, at at) (over bool) {
	switch i.step(at).Kind {
	case graph.KindSignal:
		return t.awaitSignal(i, at)
	case graph.KindTimer:
		return t.awaitTimer(i, at)
	case graph.KindApproval:
		t.emit(&runWaiting{i: i, at: at})
		return false
	case graph.KindCall:
		return t.awaitCall(i, at)
	case graph.KindAwait:
		return t.awaitInstance(i, at)
	case graph.KindBarrier:
		return t.awaitBarrier(i, at)
	default:
		return t.awaitBody(i, at)
	}
}

// explainWaiting says what a run waits for, and until when.
func (m *Machine) explainWaiting(i *instance, at at, e *v1.Explanation) {
	r, n := i.run(at), i.step(at)
	switch n.Kind {
	case graph.KindSignal:
		e.Code, e.Missing = v1.ExplainCode_EXPLAIN_CODE_SIGNAL_PENDING, []string{n.Signal}
		e.Sentence = fmt.Sprintf("Step %q waits for the signal %q to this instance%s.", n.ID, n.Signal, sayKeys(i.rec.Keys))
	case graph.KindTimer:
		e.Code = v1.ExplainCode_EXPLAIN_CODE_TIMER_PENDING
		if r.TimerDate == 0 {
			e.Sentence = fmt.Sprintf("Step %q waits for its timer, which fires in %s.", n.ID, e.NextIn.AsDuration().Round(time.Millisecond))
			return
		}
		e.NextIn = durationpb.New(elapsed(m.group.Wall, r.TimerDate))
		e.Sentence = fmt.Sprintf("Step %q waits for its date, which comes in %s.", n.ID, e.NextIn.AsDuration().Round(time.Second))
	case graph.KindCall, graph.KindAwait:
		m.explainDependency(i, at, e)
	case graph.KindBarrier:
		m.explainBarrier(i, at, e)
	case graph.KindScope, graph.KindForEach, graph.KindLoop:
		m.explainBody(i, at, e)
	default:
		e.Code = v1.ExplainCode_EXPLAIN_CODE_APPROVAL_PENDING
		e.Sentence = fmt.Sprintf("Step %q waits until somebody approves or rejects it.", n.ID)
		if n.Role != "" {
			e.Missing = []string{n.Role}
			e.Sentence = fmt.Sprintf("Step %q waits until somebody of %q approves or rejects it.", n.ID, n.Role)
		}
	}
}

// sayKeys says by which keys an instance is found.
func sayKeys(keys []*logv1.Pair) (text string) {
	for _, p := range keys {
		text += fmt.Sprintf(", or by the key %s=%s", p.Key, p.Value)
	}
	return text
}

// runWaiting has a run wait. Of a timer it says when that fires: in uptime, or at a date.
type runWaiting struct {
	i     *instance
	at    at
	fires int64
	date  int64
	input *v1.Payload // of a forEach: the list; of a call: what it is given
	// The instance that it waits for, and which step of it; or the barrier, and how many parties that has.
	other, step string
	parties     int64
}

func (e *runWaiting) kind() string { return "lockstep.step.waiting.v1" }
func (e *runWaiting) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	switch n := e.i.step(e.at); n.Kind {
	case graph.KindSignal:
		d.Name = n.Signal
	case graph.KindTimer:
		d.Code, d.Delay, d.Due = "TIMER", n.After, stamp(e.date)
	case graph.KindApproval:
		d.Code, d.Name = "APPROVAL", n.Role
	case graph.KindCall:
		d.Code, d.OtherInstance, d.Name = "CALL", e.other, n.Call.Workflow
	case graph.KindAwait:
		if d.Code, d.OtherInstance, d.OtherStep = "INSTANCE", e.other, e.step; n.AwaitsKey != "" {
			d.Code, d.OtherInstance, d.KeyName, d.KeyValue, d.Count = "KEY", "", n.AwaitsKey, e.other, int32(n.AwaitsCount)
		}
	case graph.KindBarrier:
		d.Code, d.Name, d.Count = "BARRIER", e.other, int32(e.parties)
	default:
		d.Code = "BODY"
	}
	return e.i.subject()
}
func (e *runWaiting) evolve(t *turn) {
	n := e.i.step(e.at)
	t.m.change(e.i, e.at, func(r *run) {
		r.State, r.ChangedWall = v1.RunState_RUN_STATE_WAITING, t.wall()
		if n.Kind == graph.KindTimer {
			r.TimerAt, r.TimerDate = e.fires, e.date
			return
		}
		r.TotalDeadline = after(t.uptime(), n.Timeouts.Total)
		switch {
		case dependent(n.Kind):
			r.Other, r.OtherStep, r.Todo = e.other, e.step, t.m.nextTodo()
		case n.Kind == graph.KindBarrier:
			r.comes(e.other, e.parties, t.m.nextTodo())
		}
	})
	if e.input != nil {
		t.m.setPayload(e.i, e.at, roleInput, e.input)
	}
}
