package sim

import (
	"fmt"

	"github.com/lockstep-dev/lockstep/jepsen/model"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// line starts one more of an id that all share, and says what becomes of it when somebody has that; now and then twice, or under the
// name of another start.
func (s *starter) line(flow model.Workflow) {
	d := s.c.draws
	start := &v1.StartInstanceRequest{
		InstanceId: fmt.Sprint("line", d.IntN(6)), Workflow: flow.Name, Version: s.version(), InputPayload: &v1.Payload{Bytes: fmt.Appendf(nil, `{"n":%d}`, d.IntN(4))},
		OnConflict: v1.OnConflict(1 + d.IntN(4)), StartId: fmt.Sprint(s.c.name, s.started),
	}
	switch {
	case d.one(8):
		start.StartId = fmt.Sprint(s.c.name, 1+d.IntN(s.started))
	case d.one(6) && start.OnConflict <= v1.OnConflict_ON_CONFLICT_FAIL:
		start.StartId = ""
	}
	if !d.one(3) {
		start.Keys = map[string]string{"group": pick(d, theGroups)}
	}
	command := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartInstance{StartInstance: start}}
	for range d.IntN(6) / 4 {
		s.c.w.by(s.c.process, d.between(0, s.c.w.crew.pace.took), func() {
			s.c.call(&request{commands: one(command)}, options{kind: "start"}, func(*response) {})
		})
	}
	s.c.call(&request{commands: one(command)}, options{kind: "start"}, func(res *response) {
		if !res.ok() || res.outcomes[0].Refusal != nil {
			s.open--
			return
		}
		reply := res.outcomes[0].Reply.(*v1.StartInstanceResponse)
		if reply.State == v1.InstanceState_INSTANCE_STATE_QUEUED {
			s.c.w.crew.queued = append(s.c.w.crew.queued, reply.InstanceId)
		}
		s.talk(reply.InstanceId, flow, 2)
		s.wait(reply.InstanceId)
	})
}
