package cluster

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// advanceEvery is how often a leader looks whether a bulk operation runs.
const advanceEvery = 100 * time.Millisecond

// newBulks has bulk operations go on.
func newBulks() *paced {
	return &paced{
		what: "have bulk operations go on", every: advanceEvery, bound: fsm.BulkMost,
		due: (*fsm.Machine).Advancing,
		slice: func(most int32) *logv1.Command {
			return &logv1.Command{Body: &logv1.Command_AdvanceBulk{AdvanceBulk: &logv1.AdvanceBulk{Most: most}}}
		},
		more: func(proto.Message) bool { return true },
	}
}
