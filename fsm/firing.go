package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A time of a schedule is taken once: when the entry's wall time has come to it, behind the one that the leader knew as the last, and
// never again, whichever leader proposes it and however often. In the entry that takes it, it is decided what becomes of it, and an event says so. The instance that it starts is
// named by it.

const (
	skipOverlap  = "OVERLAP"
	skipFull     = "QUEUE_FULL"
	skipReplaced = "REPLACED"
	skipQueued   = "QUEUED" // by hand, before
	skipExists   = "INSTANCE_EXISTS"
)

// fireSchedule takes a time that the leader says has come. One that is not to be taken has no effect, and is no refusal: a leader that has
// not applied yet what the one before it took proposes it once more.
func (t *turn) fireSchedule(r *logv1.FireSchedule) (proto.Message, *Refusal) {
	s := t.ns.schedules[r.Schedule]
	if s == nil || s.rec.Position != r.Position || s.rec.Paused || r.At > t.wall() || r.At <= r.After || r.At%oneSecond != 0 {
		return &logv1.ScheduleFired{}, nil
	}
	if r.After != s.rec.AfterWall && !plant.Is(plant.FiredTwice) {
		return &logv1.ScheduleFired{}, nil
	}
	f := firingAt{at: r.At, lag: t.wall() - r.At}
	switch {
	case f.lag > s.rec.CatchUp:
		t.emit(&scheduleMissed{s, f, max(0, r.Missed) + 1})
	case r.Missed != 0: // by this entry's time it may be caught up with, and so may some before it
		return &logv1.ScheduleFired{}, nil
	default:
		t.fireAt(s, f)
	}
	return &logv1.ScheduleFired{Taken: true}, nil
}

// firingAt is a time that is being decided: one of the schedule's own that has come, one that somebody asked for, or one that waited.
type firingAt struct {
	at, lag int64
	byHand  bool
	waited  bool // and waits no more
}

// fireAt decides what becomes of a time.
func (t *turn) fireAt(s *schedule, f firingAt) {
	rec := s.rec
	busy := rec.Running != "" || len(rec.QueuedWall) > 0
	switch {
	case t.startedFor(s, f.at) != nil:
		t.emit(&scheduleSkipped{s, f, skipExists})
	case slices.Contains(rec.QueuedWall, f.at):
		t.emit(&scheduleSkipped{s, f, skipQueued})
	case rec.Overlap == v1.Overlap_OVERLAP_ALLOW, !busy, plant.Is(plant.OverlapIgnored):
		t.startFor(s, f)
	case rec.Overlap == v1.Overlap_OVERLAP_QUEUE:
		if len(rec.QueuedWall) >= int(rec.QueueLimit) {
			t.emit(&scheduleSkipped{s, f, skipFull})
			return
		}
		t.emit(&scheduleQueued{s, f})
	case rec.Overlap == v1.Overlap_OVERLAP_CANCEL_PREVIOUS:
		t.replace(s, f)
	default:
		t.emit(&scheduleSkipped{s, f, skipOverlap})
	}
}

// replace has what runs be cancelled, and the time wait for its end in place of those that wait already.
func (t *turn) replace(s *schedule, f firingAt) {
	for len(s.rec.QueuedWall) > 0 {
		t.emit(&scheduleSkipped{s, t.waited(s), skipReplaced})
	}
	t.emit(&scheduleQueued{s, f})
	if i := t.known(s.rec.Running); i != nil {
		t.makeWay(i, "", "the next time of schedule "+s.rec.Schedule+" has come")
	}
}

// freeSchedule has the schedule of an instance that has ended go on, when the entry has decided what ended it.
func (t *turn) freeSchedule(i *instance) {
	s := t.ns.schedules[i.rec.Schedule]
	if s == nil || s.rec.Running != i.rec.InstanceId {
		return
	}
	s.rec.Running = ""
	t.m.dirtySchedule(s)
	t.freed = append(t.freed, s)
}

// succeed starts what waits, unless something runs.
func (s *schedule) succeed(t *turn) {
	for s.rec.Running == "" && len(s.rec.QueuedWall) > 0 && !s.rec.Paused && t.ns.schedules[s.rec.Schedule] == s {
		t.startFor(s, t.waited(s))
	}
}

func (s *schedule) space() *namespace { return s.ns }

// waited is the time that waits longest.
func (t *turn) waited(s *schedule) firingAt {
	at := s.rec.QueuedWall[0]
	return firingAt{at: at, lag: max(0, t.wall()-at), waited: true}
}

// successor has something start when an instance has ended: a schedule, or the starts of an id.
type successor interface {
	space() *namespace
	succeed(t *turn)
}

// followEnds goes on behind instances that have ended.
func (t *turn) followEnds() {
	for len(t.freed) > 0 {
		next := t.freed[0]
		if t.freed = t.freed[1:]; next.space() != t.ns {
			t.ns, t.last = next.space(), nil
		}
		next.succeed(t)
	}
}

