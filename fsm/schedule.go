package fsm

import (
	"bytes"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A schedule starts instances at times. Which times those are it does not know: the state machine has neither cron nor time zones. The
// leader computes them, and proposes each when it has come (cluster/schedule.go); what becomes of a time is decided here (firing.go).

const (
	maxSchedules   = 1000 // of a namespace; all are resident
	maxScheduleLen = 200  // of a name, so that ids of instances have room for the time
	maxQueued      = 100
	defaultQueued  = 10
	defaultCatchUp = int64(time.Hour)
	recentFirings  = 10
	triggerAhead   = int64(time.Minute) // by how much the clock of who triggers may be ahead
	oneSecond      = int64(time.Second) // times are of whole seconds
)

// schedule is always resident.
type schedule struct {
	ns    *namespace
	rec   *logv1.Schedule
	dirty bool
}

func (ns *namespace) addSchedule(rec *logv1.Schedule) *schedule {
	s := &schedule{ns: ns, rec: rec}
	ns.schedules[rec.Schedule] = s
	ns.calendar = insertSorted(ns.calendar, rec.Schedule)
	return s
}

func (ns *namespace) schedule(name string) (*schedule, *Refusal) {
	if s := ns.schedules[name]; s != nil {
		return s, nil
	}
	return nil, Refuse(v1.Code_CODE_SCHEDULE_NOT_FOUND, "there is no schedule %q in namespace %s", name, ns.rec.Namespace)
}

// dirtySchedule has the next flush write a schedule, or delete its row when it is gone.
func (m *Machine) dirtySchedule(s *schedule) {
	m.planned++
	if !s.dirty {
		s.dirty = true
		m.dirty.schedules = append(m.dirty.schedules, s)
		m.dirtyBytes += 512 + len(s.rec.Input.GetBytes())
	}
}

// flushSchedule writes what its name stands for now: another schedule may have come in its place.
func (m *Machine) flushSchedule(b *table.Batch, s *schedule) {
	s.dirty = false
	k := m.room.key(tableSchedule, s.ns.rec.Namespace, s.rec.Schedule)
	if is := s.ns.schedules[s.rec.Schedule]; is != nil {
		b.Put(k, m.room.encode(is.rec))
		return
	}
	b.Delete(k)
}

// createSchedule makes a schedule. The same again finds the first; its times count from the entry on.
func (t *turn) createSchedule(r *v1.CreateScheduleRequest) (proto.Message, *Refusal) {
	rec := scheduleOf(r)
	if s := t.ns.schedules[r.Schedule]; s != nil {
		if !sameSchedule(s.rec, rec) {
			return nil, Refuse(v1.Code_CODE_SCHEDULE_EXISTS, "schedule %q exists and says something else: %q in %s, of workflow %s; delete it first", r.Schedule, s.rec.Cron, s.rec.Zone, s.rec.Workflow)
		}
		return s.reply(), nil
	}
	if refusal := t.checkSchedule(rec); refusal != nil {
		return nil, refusal
	}
	rec.CreatedWall, rec.AfterWall, rec.Position = t.wall(), t.wall(), t.ns.rec.Position+1
	t.emit(&scheduleCreated{rec})
	return t.ns.schedules[r.Schedule].reply(), nil
}

func scheduleOf(r *v1.CreateScheduleRequest) *logv1.Schedule {
	rec := &logv1.Schedule{
		Schedule: r.Schedule, Cron: r.Cron, Zone: r.Zone, Workflow: r.Workflow, Version: r.Version, Input: r.InputPayload, TimeKey: r.TimeKey,
		Labels: sortedPairs(r.Labels), Overlap: r.Overlap, QueueLimit: r.QueueLimit, CatchUp: r.CatchUp.AsDuration().Nanoseconds(),
	}
	if rec.Zone == "" {
		rec.Zone = "UTC"
	}
	if rec.Overlap == v1.Overlap_OVERLAP_UNSPECIFIED {
		rec.Overlap = v1.Overlap_OVERLAP_SKIP
	}
	if rec.QueueLimit == 0 {
		rec.QueueLimit = defaultQueued
	}
	if rec.CatchUp == 0 {
		rec.CatchUp = defaultCatchUp
	}
	return rec
}

func sameSchedule(a, b *logv1.Schedule) bool {
	return a.Cron == b.Cron && a.Zone == b.Zone && a.Workflow == b.Workflow && a.Version == b.Version && a.TimeKey == b.TimeKey &&
		a.Overlap == b.Overlap && a.QueueLimit == b.QueueLimit && a.CatchUp == b.CatchUp && samePayload(a.Input, b.Input) &&
		slices.EqualFunc(a.Labels, b.Labels, func(a, b *logv1.Pair) bool { return a.Key == b.Key && a.Value == b.Value })
}

// checkSchedule refuses what could never start anything.
func (t *turn) checkSchedule(rec *logv1.Schedule) *Refusal {
	switch {
	case rec.Schedule == "" || len(rec.Schedule) > maxScheduleLen:
		return Refuse(v1.Code_CODE_INVALID, "a schedule's name has 1 to %d bytes, this one %d", maxScheduleLen, len(rec.Schedule))
	case rec.QueueLimit < 1 || rec.QueueLimit > maxQueued:
		return Refuse(v1.Code_CODE_INVALID, "queueLimit is %d, and must be between 1 and %d", rec.QueueLimit, maxQueued)
	case len(t.ns.schedules) >= maxSchedules:
		return Refuse(v1.Code_CODE_INVALID, "namespace %s has %d schedules, which is the limit; delete one first", t.ns.rec.Namespace, maxSchedules)
	case t.wall() == 0:
		return Refuse(v1.Code_CODE_UNAVAILABLE, "nobody knows the date: no leader has trusted its clock yet; try again")
	}
	v, refusal := t.ns.toStart(rec.Workflow, rec.Version)
	if refusal != nil {
		return refusal
	}
	if rec.TimeKey != "" && !isObject(rec.Input) {
		return Refuse(v1.Code_CODE_INVALID, "with a timeKey the input is a JSON object, or is left out")
	}
	if err := v.compiled().CheckInput(jsonOf(inputAt(rec, t.wall()/oneSecond*oneSecond))); err != nil {
		return Refuse(v1.Code_CODE_INPUT_INVALID, "the input does not fit workflow %s version %d: %v", rec.Workflow, v.rec.Version, err)
	}
	return nil
}

func isObject(p *v1.Payload) bool {
	b := bytes.TrimSpace(jsonOf(p))
	return p == nil || p.KeyId == "" && contentType(p) == jsonType && (len(b) == 0 || b[0] == '{')
}

func (t *turn) pauseSchedule(r *v1.PauseScheduleRequest) (proto.Message, *Refusal) {
	s, refusal := t.ns.schedule(r.Schedule)
	if refusal != nil {
		return nil, refusal
	}
	if !s.rec.Paused {
		t.emit(&schedulePaused{s, r.Reason})
	}
	return s.reply(), nil
}

// resumeSchedule ends a pause. What fell into it is over, unless it is to be caught up with; what waited before it goes on.
func (t *turn) resumeSchedule(r *v1.ResumeScheduleRequest) (proto.Message, *Refusal) {
	s, refusal := t.ns.schedule(r.Schedule)
	if refusal != nil {
		return nil, refusal
	}
	if s.rec.Paused {
		t.emit(&scheduleResumed{s, r.Reason, r.CatchUp})
		s.succeed(t)
	}
	return s.reply(), nil
}

func (t *turn) deleteSchedule(r *v1.DeleteScheduleRequest) (proto.Message, *Refusal) {
	s, refusal := t.ns.schedule(r.Schedule)
	if refusal != nil {
		return nil, refusal
	}
	dropped := int32(len(s.rec.QueuedWall))
	t.emit(&scheduleDeleted{s, r.Reason})
	return &v1.DeleteScheduleResponse{Dropped: dropped}, nil
}

type scheduleCreated struct{ rec *logv1.Schedule }

func (e *scheduleCreated) kind() string { return "lockstep.schedule.created.v1" }
func (e *scheduleCreated) fill(d *v1.EventData) string {
	d.Name, d.Workflow, d.Version, d.Reason = e.rec.Schedule, e.rec.Workflow, e.rec.Version, e.rec.Cron+" "+e.rec.Zone
	d.Code, d.Labels = overlapName(e.rec.Overlap), pairMap(e.rec.Labels)
	d.PayloadSize = int64(len(e.rec.Input.GetBytes()))
	return "schedule/" + e.rec.Schedule
}
func (e *scheduleCreated) evolve(t *turn) { t.m.dirtySchedule(t.ns.addSchedule(e.rec)) }

type schedulePaused struct {
	s      *schedule
	reason string
}

func (e *schedulePaused) kind() string { return "lockstep.schedule.paused.v1" }
func (e *schedulePaused) fill(d *v1.EventData) string {
	d.Name, d.Reason = e.s.rec.Schedule, e.reason
	return e.s.subject()
}
func (e *schedulePaused) evolve(t *turn) {
	e.s.rec.Paused, e.s.rec.Reason = true, e.reason
	t.m.dirtySchedule(e.s)
}

type scheduleResumed struct {
	s       *schedule
	reason  string
	catchUp bool
}

func (e *scheduleResumed) kind() string { return "lockstep.schedule.resumed.v1" }
func (e *scheduleResumed) fill(d *v1.EventData) string {
	d.Name, d.Reason, d.Late = e.s.rec.Schedule, e.reason, e.catchUp
	return e.s.subject()
}
func (e *scheduleResumed) evolve(t *turn) {
	rec := e.s.rec
	rec.Paused, rec.Reason = false, ""
	if !e.catchUp {
		rec.AfterWall = max(rec.AfterWall, t.wall())
	}
	t.m.dirtySchedule(e.s)
}

type scheduleDeleted struct {
	s      *schedule
	reason string
}

func (e *scheduleDeleted) kind() string { return "lockstep.schedule.deleted.v1" }
func (e *scheduleDeleted) fill(d *v1.EventData) string {
	d.Name, d.Reason, d.Count = e.s.rec.Schedule, e.reason, int32(len(e.s.rec.QueuedWall))
	return e.s.subject()
}
func (e *scheduleDeleted) evolve(t *turn) {
	name := e.s.rec.Schedule
	delete(t.ns.schedules, name)
	if at, found := slices.BinarySearch(t.ns.calendar, name); found {
		t.ns.calendar = slices.Delete(t.ns.calendar, at, at+1)
	}
	t.m.dirtySchedule(e.s)
}

func (s *schedule) subject() string { return "schedule/" + s.rec.Schedule }

func overlapName(o v1.Overlap) string { return o.String()[len("OVERLAP_"):] }
