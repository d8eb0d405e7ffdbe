package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	"github.com/lockstep-dev/lockstep/fsm/table"
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
		sweepLevel:        {registerOf("r", nil), removeOf("r"), {Body: &logv1.Command_RecordAsk{RecordAsk: &v1.RecordAskRequest{}}}},
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

// A cluster's level is what the first entry of its log says, whatever version applies that; it rises by a command, stays where it is
// for one that is told again or that is of less, and is kept.
func TestALevelRises(t *testing.T) {
	m, err := Open(table.NewMemory())
	must(err)
	r := &rig{t: t, m: m, level: compensationLevel}
	r.apply(&logv1.Entry{})
	raise := func(to, want uint32, events ...string) {
		t.Helper()
		got := r.tell(&logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: to}}})
		if reply, ok := got.Outcomes[0].Reply.(*logv1.LevelRaised); !ok || reply.Level != want || r.m.Clock().Level != want || !slices.Equal(got.Kinds, events) {
			t.Errorf("told to rise to %d: %v, %v, and is at %d", to, got.Outcomes[0], got.Kinds, r.m.Clock().Level)
		}
	}
	timer := registration("workflow: w\nsteps:\n  a: {timer: {after: 5s}}\n")
	if _, refusal := r.do(timer); refusal.GetCode() != v1.Code_CODE_WORKFLOW_INVALID {
		t.Errorf("below its level a timer is answered %v", refusal)
	}
	raise(compensationLevel-1, compensationLevel)
	raise(compensationLevel, compensationLevel)
	raise(Level, Level, "lockstep.cluster.raised.v1")
	raise(Level, Level)
	if _, refusal := r.do(timer); refusal != nil {
		t.Errorf("at its level a timer is answered %v", refusal)
	}
	must(r.m.Flush())
	r.m, err = OpenAt(r.m.engine, compensationLevel)
	must(err)
	if is := r.m.Clock().Level; is != Level {
		t.Errorf("opened again it is at %d", is)
	}
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "this binary knows") {
			t.Errorf("a level that it does not know: %s", said)
		}
	}()
	raise(Level+1, Level)
}

// What a version would begin a cluster with is nothing to the log of one that is there: who applies it from its first entry agrees
// with those that have applied it since an older version.
func TestTheLogSaysItsLevel(t *testing.T) {
	digest := func(begins uint32) []byte {
		m, err := OpenAt(table.NewMemory(), begins)
		must(err)
		for index := uint64(1); index <= checkpointEvery; index++ {
			m.Apply(index, 1, &logv1.Entry{Header: &logv1.Header{Term: 1, Level: compensationLevel}})
		}
		_, d := m.Digest()
		return d
	}
	if !bytes.Equal(digest(compensationLevel), digest(Level)) {
		t.Error("their digests differ")
	}
}
