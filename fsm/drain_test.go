package fsm

import (
	"fmt"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func drainOf(version int32) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_DrainVersion{DrainVersion: &v1.DrainVersionRequest{Workflow: "w", Version: version, Reason: "too old"}}}
}

func undrainOf(version int32) *logv1.Command {
	return &logv1.Command{Body: &logv1.Command_UndrainVersion{UndrainVersion: &v1.UndrainVersionRequest{Workflow: "w", Version: version}}}
}

// versions compares what is shown of the versions of w: how many live of each, and whether it is drained.
func (r *rig) versions(want string) {
	r.t.Helper()
	list, err := r.m.ListWorkflows(&v1.ListWorkflowsRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, w := range list.Workflows {
		if w.Workflow == "w" {
			says := fmt.Sprint(w.LiveInstances)
			if w.Drained {
				says += " " + w.Reason
			}
			got = append(got, says)
		}
	}
	if strings.Join(got, ", ") != want {
		r.t.Fatalf("the versions are %q; want %q", got, want)
	}
}

// drained starts an instance, which must be refused.
func (r *rig) drained(version int32, sentence string) {
	r.t.Helper()
	c := startOf("w", "no", `{}`)
	c.GetStartInstance().Version = version
	_, refusal := r.do(c)
	if refusal.GetCode() != v1.Code_CODE_VERSION_DRAINED || !strings.Contains(refusal.GetReason(), sentence) {
		r.t.Fatalf("refused with %v; want %q", refusal, sentence)
	}
}

// A version that is drained starts nothing, and what it started runs on; the newest is the newest of the others.
func TestADrainedVersionStartsNothing(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(nightly)
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n")
		if v := r.start("w", "i1", `{}`).Version; v != 2 {
			r.t.Fatalf("it is of version %d", v)
		}
		r.versions("0, 1")
		r.did(r.tell(drainOf(2)), "workflow.drained")
		r.did(r.tell(drainOf(2)))
		r.midway()
		r.versions("0, 1 too old")
		if v := r.start("w", "i2", `{}`).Version; v != 1 {
			r.t.Fatalf("it is of version %d", v)
		}
		r.drained(2, "start version 1, or leave the version out")
		if again := r.start("w", "i1", `{}`); !again.Existing || again.Version != 2 {
			r.t.Errorf("started again: %v", again)
		}
		r.midway()
		r.did(r.tell(drainOf(1)), "workflow.drained")
		r.drained(0, "every version of workflow \"w\" is drained")
		r.drained(1, "every version")
		r.tell(cancelOf("i1"))
		r.versions("1 too old, 0 too old")
		r.midway()
		r.did(r.tell(undrainOf(2)), "workflow.undrained")
		r.did(r.tell(undrainOf(2)))
		r.drained(1, "start version 2")
		if v := r.start("w", "i3", `{}`).Version; v != 2 {
			r.t.Fatalf("it is of version %d", v)
		}
		r.versions("1 too old, 1")
	})
}

// Nothing starts a version that is drained: no call, schedule or signal. What was queued before is of its version already, and starts.
func TestADrainedVersionIsStartedByNothing(t *testing.T) {
	scenario(t, func(r *rig) {
		r.plans(nil)
		r.register("workflow: caller\nsteps:\n  a: {call: {workflow: w}}\n  b: {needs: [{step: a, ends: failed}], queue: q}\n")
		r.start("w", "i", `{}`)
		r.lines(queues, "2", "i~2 QUEUED 1", "instance.queued")
		r.tell(drainOf(1))
		r.versions("2 too old") // what is queued counts
		r.midway()
		r.happened(r.fire(10), "schedule.failed")
		r.start("caller", "c", `{}`)
		if got := r.reason("c", "a"); !strings.HasPrefix(got, "VERSION_DRAINED: every version") {
			r.t.Errorf("the call fails with %q", got)
		}
		r.is("c", "RUNNING a=FAILED b=READY")
		_, refusal := r.do(sent(&v1.SendSignalRequest{Key: keyOf("k=v"), Name: "go", SignalId: "1", Start: &v1.StartInstanceRequest{Workflow: "w"}}))
		if refusal.GetCode() != v1.Code_CODE_VERSION_DRAINED {
			r.t.Errorf("a signal is answered %v", refusal)
		}
		r.lines(queues, "3", "VERSION_DRAINED")
		r.lines(queues, "2", "i~2 QUEUED 1 existing")
		_, refusal = r.do(createOf(&v1.CreateScheduleRequest{Schedule: "t", Cron: "@every 10s", Workflow: "w"}))
		if refusal.GetCode() != v1.Code_CODE_VERSION_DRAINED {
			r.t.Errorf("a schedule is answered %v", refusal)
		}
		r.finish("i")
		r.is("i~2", "RUNNING a=READY")
		r.finish("i~2")
		r.versions("0 too old")
		r.tell(undrainOf(1))
		r.happened(r.fire(20), started)
	})
}

func TestWrongDrainsAreRefused(t *testing.T) {
	r := newRig(t)
	r.register(nightly)
	for version, want := range map[int32]v1.Code{0: v1.Code_CODE_INVALID, 2: v1.Code_CODE_WORKFLOW_NOT_FOUND, -1: v1.Code_CODE_WORKFLOW_NOT_FOUND} {
		for _, c := range []*logv1.Command{drainOf(version), undrainOf(version)} {
			if _, refusal := r.do(c); refusal.GetCode() != want {
				t.Errorf("version %d is answered %v", version, refusal)
			}
		}
	}
	if LevelOf(drainOf(1)) != useLevel || LevelOf(undrainOf(1)) != useLevel {
		t.Error("the levels of drains are not theirs")
	}
}

// What was started below the level is counted when the cluster comes to it, whether it is in memory or not.
func TestWhatLivesIsCountedAtItsLevel(t *testing.T) {
	scenario(t, func(r *rig) {
		r.m.group.Level, r.level = useLevel-1, useLevel-1
		r.register(nightly)
		r.start("w", "i1", `{}`)
		r.start("w", "i2", `{}`)
		r.start("w", "i3", `{}`)
		r.finish("i2")
		r.versions("0")
		r.midway()
		r.tell(&logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: useLevel}}})
		r.versions("2")
		r.midway()
		r.finish("i1")
		r.start("w", "i4", `{}`)
		r.tell(cancelOf("i4"))
		r.versions("1")
	})
}

// checkUses: what lives in a namespace lives of its versions.
func checkUses(m *Machine, ns *namespace) error {
	live := int64(0)
	for _, name := range ns.flows {
		for _, v := range ns.workflows[name].versions {
			live += v.use.Live
		}
	}
	if m.level() >= useLevel && live != ns.rec.LiveInstances {
		return fmt.Errorf("namespace %s has %d live instances, and its versions have %d", ns.rec.Namespace, ns.rec.LiveInstances, live)
	}
	return nil
}
