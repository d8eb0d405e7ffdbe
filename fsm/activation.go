package fsm

import (
	"slices"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What can fail, be undone and end is an activation: the instance, which is named by the whole, or a run with a body. Both go the same
// way. One that runs has its runs begun; a failure that no step needs, or a word from outside, has it stop: nothing of it is begun,
// and what is leased inside it is asked to stop. When nothing is leased any more it undoes what was completed inside it, and then it
// has failed, or is cancelled. Where activations are inside each other, the outermost that stops decides.

// stage is how far an activation is on that way.
type stage uint8

const (
	stageRuns stage = iota
	stageStops
	stageUndoes
	stageOver
)

func (i *instance) stage(owner at) stage {
	if owner != whole {
		r := i.run(owner)
		if ended(r.State) {
			return stageOver
		}
		return r.Stage
	}
	switch i.rec.State {
	case v1.InstanceState_INSTANCE_STATE_RUNNING, v1.InstanceState_INSTANCE_STATE_QUEUED:
		return stageRuns
	case v1.InstanceState_INSTANCE_STATE_FAILING, v1.InstanceState_INSTANCE_STATE_CANCELLING:
		return stageStops
	case v1.InstanceState_INSTANCE_STATE_COMPENSATING:
		return stageUndoes
	}
	return stageOver
}

// around calls fn with the activations that a run is in, from its own outwards, until it returns false.
func (i *instance) around(inner at, fn func(owner at) bool) {
	for inner != whole {
		inner = i.frame(inner).owner
		if !fn(inner) {
			return
		}
	}
}

// wanted: all that a run is in runs.
func (i *instance) wanted(run at) bool {
	if len(i.bodies) == 0 {
		return i.rec.State == v1.InstanceState_INSTANCE_STATE_RUNNING
	}
	all := true
	i.around(run, func(owner at) bool {
		all = i.stage(owner) == stageRuns
		return all
	})
	return all
}

// stopping is the outermost of an activation and those around it that stops: it waits for what is leased inside it to end, and wants
// nothing of that.
func (i *instance) stopping(inner at) (outermost at, is bool) {
	look := func(owner at) bool {
		if i.stage(owner) == stageStops {
			outermost, is = owner, true
		}
		return true
	}
	look(inner)
	i.around(inner, look)
	return outermost, is
}

// undoing is the activation around a run that undoes what was completed in it.
func (i *instance) undoing(run at) (undoer at) {
	i.around(run, func(owner at) bool {
		undoer = owner
		return i.stage(owner) != stageUndoes
	})
	return undoer
}

// undone: something that a run is in undoes what was completed inside it, or has.
func (i *instance) undone(run at) (is bool) {
	i.around(run, func(owner at) bool {
		is = i.stage(owner) >= stageUndoes
		return !is
	})
	return is
}

// busy: something inside an activation is leased, or being undone. What was called and is cancelled counts as being undone.
func (i *instance) busy(owner at) bool {
	inside := i.inside(owner)
	return inside.leased > 0 || inside.undoing > 0 || owner == whole && slices.ContainsFunc(i.leaving, i.leaves)
}

// failIn fails the activation that a run is in by the run's failure.
func (t *turn) failIn(i *instance, at at, code, reason string) {
	reason = "step " + i.step(at).ID + " failed: " + reason
	if owner := i.frame(at).owner; owner != whole {
		t.failBody(i, owner, code, reason)
		return
	}
	t.failInstance(i, code, reason)
}

// failBody has a run with a body fail.
func (t *turn) failBody(i *instance, owner at, code, reason string) {
	t.emit(&runStopping{i: i, at: owner, code: code, reason: reason})
	t.stopRuns(i, owner)
}

// runStopping has a run with a body stop, for it has failed, or what a run called.
type runStopping struct {
	i            *instance
	at           at
	code, reason string
}

func (e *runStopping) kind() string { return "lockstep.step.failing.v1" }
func (e *runStopping) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Code, d.Reason = e.code, e.reason
	return e.i.subject()
}
func (e *runStopping) evolve(t *turn) {
	t.m.change(e.i, e.at, func(r *run) {
		r.Stage, r.Code, r.Reason, r.ChangedWall = stageStops, e.code, e.reason, t.wall()
		r.TotalDeadline = 0 // it is over already, but for what must end first
		if e.i.isCall(e.at) {
			t.m.calledOff(r)
		}
	})
}

// stopRuns cancels what is not leased inside an activation, asks what is to stop, and ends the activation if nothing is. What waited
// behind its claims is woken when all of them are gone, or one of its own runs could be leased by that.
func (t *turn) stopRuns(i *instance, owner at) {
	var claims []at
	for at, r := range runsOf(i.below(owner)) {
		switch {
		case r.State == v1.RunState_RUN_STATE_LEASED:
			t.askToStop(i, at)
		case ended(r.State), isCompensation(i.step(at)), r.Stage == stageUndoes:
		case i.calls(at):
			t.stopCall(i, at)
		default:
			t.dropLapsed(i, at)
			parked := r.claimed()
			t.emit(&runEnded{i: i, at: at, to: v1.RunState_RUN_STATE_CANCELLED})
			if parked {
				claims = append(claims, at)
			}
		}
	}
	for _, at := range claims {
		t.freeLocks(i, at, i.run(at).Token, false)
	}
	if outermost, is := i.stopping(owner); is {
		t.endStopped(i, outermost)
	}
}

// endStopped ends an activation that stops, when nothing inside it is leased or being undone any more.
func (t *turn) endStopped(i *instance, owner at) {
	switch {
	case i.busy(owner):
	case owner != whole:
		r := i.run(owner)
		t.finish(i, owner, v1.InstanceState_INSTANCE_STATE_FAILED, r.Code, r.Reason)
	case i.rec.State == v1.InstanceState_INSTANCE_STATE_CANCELLING:
		t.finish(i, owner, v1.InstanceState_INSTANCE_STATE_CANCELLED, i.rec.Code, i.rec.Reason)
	default:
		t.finish(i, owner, v1.InstanceState_INSTANCE_STATE_FAILED, i.rec.Code, i.rec.Reason)
	}
}

// endIn goes on behind a run that has ended while something around it stops.
func (t *turn) endIn(i *instance, at at) {
	if outermost, is := i.stopping(i.frame(at).owner); is {
		t.endStopped(i, outermost)
	}
}

// failedBody ends a run with a body that has stopped, and is undone.
func (t *turn) failedBody(i *instance, owner at) {
	r := i.run(owner)
	if !i.wanted(owner) {
		t.emit(&runEnded{i: i, at: owner, to: v1.RunState_RUN_STATE_CANCELLED})
		t.endIn(i, owner)
		return
	}
	t.emit(&runEnded{i: i, at: owner, to: v1.RunState_RUN_STATE_FAILED, code: r.Code, reason: r.Reason})
	t.behindFailure(i, owner, r.Code, r.Reason)
}

// behindFailure goes on behind a run that has failed for good: a step may need that, or what the run is in fails by it.
func (t *turn) behindFailure(i *instance, at at, code, reason string) {
	if i.step(at).Takes(code) {
		t.advanceInstance(i, at)
		return
	}
	t.failIn(i, at, code, reason)
}
