package fsm

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func registration(yaml string) *logv1.Command {
	d, err := source.Parse([]byte(yaml), "yaml")
	must(err)
	return &logv1.Command{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Workflow: d.Name, Digest: d.Digest, Graph: d.Canonical}}}
}

// What an older version does not know is kept out of the log below its level.
func TestCommandsHaveLevels(t *testing.T) {
	for level, commands := range map[uint32][]*logv1.Command{
		0: {
			registration(chain), {Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{}}},
			{Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{Graph: []byte("{}")}}},
		},
		compensationLevel: {registration(chainOfThree), {Body: &logv1.Command_CompensateInstance{CompensateInstance: &v1.CompensateInstanceRequest{}}}},
	} {
		for _, c := range commands {
			if got := LevelOf(c); got != level {
				t.Errorf("%v has level %d, not %d", c, got, level)
			}
		}
	}
}

// A cluster that has members which know no compensations refuses them as those do: replicas agree on what is remembered.
func TestAnOlderLevelRefusesCompensations(t *testing.T) {
	r := newRig(t)
	register := func(yaml string) (proto.Message, *v1.Refusal) { return r.do(registration(yaml)) }
	r.m.group.Level = compensationLevel - 1
	if _, refusal := register(chainOfThree); refusal.GetCode() != v1.Code_CODE_WORKFLOW_INVALID || !strings.Contains(refusal.Reason, "does not compile") {
		t.Errorf("answered is %v", refusal)
	}
	if _, refusal := register(chain); refusal != nil {
		t.Errorf("a plain workflow is answered %v", refusal)
	}
	r.m.group.Level = compensationLevel
	if _, refusal := register(chainOfThree); refusal != nil {
		t.Errorf("answered is %v", refusal)
	}
}
