package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// operator looks now and then for instances that compensate, and has what stands still of them tried again, or skipped. It
// goes on until all have ended, for nothing else ends a compensation that stands still.
type operator struct{ c *client }

func (w *world) operator(d draws) {
	o := &operator{w.client("operator", d)}
	o.next()
}

func (o *operator) next() {
	o.c.w.by(o.c.process, o.c.draws.between(time.Second, 8*time.Second), o.look)
}

func (o *operator) look() {
	r := &request{read: func(m *fsm.Machine) (proto.Message, error) {
		return m.ListInstances(&v1.ListInstancesRequest{State: v1.InstanceState_INSTANCE_STATE_COMPENSATING, Limit: 1000})
	}}
	o.c.call(r, options{kind: "read"}, func(res *response) {
		if list, is := res.value.(*v1.ListInstancesResponse); is {
			for _, i := range list.Instances {
				undo := &v1.CompensateInstanceRequest{InstanceId: i.InstanceId, Skip: o.c.draws.one(3)}
				o.c.call(&request{commands: one(compensate(undo))}, options{kind: "compensate"}, func(*response) {})
			}
		}
		o.next()
	})
}

func compensate(r *v1.CompensateInstanceRequest) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_CompensateInstance{CompensateInstance: r}}
}
