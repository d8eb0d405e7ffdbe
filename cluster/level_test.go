package cluster

import (
	"errors"
	"testing"
	"time"

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
		{Body: &logv1.Command_ResolveIncident{ResolveIncident: &v1.ResolveIncidentRequest{}}},
		{Body: &logv1.Command_ReopenIncident{ReopenIncident: &v1.ReopenIncidentRequest{}}},
		{Body: &logv1.Command_PauseInstance{PauseInstance: &v1.PauseInstanceRequest{}}},
		{Body: &logv1.Command_ResumeInstance{ResumeInstance: &v1.ResumeInstanceRequest{}}},
		{Body: &logv1.Command_RetryStep{RetryStep: &v1.RetryStepRequest{}}},
		{Body: &logv1.Command_SkipStep{SkipStep: &v1.SkipStepRequest{}}},
		{Body: &logv1.Command_ResolveStep{ResolveStep: &v1.ResolveStepRequest{}}},
		{Body: &logv1.Command_UpdateStep{UpdateStep: &v1.UpdateStepRequest{}}},
		{Body: &logv1.Command_StartBulk{StartBulk: &v1.StartBulkRequest{}}},
		{Body: &logv1.Command_CancelBulk{CancelBulk: &v1.CancelBulkRequest{}}},
		{Body: &logv1.Command_AdvanceBulk{AdvanceBulk: &logv1.AdvanceBulk{}}},
		{Body: &logv1.Command_AdvanceBulk{AdvanceBulk: &logv1.AdvanceBulk{Most: 1}}},
		{Body: &logv1.Command_Retain{Retain: &logv1.Retain{}}},
		{Body: &logv1.Command_Retain{Retain: &logv1.Retain{Most: 1}}},
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

// The level rises once every member has said that it knows more, voter or not, and by as much as all know. One that is away, or of an
// older version, keeps it; what needs more is refused until then.
func TestTheLevelRisesOnceAllKnow(t *testing.T) {
	approve := &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_ApproveStep{ApproveStep: &v1.ApproveStepRequest{InstanceId: "i", Step: "a"}}}
	below := fsm.LevelOf(approve) - 1
	knows := []uint32{0, 0, below, below}
	tweak := func(i int, c *Config) { c.begins, c.level = below, knows[i] }
	inBubble(t, options{voters: 3, others: 1, tweak: tweak}, func(t *testing.T, c *bubble) {
		again := func(i int) {
			c.stop(i)
			knows[i] = fsm.Level
			c.open(i)
		}
		level := func() uint32 { _, n := c.leader(); return n.groups[theGroup].level() }
		stays := func(why string) {
			t.Helper()
			time.Sleep(10 * time.Second)
			if is := level(); is != below {
				t.Errorf("%s, and the level is %d", why, is)
			}
		}
		c.put(create("first"))
		stays("a voter knows less")
		_, n := c.leader()
		if err := n.AddMember(c.soon(time.Minute), &v1.AddMemberRequest{NodeId: c.nodes[3].ID(), PeerAddress: c.address(3)}); err != nil {
			t.Fatal(err)
		}
		again(2)
		stays("the new member knows less")
		_, n = c.leader()
		if _, err := n.Propose(c.soon(time.Minute), approve); code(err) != v1.Code_CODE_UNSUPPORTED {
			t.Errorf("what needs more is answered: %v", err)
		}
		c.stop(3)
		stays("a member is away")
		knows[3] = fsm.Level
		c.open(3)
		c.until("the level rises", func() bool { return level() == fsm.Level })
		c.agree()
		_, n = c.leader()
		if out, err := n.Propose(c.soon(time.Minute), approve); err != nil || out.Refusal.GetCode() != v1.Code_CODE_INSTANCE_NOT_FOUND {
			t.Errorf("what needs it is answered: %v, %v", out, err)
		}
	})
}
