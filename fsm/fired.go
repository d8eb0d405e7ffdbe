package fsm

import (
	"slices"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What became of a time: one event each.

// fill tells which time it is about.
func (f firingAt) fill(d *v1.EventData, s *schedule) string {
	d.Name, d.Workflow, d.Due, d.Lag = s.rec.Schedule, s.rec.Workflow, stamp(f.at), f.lag
	return s.subject()
}

// decided has a time be over: it waits no more, or, of one of the schedule's own that has come, those before it are over as well.
func (t *turn) decided(s *schedule, f firingAt, was *logv1.Firing) {
	rec := s.rec
	switch {
	case f.waited:
		rec.QueuedWall = slices.Delete(rec.QueuedWall, 0, 1)
	case !f.byHand:
		rec.AfterWall = max(rec.AfterWall, f.at)
		t.result.FiringLags = append(t.result.FiringLags, f.lag)
	}
	was.AtWall, was.Lag = f.at, f.lag
	rec.Recent = append(rec.Recent, was)
	if extra := len(rec.Recent) - recentFirings; extra > 0 {
		rec.Recent = slices.Delete(rec.Recent, 0, extra)
	}
	t.m.dirtySchedule(s)
}

// scheduleFired tells of an instance that was started.
type scheduleFired struct {
	s       *schedule
	firing  firingAt
	id      string
	version int32
}

func (e *scheduleFired) kind() string { return "lockstep.schedule.fired.v1" }
func (e *scheduleFired) fill(d *v1.EventData) string {
	d.InstanceId, d.Version = e.id, e.version
	return e.firing.fill(d, e.s)
}
func (e *scheduleFired) evolve(t *turn) {
	t.decided(e.s, e.firing, &logv1.Firing{Outcome: v1.FiringOutcome_FIRING_OUTCOME_STARTED, InstanceId: e.id})
	e.s.rec.Started++
	if e.s.rec.Overlap != v1.Overlap_OVERLAP_ALLOW {
		e.s.rec.Running = e.id
	}
}

// scheduleQueued has a time wait for what runs.
type scheduleQueued struct {
	s      *schedule
	firing firingAt
}

func (e *scheduleQueued) kind() string                { return "lockstep.schedule.queued.v1" }
func (e *scheduleQueued) fill(d *v1.EventData) string { return e.firing.fill(d, e.s) }
func (e *scheduleQueued) evolve(t *turn) {
	t.decided(e.s, e.firing, &logv1.Firing{Outcome: v1.FiringOutcome_FIRING_OUTCOME_QUEUED})
	e.s.rec.QueuedWall = append(e.s.rec.QueuedWall, e.firing.at)
}

// scheduleSkipped starts nothing for a time.
type scheduleSkipped struct {
	s      *schedule
	firing firingAt
	code   string
}

func (e *scheduleSkipped) kind() string { return "lockstep.schedule.skipped.v1" }
func (e *scheduleSkipped) fill(d *v1.EventData) string {
	d.Code = e.code
	return e.firing.fill(d, e.s)
}
func (e *scheduleSkipped) evolve(t *turn) {
	t.decided(e.s, e.firing, &logv1.Firing{Outcome: v1.FiringOutcome_FIRING_OUTCOME_SKIPPED, Code: e.code})
	e.s.rec.Skipped++
}

// scheduleFailed tells why an instance could not be started.
type scheduleFailed struct {
	s      *schedule
	firing firingAt
	code   v1.Code
	reason string
}

func (e *scheduleFailed) codeName() string { return e.code.String()[len("CODE_"):] }

func (e *scheduleFailed) kind() string { return "lockstep.schedule.failed.v1" }
func (e *scheduleFailed) fill(d *v1.EventData) string {
	d.Code, d.Reason = e.codeName(), e.reason
	return e.firing.fill(d, e.s)
}
func (e *scheduleFailed) evolve(t *turn) {
	t.decided(e.s, e.firing, &logv1.Firing{Outcome: v1.FiringOutcome_FIRING_OUTCOME_FAILED, Code: e.codeName(), Reason: e.reason})
	e.s.rec.Failed++
}

// scheduleMissed tells of times that came too late to be caught up with: how many, and the last of them.
type scheduleMissed struct {
	s      *schedule
	firing firingAt
	count  int32
}

func (e *scheduleMissed) kind() string { return "lockstep.schedule.missed.v1" }
func (e *scheduleMissed) fill(d *v1.EventData) string {
	d.Count = e.count
	return e.firing.fill(d, e.s)
}
func (e *scheduleMissed) evolve(t *turn) {
	t.decided(e.s, e.firing, &logv1.Firing{Outcome: v1.FiringOutcome_FIRING_OUTCOME_MISSED, Count: e.count})
	e.s.rec.Missed += int64(e.count)
}
