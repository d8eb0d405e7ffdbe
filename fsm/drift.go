package fsm

import (
	"fmt"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Drift is how what a reporter has observed of a run differs from what is recorded of it. An observation is about a moment: what is
// recorded later than that is not contradicted by it. So of what may go on, only an observation that is newer than the run's last change
// can be drift; a completion stays one, and is compared whenever it was seen. An observation is not from later than when it was received,
// whatever the reporter's clock says. By both, what agrees is never made drift by what happens here later: whatever may be drift was so, or
// had no instance, when it was told, and is in the order of what is open.

// recorded is what is known here of a run.
type recorded struct {
	known   bool // there is such a run
	state   v1.RunState
	output  *v1.Payload // of a completed one
	changed int64       // when it came to be so, in unix nanoseconds
}

// observed is what was seen of it elsewhere.
type observed struct {
	state      v1.ObservedState
	output     *v1.Payload
	at         int64
	executions int // how many completed, beside those that were settled
}

// driftOf tells how an observation differs from what is recorded. It is a function of both alone: docs/reconciliation.md has it as a table.
func driftOf(o *observed, r *recorded) v1.DriftClass {
	if !r.known {
		if o.state == v1.ObservedState_OBSERVED_STATE_ABSENT {
			return v1.DriftClass_DRIFT_CLASS_UNSPECIFIED
		}
		return v1.DriftClass_DRIFT_CLASS_ORPHAN
	}
	completed := r.state == v1.RunState_RUN_STATE_COMPLETED
	switch newer := o.at > r.changed; {
	case o.state == v1.ObservedState_OBSERVED_STATE_COMPLETED:
		return driftOfDone(o, r)
	case !newer:
	case o.state == v1.ObservedState_OBSERVED_STATE_ABSENT && (completed || r.state == v1.RunState_RUN_STATE_LEASED):
		return v1.DriftClass_DRIFT_CLASS_MISSING
	case (o.state == v1.ObservedState_OBSERVED_STATE_PENDING || o.state == v1.ObservedState_OBSERVED_STATE_RUNNING) && completed:
		return v1.DriftClass_DRIFT_CLASS_BEHIND
	case o.state == v1.ObservedState_OBSERVED_STATE_RUNNING && r.state != v1.RunState_RUN_STATE_LEASED:
		return v1.DriftClass_DRIFT_CLASS_AHEAD
	case o.state == v1.ObservedState_OBSERVED_STATE_FAILED && completed:
		return v1.DriftClass_DRIFT_CLASS_CONFLICTING
	case o.state == v1.ObservedState_OBSERVED_STATE_FAILED && !ended(r.state):
		return v1.DriftClass_DRIFT_CLASS_AHEAD
	}
	return v1.DriftClass_DRIFT_CLASS_UNSPECIFIED
}

// driftOfDone is driftOf where the other system has completed the run.
func driftOfDone(o *observed, r *recorded) v1.DriftClass {
	switch {
	case o.executions > 1:
		return v1.DriftClass_DRIFT_CLASS_DUPLICATE
	case !ended(r.state):
		return v1.DriftClass_DRIFT_CLASS_AHEAD
	case r.state != v1.RunState_RUN_STATE_COMPLETED || !samePayload(o.output, r.output):
		return v1.DriftClass_DRIFT_CLASS_CONFLICTING
	}
	return v1.DriftClass_DRIFT_CLASS_UNSPECIFIED
}

// drifted is an observation beside the run that it is about.
type drifted struct {
	rec   *logv1.Observation
	i     *instance // nil: there is none
	at    at        // if the run is known
	own   recorded
	class v1.DriftClass
}

// compare sets an observation beside what is recorded.
func (m *Machine) compare(ns *namespace, i *instance, rec *logv1.Observation) *drifted {
	d := &drifted{rec: rec, i: i}
	if i != nil {
		at, refusal := i.named(rec.Step, rec.Index)
		if refusal == nil && i.run(at).State != unbegun {
			r := i.run(at)
			d.at, d.own = at, recorded{known: true, state: r.State, changed: r.ChangedWall}
		}
	}
	o := observed{state: rec.State, at: min(rec.ObservedWall, rec.ReceivedWall), executions: len(rec.Executions)}
	if n := int(rec.SettledExecutions); n > 1 {
		o.executions -= n - 1
	}
	if rec.State == v1.ObservedState_OBSERVED_STATE_COMPLETED && d.own.state == v1.RunState_RUN_STATE_COMPLETED {
		var err error
		d.own.output, err = i.payload(m.engine, d.at, roleOutput)
		must(err)
		o.output = m.observedOutput(ns, rec)
	}
	d.class = driftOf(&o, &d.own)
	return d
}

// settled: a plan has settled drift of this class.
func (d *drifted) settled() bool {
	return d.rec.Settled != 0 && d.rec.Settled != v1.ReconcileAction_RECONCILE_ACTION_INCIDENT && d.rec.SettledDrift == d.class
}

// raised: a plan has left drift of this class to a person.
func (d *drifted) raised() bool {
	return d.rec.Settled == v1.ReconcileAction_RECONCILE_ACTION_INCIDENT && d.rec.SettledDrift == d.class
}

// open: it is drift, and not settled.
func (d *drifted) open() bool {
	return d.class != v1.DriftClass_DRIFT_CLASS_UNSPECIFIED && !d.settled()
}

// cannot says why an action cannot be taken; empty when it can.
func (d *drifted) cannot(action v1.ReconcileAction) string {
	switch action {
	case v1.ReconcileAction_RECONCILE_ACTION_ADOPT:
		return d.cannotAdopt()
	case v1.ReconcileAction_RECONCILE_ACTION_RERUN:
		return d.cannotRerun()
	case v1.ReconcileAction_RECONCILE_ACTION_COMPENSATE:
		return d.cannotCompensate()
	}
	return ""
}

// cannotAdopt: a run is given the end that was observed only while it has none, and could be given it by hand.
func (d *drifted) cannotAdopt() string {
	switch fails := d.rec.State == v1.ObservedState_OBSERVED_STATE_FAILED; {
	case d.class != v1.DriftClass_DRIFT_CLASS_AHEAD:
		return "only what is AHEAD can be adopted; what has ended here stays as it is"
	case d.rec.State != v1.ObservedState_OBSERVED_STATE_COMPLETED && !fails:
		return "there is no end yet to adopt"
	case !d.i.live():
		return "the instance has ended"
	case fails && (isCompensation(d.i.step(d.at)) || !d.i.wanted(d.at)):
		return "the run cannot fail any more"
	case d.own.state == v1.RunState_RUN_STATE_PENDING:
		return "the run waits for what it needs"
	case d.own.state == v1.RunState_RUN_STATE_WAITING:
		return "the run waits, and no worker is to end it"
	}
	return ""
}

// cannotRerun: what has ended is not done again in the same instance.
func (d *drifted) cannotRerun() string {
	switch {
	case d.class != v1.DriftClass_DRIFT_CLASS_AHEAD && d.class != v1.DriftClass_DRIFT_CLASS_MISSING:
		return "only what is AHEAD or MISSING can be done again"
	case ended(d.own.state):
		return "the run has ended; reset the instance to the step, or fork it from there, to have it done again"
	case !d.i.live() || !d.i.goesOn(d.at):
		return "nothing of the instance is begun any more"
	case d.own.state == v1.RunState_RUN_STATE_WAITING:
		return "the run waits, and no worker does it"
	}
	return ""
}

func (d *drifted) cannotCompensate() string {
	switch {
	case !d.own.known:
		return "there is no run to compensate"
	case d.i.rec.State != v1.InstanceState_INSTANCE_STATE_RUNNING:
		return fmt.Sprintf("the instance is %s", stateName(d.i.rec.State))
	case !d.i.graph.Compensable():
		return "the workflow has no compensations"
	case d.i.step(d.at).Scope > 0 || isCompensation(d.i.step(d.at)):
		return "the step is inside another, or undoes one"
	case len(d.i.still(0)) > 0:
		return "something that undoes a step stands still"
	}
	return ""
}

// describe says what differs, in a sentence.
func (d *drifted) describe() string {
	of := fmt.Sprintf("step %q of instance %q", d.rec.Step, d.rec.InstanceId)
	if d.rec.InstanceId == "" {
		of = fmt.Sprintf("step %q of an instance with the key %s=%s", d.rec.Step, d.rec.Key.GetName(), d.rec.Key.GetValue())
	}
	saw := fmt.Sprintf("Reporter %q has seen %s as %s", d.rec.Reporter, of, observedName(d.rec.State))
	switch {
	case d.class == v1.DriftClass_DRIFT_CLASS_DUPLICATE:
		return fmt.Sprintf("%s by %d executions.", saw, len(d.rec.Executions))
	case !d.own.known:
		return saw + ", and there is no such run."
	case d.class == v1.DriftClass_DRIFT_CLASS_CONFLICTING && d.own.state == v1.RunState_RUN_STATE_COMPLETED && d.rec.State == v1.ObservedState_OBSERVED_STATE_COMPLETED:
		return saw + ", with another output than that of the accepted completion."
	}
	return fmt.Sprintf("%s, and it is %s.", saw, runStateName(d.own.state))
}

func observedName(s v1.ObservedState) string { return s.String()[len("OBSERVED_STATE_"):] }
func actionName(a v1.ReconcileAction) string { return a.String()[len("RECONCILE_ACTION_"):] }
func driftName(c v1.DriftClass) (name string) {
	if c != v1.DriftClass_DRIFT_CLASS_UNSPECIFIED {
		name = c.String()[len("DRIFT_CLASS_"):]
	}
	return name
}
