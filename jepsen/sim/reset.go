package sim

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/jepsen/model"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// resetter sets instances back to steps that somebody has heard of, whatever they do; now and then twice, or by an activation that is not
// the newest.
type resetter struct {
	s    *starter
	pace time.Duration
}

func (w *world) resetter(d draws) {
	r := &resetter{s: &starter{c: w.client("resetter", d)}, pace: d.between(100*time.Millisecond, time.Second)}
	r.next()
}

func (r *resetter) next() {
	w, d := r.s.c.w, r.s.c.draws
	w.by(r.s.c.process, d.between(0, 2*r.pace), func() {
		if w.stopping {
			return
		}
		switch run, known := late(d, w.crew.runs); {
		case d.one(6):
			r.still()
		case d.one(5):
			r.called()
		case known:
			r.reset(run)
		}
		r.next()
	})
}

// still sets back something that stands still.
func (r *resetter) still() {
	list := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.ListIncidents(&v1.ListIncidentsRequest{Standing: true, Limit: 100})
	}}
	r.s.c.call(list, options{kind: "read"}, func(res *response) {
		if list, is := res.value.(*v1.ListIncidentsResponse); is && len(list.GetIncidents()) > 0 && !r.s.c.w.stopping {
			i := pick(r.s.c.draws, list.Incidents)
			r.reset(heard{instance: i.InstanceId, step: i.Step, index: i.Index})
		}
	})
}

// called sets back a step that has called an instance which runs.
func (r *resetter) called() {
	list := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.ListInstances(&v1.ListInstancesRequest{State: v1.InstanceState_INSTANCE_STATE_RUNNING, Limit: 1000})
	}}
	r.s.c.call(list, options{kind: "read"}, func(res *response) {
		list, is := res.value.(*v1.ListInstancesResponse)
		if !is || r.s.c.w.stopping {
			return
		}
		children := slices.DeleteFunc(slices.Clone(list.GetInstances()), func(i *v1.Instance) bool { return i.Parent == nil })
		if len(children) > 0 {
			p := pick(r.s.c.draws, children).Parent
			r.reset(heard{instance: p.InstanceId, step: p.Step, index: p.Index})
		}
	})
}

func (r *resetter) reset(run heard) {
	d := r.s.c.draws
	back := &v1.ResetInstanceRequest{InstanceId: run.instance, FromStep: run.step, Index: run.index}
	switch {
	case d.one(3):
		back.FromStep, back.Index = pick(d, []string{"s0", "s1", "s2", "s3", "s4", "b", "b", "b", "c0", "m", "z", "r0", "behind"}), int32(d.IntN(3)*d.IntN(2))
	case d.one(10):
		back.Index = int32(d.IntN(4))
	}
	back.Compensate = d.one(2)
	call := func(behind func(*response)) {
		r.s.c.call(&request{commands: one(resetCommand(back))}, options{kind: "reset"}, behind)
	}
	call(func(res *response) {
		if !res.ok() || res.outcomes[0].Refusal != nil {
			return
		}
		r.talk(run.instance, res.outcomes[0].Reply.(*v1.ResetInstanceResponse).Index)
		if d.one(6) {
			call(func(*response) {})
		}
	})
}

// talk sends what was set back what it waits for.
func (r *resetter) talk(id string, index int32) {
	read := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	}}
	r.s.c.call(read, options{kind: "read"}, func(res *response) {
		i, is := res.value.(*v1.Instance)
		for _, flow := range r.s.c.w.workflows {
			if is && i != nil && flow.Name == i.Workflow {
				r.answer(id, flow, index)
			}
		}
	})
}

func (r *resetter) answer(id string, flow model.Workflow, index int32) {
	d := r.s.c.draws
	for _, step := range flow.Steps {
		var command *logv1.Command
		switch {
		case step.Signal != "":
			command = signal(&v1.SendSignalRequest{InstanceId: id, Name: step.Signal, SignalId: fmt.Sprint(step.Name, "#", index), PayloadBytes: &v1.Payload{Bytes: []byte("1")}})
		case step.Approval:
			command = decision(id, step.Name, index, !d.one(6))
		default:
			continue
		}
		for range d.IntN(3) {
			r.s.c.w.by(r.s.c.process, d.between(0, 3*time.Second), func() {
				r.s.c.call(&request{commands: one(command)}, options{kind: "signal"}, func(*response) {})
			})
		}
	}
}

func resetCommand(r *v1.ResetInstanceRequest) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ResetInstance{ResetInstance: r}}
}
