package fsm

import (
	"fmt"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// begins has a signal start an instance of a workflow; no id is that of the key.
func begins(s *v1.SendSignalRequest, workflow, id string, keys ...string) *v1.SendSignalRequest {
	s.Start = &v1.StartInstanceRequest{Workflow: workflow, InstanceId: id, InputPayload: &v1.Payload{Bytes: []byte(`{}`)}, Keys: keysOf(keys...)}
	return s
}

// A signal starts what it is for, which has it before its first step, and what was kept for it too; whoever comes next finds
// that instance.
func TestASignalStartsAnInstance(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hearsTwo)
		r.sends(by("who=ann", "on", 0), "", "signal.kept")
		got := r.tell(sent(begins(by("order=7", "go", 1), "two", "i", "who=ann")))
		if said := sayReply(got.Outcomes[0]); said != "started, i, delivered" {
			r.t.Fatalf("answered %s", said)
		}
		want := "[instance.started signal.received signal.received step.waiting a signal.delivered a step.completed a step.waiting b signal.delivered b step.completed b instance.completed signal.correlated]"
		if fmt.Sprint(kinds(got)) != want {
			r.t.Fatalf("it did %v", kinds(got))
		}
		r.midway()
		r.sends(begins(by("order=7", "go", 1), "two", "i"), "again, started, i, delivered")
		r.sends(begins(by("order=7", "on", 2), "two", "j"), "started, j", "instance.started", "signal.received", "step.waiting a", "signal.correlated")
		r.midway()
		r.sends(begins(by("order=7", "on", 3), "two", "k"), "j", "signal.received", "signal.correlated") // a race that it has lost
		r.is("j", "RUNNING a=WAITING b=PENDING")
		r.keyed("order=7", "[j]")
		if _, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "k"}); err == nil {
			r.t.Error("a second instance was started for the key")
		}
	})
}

// Without an id what is started is called after its key, and is the only one ever.
func TestAKeyStartsOnce(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		r.sends(begins(by("order=7", "never", 1), "w", ""), "started, order/7", "instance.started", "signal.received", "step.waiting a", "signal.correlated")
		r.sends(begins(by("order=7", "go", 2), "w", ""), "order/7, delivered", "signal.received", "signal.delivered a", "step.completed a", "instance.completed", "signal.correlated")
		r.midway()
		_, refusal := r.do(sent(begins(by("order=7", "go", 3), "w", "")))
		if refusal.GetCode() != v1.Code_CODE_INSTANCE_EXISTS || !strings.Contains(refusal.Reason, `"order/7" is COMPLETED`) {
			r.t.Fatalf("answered %v", refusal)
		}
		r.sends(begins(by("order=7", "go", 3), "w", "again"), "started, again, delivered", "instance.started", "signal.received", "step.waiting a", "signal.delivered a", "step.completed a", "instance.completed", "signal.correlated")
	})
}

// What cannot be started is refused, and nothing is kept of the signal. Where somebody has the key what it would start does not matter.
func TestASignalThatCannotStartIsRefused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		r.register("workflow: strict\ninputSchema: {type: object, required: [order]}\nsteps:\n  a: {signal: {name: go}}\n")
		r.startKeyed("w", "other", "order=8")
		broadcast := begins(by("order=7", "go", 1), "w", "")
		broadcast.Broadcast = true
		toOne := begins(&v1.SendSignalRequest{InstanceId: "other", Name: "go", SignalId: "1"}, "w", "")
		for _, c := range []struct {
			s    *v1.SendSignalRequest
			want string
		}{
			{begins(by("order=7", "go", 1), "none", ""), "WORKFLOW_NOT_FOUND"},
			{begins(by("order=7", "go", 1), "strict", ""), "INPUT_INVALID"},
			{begins(by("order=7", "go", 1), "w", "other"), "INSTANCE_EXISTS"},
			{begins(by("order=7", "go", 1), "w", "", "order=8"), "INVALID"},
			{broadcast, "INVALID"},
			{toOne, "INVALID"},
		} {
			r.sends(c.s, c.want)
		}
		r.midway()
		if r.rows() != "0 0 0" {
			r.t.Fatalf("there are %s rows", r.rows())
		}
		r.sends(begins(by("order=8", "on", 1), "none", ""), "other", "signal.received", "signal.correlated")
	})
}

// An instance has a signal of one id once: of what was kept for it, and started it, the first.
func TestAStartTakesASignalOnce(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		r.sends(by("who=ann", "go", 1), "", "signal.kept")
		twice := begins(by("order=7", "go", 1), "w", "i", "who=ann")
		r.sends(twice, "started, i, delivered", "instance.started", "signal.received", "step.waiting a", "signal.delivered a", "step.completed a", "instance.completed", "signal.correlated")
		r.midway()
	})
}

// However much is kept under 16 keys, who is started by a signal has that, and what it leaves waits for the next.
func TestAStartTakesNoMoreThanAnInstanceKeeps(t *testing.T) {
	r := newRig(t)
	r.register(hears)
	var keys []string
	for k := range 15 {
		keys = append(keys, fmt.Sprint("k", k, "=1"))
		for n := range keptLimit {
			r.sends(by(keys[k], "never", 1000*k+n), "", "signal.kept")
		}
	}
	must(r.m.Flush())
	reply := sayReply(r.tell(sent(begins(by("order=7", "never", 1e6), "w", "i", keys...))).Outcomes[0])
	if i := r.m.namespaces[DefaultNamespace].instances["i"]; reply != "started, i" || len(i.rec.Seen) != maxSignals || i.saw("never1000000") == nil {
		t.Fatalf("answered %s; it has %d signals", reply, len(i.rec.Seen))
	}
	if err := check(r.m); err != nil {
		t.Error(err)
	}
	r.reopened()
	r.startKeyed("w", "j", keys...)
	if i := r.m.namespaces[DefaultNamespace].instances["j"]; len(i.rec.Seen) != 15*keptLimit-maxSignals+1 {
		t.Fatalf("the next has %d signals", len(i.rec.Seen))
	}
}

// A start by a signal is of the level of keys.
func TestAStartBySignalHasALevel(t *testing.T) {
	if LevelOf(&logv1.Command{Body: &logv1.Command_SendSignal{SendSignal: begins(&v1.SendSignalRequest{}, "w", "")}}) != keysLevel {
		t.Error("it has none")
	}
}
