package sim

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// operator resumes what somebody left paused, and looks now and then for instances of which something that undoes stands still, whether they compensate or undo the body of
// a step, and has that tried again, or skipped. It goes on until all have ended, for nothing else ends a compensation that stands still.
type operator struct{ c *client }

func (w *world) operator(d draws) {
	o := &operator{w.client("operator", d)}
	o.next()
}

func (o *operator) next() {
	o.c.w.by(o.c.process, o.c.draws.between(time.Second, 8*time.Second), o.look)
}

func (o *operator) look() {
	o.each(v1.InstanceState_INSTANCE_STATE_COMPENSATING, o.resume)
	for _, state := range []v1.InstanceState{
		v1.InstanceState_INSTANCE_STATE_RUNNING, v1.InstanceState_INSTANCE_STATE_FAILING, v1.InstanceState_INSTANCE_STATE_CANCELLING,
	} {
		o.each(state, o.lookInside)
	}
	o.next()
}

// each calls fn with the instances of a state.
func (o *operator) each(state v1.InstanceState, fn func(id string)) {
	r := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.ListInstances(&v1.ListInstancesRequest{State: state, Limit: 1000})
	}}
	o.c.call(r, options{kind: "read"}, func(res *response) {
		if list, is := res.value.(*v1.ListInstancesResponse); is {
			for _, i := range list.Instances {
				if i.Pause != nil && (o.c.w.stopping || o.c.draws.one(4)) {
					o.c.call(&request{commands: one(resumed(i.InstanceId))}, options{kind: "steer"}, func(*response) {})
				}
				fn(i.InstanceId)
			}
		}
	})
}

// lookInside looks whether something stands still that undoes the body of a step, while the instance goes on, or waits for that to end.
func (o *operator) lookInside(id string) {
	r := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	}}
	o.c.call(r, options{kind: "read"}, func(res *response) {
		i, is := res.value.(*v1.Instance)
		for _, run := range i.GetRuns() { // of a timer's step nothing else would be the end
			if o.c.w.stopping && leftAlone(i, run) {
				o.skip(id, run)
			}
			if run.State == v1.RunState_RUN_STATE_INCIDENT && run.Compensates == "" && (o.c.w.stopping || o.c.draws.one(8)) {
				o.skip(id, run)
			}
		}
		if is && slices.ContainsFunc(i.GetRuns(), func(r *v1.Run) bool { return r.State == v1.RunState_RUN_STATE_INCIDENT && r.Compensates != "" }) {
			o.resume(id)
		}
	})
}

// leftAlone: of a race the timer that always comes was skipped by hand, and a run of it may wait for a date that never does.
func leftAlone(i *v1.Instance, run *v1.Run) bool {
	skipped := func(r *v1.Run) bool { return r.Step == "r0" && r.State == v1.RunState_RUN_STATE_SKIPPED }
	return run.State == v1.RunState_RUN_STATE_WAITING && (run.Step == "r1" || run.Step == "r2") && slices.ContainsFunc(i.Runs, skipped)
}

func (o *operator) skip(id string, run *v1.Run) {
	c := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_SkipStep{SkipStep: &v1.SkipStepRequest{InstanceId: id, Step: run.Step, Index: run.Index, Reason: "it stands still"}}}
	o.c.call(&request{commands: one(c)}, options{kind: "steer"}, func(*response) {})
}

func (o *operator) resume(id string) {
	undo := &v1.CompensateInstanceRequest{InstanceId: id, Skip: o.c.draws.one(3)}
	o.c.call(&request{commands: one(compensate(undo))}, options{kind: "compensate"}, func(*response) {})
}

func compensate(r *v1.CompensateInstanceRequest) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_CompensateInstance{CompensateInstance: r}}
}
