package sim

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// steerer takes the place of what else moves instances: it pauses them for a while, and retries, skips, ends and changes runs of which
// somebody has heard, or of steps beside these; now and then what is over, or not begun.
type steerer struct {
	c    *client
	pace time.Duration
}

func (w *world) steerer(d draws) {
	k := &steerer{c: w.client("steerer", d), pace: d.between(5*time.Millisecond, 150*time.Millisecond)}
	k.next()
}

func (k *steerer) next() {
	w, d := k.c.w, k.c.draws
	w.by(k.c.process, d.between(0, 2*k.pace), func() {
		if w.stopping {
			return
		}
		switch run, known := late(d, w.crew.runs); {
		case d.one(6):
			k.settle()
		case known && d.one(3):
			k.steer(run)
		default:
			k.look()
		}
		k.next()
	})
}

// look takes one of the instances that have not ended, and a run of it that has not.
func (k *steerer) look() {
	d := k.c.draws
	state := pick(d, []v1.InstanceState{v1.InstanceState_INSTANCE_STATE_RUNNING, v1.InstanceState_INSTANCE_STATE_RUNNING, v1.InstanceState_INSTANCE_STATE_COMPENSATING, v1.InstanceState_INSTANCE_STATE_CANCELLING})
	list := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.ListInstances(&v1.ListInstancesRequest{State: state, Limit: 100})
	}}
	k.c.call(list, options{kind: "read"}, func(res *response) {
		list, is := res.value.(*v1.ListInstancesResponse)
		if !is || len(list.Instances) == 0 {
			return
		}
		id := pick(d, list.Instances).InstanceId
		show := &request{read: func(m *fsm.Machine) (proto.Message, error) {
			return m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
		}}
		k.c.call(show, options{kind: "read"}, func(res *response) {
			i, is := res.value.(*v1.Instance)
			if !is || i == nil || k.c.w.stopping { // none: it is removed
				return
			}
			open := slices.DeleteFunc(i.Runs, func(r *v1.Run) bool { return r.State >= v1.RunState_RUN_STATE_COMPLETED })
			still := slices.DeleteFunc(slices.Clone(open), func(r *v1.Run) bool { return r.State != v1.RunState_RUN_STATE_INCIDENT })
			if len(still) > 0 && d.one(2) {
				open = still
			}
			if len(open) > 0 {
				run := pick(d, open)
				k.steer(heard{instance: id, step: run.Step, index: run.Index})
			}
		})
	})
}

// settle resolves one of what has failed, or reopens it, and now and then what has not.
func (k *steerer) settle() {
	d := k.c.draws
	list := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		if d.one(8) {
			return m.ListInstances(&v1.ListInstancesRequest{Limit: 100})
		}
		return m.ListInstances(&v1.ListInstancesRequest{State: v1.InstanceState_INSTANCE_STATE_FAILED, Limit: 4})
	}}
	k.c.call(list, options{kind: "read"}, func(res *response) {
		list, is := res.value.(*v1.ListInstancesResponse)
		if !is || len(list.Instances) == 0 {
			return
		}
		id, c := pick(d, list.Instances).InstanceId, &logv1.Command{Envelope: &logv1.Envelope{}}
		if d.one(2) {
			c.Body = &logv1.Command_ResolveIncident{ResolveIncident: &v1.ResolveIncidentRequest{InstanceId: id, Reason: "f"}}
		} else {
			c.Body = &logv1.Command_ReopenIncident{ReopenIncident: &v1.ReopenIncidentRequest{InstanceId: id, Reason: "g"}}
		}
		k.c.call(&request{commands: one(c)}, options{kind: "steer"}, func(*response) {})
	})
}

func (k *steerer) steer(run heard) {
	d := k.c.draws
	if d.one(3) {
		k.pause(run.instance)
		return
	}
	if d.one(6) {
		run.step, run.index = pick(d, []string{"s0", "s1", "s2", "s3", "r0", "behind", run.step + ".undo"}), int32(max(0, d.IntN(6)-3))
	}
	k.c.call(&request{commands: one(k.command(run))}, options{kind: "steer"}, func(*response) {})
}

// pause pauses an instance for a while. Whoever looks after all instances (operator.go) resumes what is left so.
func (k *steerer) pause(id string) {
	d := k.c.draws
	k.c.call(&request{commands: one(paused(id))}, options{kind: "steer"}, func(*response) {})
	for range 1 + d.IntN(2) {
		k.c.w.by(k.c.process, d.between(0, 4*time.Second), func() {
			k.c.call(&request{commands: one(resumed(id))}, options{kind: "steer"}, func(*response) {})
		})
	}
}

func paused(id string) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_PauseInstance{PauseInstance: &v1.PauseInstanceRequest{InstanceId: id, Reason: "p"}}}
}

func resumed(id string) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ResumeInstance{ResumeInstance: &v1.ResumeInstanceRequest{InstanceId: id, Reason: "r"}}}
}

func (k *steerer) command(run heard) *logv1.Command {
	d := k.c.draws
	c := &logv1.Command{Envelope: &logv1.Envelope{}}
	switch n := d.IntN(10); {
	case n < 2:
		c.Body = &logv1.Command_RetryStep{RetryStep: &v1.RetryStepRequest{InstanceId: run.instance, Step: run.step, Index: run.index, Reason: "a"}}
	case n < 4:
		c.Body = &logv1.Command_SkipStep{SkipStep: &v1.SkipStepRequest{InstanceId: run.instance, Step: run.step, Index: run.index, Reason: "s"}}
	case n < 7:
		r := &v1.ResolveStepRequest{InstanceId: run.instance, Step: run.step, Index: run.index, Reason: "d"}
		if d.one(3) {
			r.Code = pick(d, []string{"E", "F"})
		} else {
			r.OutputPayload = &v1.Payload{Bytes: []byte(pick(d, []string{"0", "1", "2"}))}
		}
		c.Body = &logv1.Command_ResolveStep{ResolveStep: r}
	default:
		c.Body = &logv1.Command_UpdateStep{UpdateStep: k.update(run)}
	}
	return c
}

func (k *steerer) update(run heard) *v1.UpdateStepRequest {
	d := k.c.draws
	r := &v1.UpdateStepRequest{InstanceId: run.instance, Step: run.step, Index: run.index, Reason: "u"}
	some := func() *durationpb.Duration { return durationpb.New(d.between(100*time.Millisecond, 5*time.Second)) }
	switch d.IntN(6) {
	case 0, 1:
		r.AttemptsLeft = int32(d.IntN(5))
	case 2:
		r.TotalTimeout = some()
	case 3:
		r.RunTimeout = some()
	case 4:
		r.QueueTimeout = some()
	case 5:
		r.RetryNow = true
	}
	return r
}
