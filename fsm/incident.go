package fsm

import v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"

// An incident is a run that stands still: an expression of it fails, or it is a compensation that used up its attempts.

func (t *turn) incident(i *instance, at at, code string, err error) bool {
	t.emit(&runIncident{i: i, at: at, code: code, reason: err.Error()})
	return false
}

// runIncident stops a run whose expression fails, until somebody decides.
type runIncident struct {
	i            *instance
	at           at
	code, reason string
}

func (e *runIncident) kind() string { return "lockstep.step.incident.v1" }
func (e *runIncident) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Code, d.Reason = e.code, e.reason
	return e.i.subject()
}
func (e *runIncident) evolve(t *turn) {
	if isCompensation(e.i.step(e.at)) {
		t.dropLapsed(e.i, e.at)
	}
	t.m.change(e.i, e.at, func(r *run) {
		r.State, r.Code, r.Reason, r.ChangedWall = v1.RunState_RUN_STATE_INCIDENT, e.code, e.reason, t.wall()
		r.limitBy(0)
		r.Parked = ""
		if t.m.level() >= incidentLevel {
			r.Order = t.wall()
		}
		if isCompensation(e.i.step(e.at)) { // nothing takes it out of that but a command
			r.Lapsed, r.TotalDeadline = false, 0
		} else if r.TotalDeadline == 0 {
			r.TotalDeadline = after(t.uptime(), e.i.step(e.at).Timeouts.Total)
		}
	})
}

// runResumed has an incident be tried again as if it never was.
type runResumed struct {
	i      *instance
	at     at
	reason string
}

func (e *runResumed) kind() string { return "lockstep.step.resumed.v1" }
func (e *runResumed) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Reason = e.reason
	return e.i.subject()
}
func (e *runResumed) evolve(t *turn) {
	t.dropLapsed(e.i, e.at)
	t.m.change(e.i, e.at, func(r *run) {
		r.State, r.Used, r.ChangedWall = v1.RunState_RUN_STATE_PENDING, 0, t.wall()
		r.Lapsed, r.TotalDeadline = false, 0 // they are anew when it is begun
	})
}
