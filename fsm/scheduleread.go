package fsm

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// reply is what is said of a schedule without what may be long.
func (s *schedule) reply() *v1.Schedule {
	rec := s.rec
	out := &v1.Schedule{
		Namespace: s.ns.rec.Namespace, Schedule: rec.Schedule, Cron: rec.Cron, Zone: rec.Zone, Workflow: rec.Workflow, Version: rec.Version,
		TimeKey: rec.TimeKey, Overlap: rec.Overlap, QueueLimit: rec.QueueLimit, CatchUp: durationpb.New(time.Duration(rec.CatchUp)),
		Paused: rec.Paused, Reason: rec.Reason, Created: stamp(rec.CreatedWall), After: stamp(rec.AfterWall),
		Running: rec.Running, Started: rec.Started, Skipped: rec.Skipped, Missed: rec.Missed, Failed: rec.Failed,
	}
	for _, at := range rec.QueuedWall {
		out.Queued = append(out.Queued, stamp(at))
	}
	return out
}

// GetSchedule returns a schedule. Its next times are not known here.
func (m *Machine) GetSchedule(r *v1.GetScheduleRequest) (*v1.Schedule, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	s, refusal := ns.schedule(r.Schedule)
	if refusal != nil {
		return nil, refusal
	}
	out := s.reply()
	out.InputPayload, out.Labels = s.rec.Input, pairMap(s.rec.Labels)
	for _, f := range s.rec.Recent {
		out.Recent = append(out.Recent, firing(f))
	}
	return out, nil
}

func firing(f *logv1.Firing) *v1.Firing {
	return &v1.Firing{
		At: stamp(f.AtWall), Outcome: f.Outcome, InstanceId: f.InstanceId, Code: f.Code, Reason: f.Reason,
		Lag: durationpb.New(time.Duration(f.Lag)), Count: f.Count,
	}
}

// ListSchedules lists schedules by name.
func (m *Machine) ListSchedules(r *v1.ListSchedulesRequest) (*v1.ListSchedulesResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	out := &v1.ListSchedulesResponse{}
	for _, name := range ns.calendar {
		if name <= r.Page {
			continue
		}
		if len(out.Schedules) == pageLimit(r.Limit) {
			out.NextPage = out.Schedules[len(out.Schedules)-1].Schedule
			break
		}
		s := ns.schedules[name].reply()
		s.Labels = pairMap(ns.schedules[name].rec.Labels)
		out.Schedules = append(out.Schedules, s)
	}
	return out, nil
}

// Plan is what the leader must know of a schedule to say when it fires.
type Plan struct {
	Namespace, Schedule string
	Position            int64 // which of those with this name it is
	Cron, Zone          string
	After               int64 // times up to here are over, in unix nanoseconds
	CatchUp             int64
}

// Plans returns the schedules that are not paused, unless nothing of them has changed since; version says since when.
func (m *Machine) Plans(since uint64) (version uint64, plans []Plan) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.planned == since {
		return since, nil
	}
	for _, name := range m.names {
		ns := m.namespaces[name]
		for _, name := range ns.calendar {
			if rec := ns.schedules[name].rec; !rec.Paused {
				plans = append(plans, Plan{ns.rec.Namespace, rec.Schedule, rec.Position, rec.Cron, rec.Zone, rec.AfterWall, rec.CatchUp})
			}
		}
	}
	return m.planned, plans
}
