package fsm

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// While an instance is paused nothing new of it is begun, skipped by itself, or leased, and no instance is called; nor is anything undone
// that is not leased. All else goes on: what is leased ends as it does, timers fire, signals and decisions are taken, what takes too long
// fails, and it can be cancelled. So what follows from an end is counted where it comes to be, and what would be begun by that is postponed,
// as where an entry has done its share (work.go), and is held until the instance is resumed: it is not among what is to be done. What is
// ready keeps its order, and is not in its queue: so it stands before nobody, neither there nor at a lock, and the time that it may wait for a
// worker, or for locks, begins anew when the instance is resumed. A pause is over with its instance, whatever that comes to before.

// operateLevel is the cluster level from which on somebody can pause an instance, and take the place of what moves its runs.
const operateLevel = 19

func (i *instance) paused() bool { return i.rec.Pause != nil }

// hold has the place of a run be that of one whose instance is paused.
func (p *place) hold(r *run, calls bool) {
	switch {
	case r.State == v1.RunState_RUN_STATE_READY && !plant.Is(plant.PauseLeases):
		p.held, p.due = true, r.TotalDeadline
	case r.State == v1.RunState_RUN_STATE_PENDING, calls && r.Stage == stageRuns:
		p.todo = 0
	}
}

// pauseInstance has nothing new of an instance begun or leased. Paused twice is answered as once: the first pause goes on.
func (t *turn) pauseInstance(r *v1.PauseInstanceRequest) (proto.Message, *Refusal) {
	i, refusal := t.instance(r.InstanceId)
	switch {
	case refusal != nil:
		return nil, refusal
	case !i.live():
		return nil, Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s; there is nothing to pause", r.InstanceId, stateName(i.rec.State))
	case i.paused():
		return &v1.PauseInstanceResponse{State: i.rec.State, Duplicate: true}, nil
	}
	var claims []at
	for at, r := range i.all() {
		if r.State == v1.RunState_RUN_STATE_READY && r.claimed() {
			claims = append(claims, at)
		}
	}
	t.emit(&instancePaused{i, r.Reason})
	for _, at := range claims {
		t.freeLocks(i, at, i.run(at).Token, false) // it stands before nobody any more
	}
	return &v1.PauseInstanceResponse{State: i.rec.State}, nil
}

// resumeInstance ends a pause. Of one that is not paused there is nothing to end.
func (t *turn) resumeInstance(r *v1.ResumeInstanceRequest) (proto.Message, *Refusal) {
	i, refusal := t.instance(r.InstanceId)
	switch {
	case refusal != nil:
		return nil, refusal
	case !i.live():
		return nil, Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s; a pause is over with that", r.InstanceId, stateName(i.rec.State))
	case !i.paused():
		return &v1.ResumeInstanceResponse{State: i.rec.State, Duplicate: true}, nil
	}
	t.emit(&instanceResumed{i, r.Reason})
	for at, run := range i.all() {
		if run.State == v1.RunState_RUN_STATE_READY {
			t.offer(i, at)
		}
	}
	return &v1.ResumeInstanceResponse{State: i.rec.State}, nil
}

// turnTo has an instance be paused, or not any more; what orders its runs follows, and fn changes those that are ready.
func (m *Machine) turnTo(i *instance, pause *logv1.Pause, fn func(at, *run)) {
	was := i.rec.Pause
	for at, r := range i.all() {
		if r.State != v1.RunState_RUN_STATE_READY && r.Todo == 0 || ended(r.State) {
			continue
		}
		i.rec.Pause = was
		m.change(i, at, func(r *run) {
			if i.rec.Pause = pause; r.State == v1.RunState_RUN_STATE_READY {
				fn(at, r)
			}
		})
	}
	i.rec.Pause = pause
	m.touch(i)
}

type instancePaused struct {
	i      *instance
	reason string
}

func (e *instancePaused) kind() string { return "lockstep.instance.paused.v1" }
func (e *instancePaused) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version, d.Reason = e.i.rec.InstanceId, e.i.rec.Workflow, e.i.rec.Version, e.reason
	return e.i.subject()
}
func (e *instancePaused) evolve(t *turn) {
	pause := &logv1.Pause{SinceWall: t.wall(), By: t.env.GetAuthor().GetPrincipal(), Reason: e.reason}
	t.m.turnTo(e.i, pause, func(_ at, r *run) {
		r.limitBy(0)
		r.Parked, r.RetryAt, r.LockDeadline, r.SkippedAt = "", 0, 0, 0
	})
}

type instanceResumed struct {
	i      *instance
	reason string
}

func (e *instanceResumed) kind() string { return "lockstep.instance.resumed.v1" }
func (e *instanceResumed) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version, d.Reason = e.i.rec.InstanceId, e.i.rec.Workflow, e.i.rec.Version, e.reason
	return e.i.subject()
}
func (e *instanceResumed) evolve(t *turn) {
	t.m.turnTo(e.i, nil, func(at at, r *run) { r.QueueDeadline = after(t.uptime(), e.i.step(at).Timeouts.Queue) })
}

// pauseReply is the pause of an instance; nil when it is not paused.
func (i *instance) pauseReply() *v1.Pause {
	if !i.paused() || !i.live() {
		return nil
	}
	p := i.rec.Pause
	return &v1.Pause{Since: stamp(p.SinceWall), By: p.By, Reason: p.Reason}
}

// explainPause says who paused an instance, and why.
func (i *instance) explainPause() *v1.Explanation {
	p := i.rec.Pause
	sentence := "The instance is paused"
	if p.By != "" {
		sentence += " by " + p.By
	}
	sentence += fmt.Sprintf(", and nothing new of it is begun or leased until it is resumed: %s", p.Reason)
	return &v1.Explanation{Code: v1.ExplainCode_EXPLAIN_CODE_PAUSED, Sentence: strings.TrimSuffix(sentence, ".") + "."}
}

// explainHeld says of a run that is held that it is, and of what else nothing.
func (i *instance) explainHeld(at at, e *v1.Explanation) (held bool) {
	r := i.run(at)
	switch begun := i.isCall(at) && r.State == v1.RunState_RUN_STATE_WAITING; {
	case !i.paused():
		return false
	case r.State == v1.RunState_RUN_STATE_READY:
		e.Sentence = fmt.Sprintf("Step %q is ready, and is in its queue again when the instance is resumed.", e.Step)
	case r.Todo > 0 && (r.State == v1.RunState_RUN_STATE_PENDING || begun && r.Stage == stageRuns):
		e.Sentence = fmt.Sprintf("Step %q waits for nothing else: it is decided on when the instance is resumed.", e.Step)
	default:
		return false
	}
	e.Code, e.NextIn = v1.ExplainCode_EXPLAIN_CODE_PAUSED, nil
	return true
}
