package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An incident is a run that stands still: an expression of it fails, or it is a compensation that used up its attempts. It is over when the
// run goes on. An instance that has failed is one too, until somebody says that it needs nobody any more.

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

func (i *instance) resolved() bool { return i.rec.Resolution != nil }

// failed finds an instance that has failed.
func (t *turn) failed(id string) (*instance, *Refusal) {
	i, refusal := t.instance(id)
	if refusal == nil && i.rec.State != v1.InstanceState_INSTANCE_STATE_FAILED {
		refusal = Refuse(v1.Code_CODE_NOT_FAILED, "instance %q is %s: only one that has failed is resolved by a word, or reopened", id, stateName(i.rec.State))
	}
	return i, refusal
}

// resolutionLevel is the cluster level from which on failures are resolved, and reopened; it came with that of resets.
const resolutionLevel = resetLevel

// resolveIncident has a failed instance be left out of what needs a person. Resolved twice is answered as once: the first word stays.
func (t *turn) resolveIncident(r *v1.ResolveIncidentRequest) (proto.Message, *Refusal) {
	i, refusal := t.failed(r.InstanceId)
	switch {
	case refusal != nil:
		return nil, refusal
	case i.resolved():
		return &v1.ResolveIncidentResponse{Duplicate: true}, nil
	}
	t.emit(&incidentResolved{i, r.Reason})
	return &v1.ResolveIncidentResponse{}, nil
}

// reopenIncident has it be listed again.
func (t *turn) reopenIncident(r *v1.ReopenIncidentRequest) (proto.Message, *Refusal) {
	i, refusal := t.failed(r.InstanceId)
	switch {
	case refusal != nil:
		return nil, refusal
	case !i.resolved():
		return &v1.ReopenIncidentResponse{Duplicate: true}, nil
	}
	t.emit(&incidentReopened{i, r.Reason})
	return &v1.ReopenIncidentResponse{}, nil
}

// resolutionReply is who resolved the failure of an instance; nil when nobody has.
func (i *instance) resolutionReply() *v1.Resolution {
	if !i.resolved() {
		return nil
	}
	s := i.rec.Resolution
	return &v1.Resolution{At: stamp(s.Wall), By: s.By, Reason: s.Reason}
}

type incidentResolved struct {
	i      *instance
	reason string
}

func (e *incidentResolved) kind() string { return "lockstep.instance.resolved.v1" }
func (e *incidentResolved) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version, d.Reason = e.i.rec.InstanceId, e.i.rec.Workflow, e.i.rec.Version, e.reason
	return e.i.subject()
}
func (e *incidentResolved) evolve(t *turn) {
	if !plant.Is(plant.ResolvedForgotten) {
		e.i.rec.Resolution = &logv1.Resolution{Wall: t.wall(), By: t.env.GetAuthor().GetPrincipal(), Reason: e.reason}
	}
	t.m.touch(e.i)
}

type incidentReopened struct {
	i      *instance
	reason string
}

func (e *incidentReopened) kind() string { return "lockstep.instance.reopened.v1" }
func (e *incidentReopened) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version, d.Reason = e.i.rec.InstanceId, e.i.rec.Workflow, e.i.rec.Version, e.reason
	return e.i.subject()
}
func (e *incidentReopened) evolve(t *turn) {
	e.i.rec.Resolution = nil
	t.m.touch(e.i)
}
