package cluster

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// retainEvery is how often a leader looks whether something is over its time.
const retainEvery = time.Second

// newRemoval has what is over its time be removed.
func newRemoval(wall func() int64) *paced {
	return &paced{
		what: "remove what is over its time", every: retainEvery, bound: fsm.RemoveMost,
		due: func(m *fsm.Machine) []string { return m.Overdue(max(wall(), m.Clock().Wall)) },
		slice: func(most int32) *logv1.Command {
			return &logv1.Command{Body: &logv1.Command_Retain{Retain: &logv1.Retain{Most: most}}}
		},
		more: func(reply proto.Message) bool {
			did, is := reply.(*logv1.Retained)
			return is && did.Instances+did.Events+did.Ordered > 0 // if not, by the time of the entry nothing was over, or it is needed for a moment
		},
	}
}