// startFor starts the instance of a time. What is refused is told, and the schedule goes on.
func (t *turn) startFor(s *schedule, f firingAt) {
	rec := s.rec
	v, refusal := t.ns.toStart(rec.Workflow, rec.Version)
	if refusal != nil {
		reason := "there is no such workflow, or no such version"
		if refusal.Detail.Code == v1.Code_CODE_VERSION_DRAINED {
			reason = refusal.Detail.Reason
		}
		t.emit(&scheduleFailed{s, f, refusal.Detail.Code, reason})
		return
	}
	r := &v1.StartInstanceRequest{InstanceId: instanceAt(rec, f.at), Workflow: rec.Workflow, Version: rec.Version, Labels: pairMap(rec.Labels), InputPayload: inputAt(rec, f.at)}
	switch {
	case t.known(r.InstanceId) != nil:
		t.emit(&scheduleSkipped{s, f, skipExists})
		return
	case v.compiled().CheckInput(jsonOf(r.InputPayload)) != nil:
		t.emit(&scheduleFailed{s, f, v1.Code_CODE_INPUT_INVALID, fmt.Sprintf("the input does not fit version %d", v.rec.Version)})
		return
	}
	i := t.begun(&instanceStarted{request: r, version: v, schedule: rec.Schedule, scheduled: f.at})
	t.emit(&scheduleFired{s, f, r.InstanceId, v.rec.Version})
	t.goes(i)
}

// startedFor finds the instance that has the name of a time's, whoever started it.
func (t *turn) startedFor(s *schedule, at int64) *instance { return t.known(instanceAt(s.rec, at)) }

// triggerSchedule has a time decided that somebody asks for, past or present. It is none of the schedule's own: those come as they would.
func (t *turn) triggerSchedule(r *v1.TriggerScheduleRequest) (proto.Message, *Refusal) {
	s, refusal := t.ns.schedule(r.Schedule)
	if refusal != nil {
		return nil, refusal
	}
	at := r.At.GetSeconds() * oneSecond
	if r.At.GetNanos() != 0 || at <= 0 || at > t.wall()+triggerAhead {
		return nil, Refuse(v1.Code_CODE_INVALID, "at is missing, not of whole seconds, or more than a minute in the future")
	}
	out := &v1.TriggerScheduleResponse{InstanceId: instanceAt(s.rec, at), At: stamp(at), Outcome: v1.FiringOutcome_FIRING_OUTCOME_STARTED}
	if i := t.startedFor(s, at); i != nil && i.rec.Schedule == s.rec.Schedule {
		out.Existing = true
		return out, nil
	}
	if slices.Contains(s.rec.QueuedWall, at) {
		out.Outcome, out.Existing = v1.FiringOutcome_FIRING_OUTCOME_QUEUED, true
		return out, nil
	}
	t.fireAt(s, firingAt{at: at, lag: max(0, t.wall()-at), byHand: true})
	if n := len(s.rec.Recent); n > 0 {
		last := s.rec.Recent[n-1]
		out.Outcome, out.Code, out.Reason = last.Outcome, last.Code, last.Reason
	}
	return out, nil
}

// instanceAt names the instance of a time.
func instanceAt(rec *logv1.Schedule, at int64) string { return rec.Schedule + "@" + utc(at) }

// inputAt is the input of the instance of a time.
func inputAt(rec *logv1.Schedule, at int64) *v1.Payload {
	if rec.TimeKey == "" {
		return rec.Input
	}
	rest := bytes.TrimSpace(jsonOf(rec.Input))
	if len(rest) > 0 {
		rest = bytes.TrimSpace(rest[1:])
	}
	b := []byte(`{"` + rec.TimeKey + `":"` + utc(at) + `"`)
	if len(rest) == 0 {
		return &v1.Payload{Bytes: append(b, '}')}
	}
	if rest[0] != '}' {
		b = append(b, ',')
	}
	return &v1.Payload{Bytes: append(b, rest...)}
}

// utc writes a time of whole seconds as RFC 3339 does.
func utc(at int64) string {
	const day = int64(24 * time.Hour)
	days, rest := at/day, at%day
	if rest < 0 {
		days, rest = days-1, rest+day
	}
	y, m, d := civil(days)
	s := rest / oneSecond
	return fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02dZ", y, m, d, s/3600, s/60%60, s%60)
}

// civil is the date of a day, counted from 1970-01-01: years begin in March here, so that the leap day is their last.
func civil(days int64) (y, m, d int64) {
	const era = 146097 // days of 400 years
	z := days + 719468 // from 0000-03-01
	eras := z / era
	if z < 0 {
		eras = (z - era + 1) / era
	}
	of := z - eras*era
	year := (of - of/1460 + of/36524 - of/146096) / 365
	day := of - (365*year + year/4 - year/100)
	month := (5*day + 2) / 153
	y, m, d = year+eras*400, month+3, day-(153*month+2)/5+1
	if m > 12 {
		y, m = y+1, m-12
	}
	return y, m, d
}
