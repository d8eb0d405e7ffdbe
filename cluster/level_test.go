package cluster

import (
	"errors"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What members of an older version would stop at is refused before the log has it, with all that came in the same call.
func TestCommandsAboveTheLevelAreRefused(t *testing.T) {
	cancel := &logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{}}}
	at := func(level uint32) func() uint32 { return func() uint32 { return level } }
	for _, c := range []*logv1.Command{
		{Body: &logv1.Command_CompensateInstance{CompensateInstance: &v1.CompensateInstanceRequest{}}},
		{Body: &logv1.Command_ApproveStep{ApproveStep: &v1.ApproveStepRequest{}}},
		{Body: &logv1.Command_RejectStep{RejectStep: &v1.RejectStepRequest{}}},
	} {
		var refusal *fsm.Refusal
		if err := admit([]*logv1.Command{cancel, c}, at(fsm.LevelOf(c)-1)); !errors.As(err, &refusal) || refusal.Detail.Code != v1.Code_CODE_UNSUPPORTED {
			t.Errorf("%v: below its level it is answered %v", c, err)
		}
		if err := admit([]*logv1.Command{cancel, c}, at(fsm.LevelOf(c))); err != nil {
			t.Errorf("%v: at its level it is answered %v", c, err)
		}
	}
	none := func() uint32 { t.Error("the level is looked at for what every level has"); return 0 }
	if err := admit([]*logv1.Command{cancel}, none); err != nil {
		t.Error(err)
	}
}
