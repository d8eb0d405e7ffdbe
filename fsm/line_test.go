package fsm

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const (
	existing = v1.OnConflict_ON_CONFLICT_EXISTING
	fails    = v1.OnConflict_ON_CONFLICT_FAIL
	queues   = v1.OnConflict_ON_CONFLICT_QUEUE
	replaces = v1.OnConflict_ON_CONFLICT_REPLACE
)

// lined is a start of the id i, of workflow w.
func lined(on v1.OnConflict, start string) *logv1.Command {
	c := startOf("w", "i", `{}`)
	c.GetStartInstance().OnConflict, c.GetStartInstance().StartId = on, start
	return c
}

// lines starts one more of the id i, and compares the answer: which instance, in what state, at which place, and whether it was there.
func (r *rig) lines(on v1.OnConflict, start, want string, events ...string) {
	r.t.Helper()
	result := r.tell(lined(on, start))
	got := answerOf(result.Outcomes[0])
	if got != want {
		r.t.Fatalf("start %q of i, %v, is answered %q; want %q", start, on, got, want)
	}
	r.did(result, events...)
}

func answerOf(o Outcome) string {
	if o.Refusal != nil {
		return CodeName(o.Refusal.Code)
	}
	m := o.Reply.(*v1.StartInstanceResponse)
	out := m.InstanceId + " " + stateName(m.State)
	if m.Place > 0 {
		out += fmt.Sprint(" ", m.Place)
	}
	if m.Existing {
		out += " existing"
	}
	return out
}

// has compares who has the id of an instance, and who waits for it.
func (r *rig) has(id, want string) {
	r.t.Helper()
	i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: id})
	if err != nil {
		r.t.Fatal(err)
	}
	if got := strings.Join(append([]string{i.Line.GetHolder()}, i.Line.GetQueued()...), " "); got != want {
		r.t.Fatalf("the id of %s is that of %q; want %q", id, got, want)
	}
}

// What waits for an id is started in the entry in which the one that has it ends, in the order in which it came, and asked again it is
// no second one, whatever has become of it.
func TestStartsQueueBehindTheOneThatHasTheirId(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(nightly)
		r.lines(queues, "1", "i RUNNING", "instance.started", "step.ready a")
		r.lines(queues, "1", "i RUNNING existing")
		r.lines(queues, "2", "i~2 QUEUED 1", "instance.queued")
		r.midway()
		r.lines(queues, "3", "i~3 QUEUED 2", "instance.queued")
		r.lines(queues, "2", "i~2 QUEUED 1 existing")
		r.has("i", "i i~2 i~3")
		r.has("i~3", "i i~2 i~3")
		r.is("i~2", "QUEUED a=PENDING")
		if e := r.why("i~3", ""); e.Code != v1.ExplainCode_EXPLAIN_CODE_QUEUED || e.Place != 2 || strings.Join(e.Missing, " ") != "i i~2" {
			r.t.Errorf("explained as %v", e)
		}
		r.did(r.finish("i"), "step.completed a", "instance.completed", "instance.started", "step.ready a")
		r.midway()
		r.lines(queues, "1", "i COMPLETED existing")
		r.has("i", "i~2 i~3")
		r.did(r.finish("i~2"), "step.completed a", "instance.completed", "instance.started", "step.ready a")
		r.did(r.finish("i~3"), "step.completed a", "instance.completed")
		r.midway()
		r.lines(queues, "4", "i~4 RUNNING", "instance.started", "step.ready a") // nobody has it
		r.lines(queues, "3", "i~3 COMPLETED existing")
		r.has("i~2", "i~4")
	})
}

// What waits is cancelled as what runs is: those behind it move up.
func TestAQueuedStartCanBeCancelled(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(nightly)
		r.start("w", "i", `{}`) // it says nothing, and has its id as any other
		r.lines(queues, "2", "i~2 QUEUED 1", "instance.queued")
		r.lines(queues, "3", "i~3 QUEUED 2", "instance.queued")
		r.midway()
		r.did(r.tell(cancelOf("i~2")), "instance.cancelling", "step.cancelled a", "instance.cancelled")
		r.has("i", "i i~3")
		r.lines(queues, "2", "i~2 CANCELLED existing")
		r.did(r.tell(cancelOf("i")), "instance.cancelling", "step.cancelled a", "instance.cancelled", "instance.started", "step.ready a")
		r.is("i~3", "RUNNING a=READY")
		if n := r.m.namespaces[DefaultNamespace].rec; n.LiveInstances != 1 || n.Queued != 0 {
			r.t.Errorf("%d live, %d queued", n.LiveInstances, n.Queued)
		}
	})
}

const undoesA = "workflow: w\nsteps:\n  a: {queue: q, compensate: {}}\n  b: {needs: [a], queue: q}\n"

// What replaces has those cancelled that wait, and the one that has the id, and starts behind its compensations.
func TestAStartReplaces(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(undoesA)
		worker := r.session(3600 * second)
		r.lines(replaces, "1", "i RUNNING", "instance.started", "step.ready a")
		r.work(worker, "a")
		r.lines(queues, "2", "i~2 QUEUED 1", "instance.queued")
		r.lines(replaces, "3", "i~3 QUEUED 1", "instance.cancelling", "step.cancelled a", "step.cancelled b", "instance.cancelled",
			"instance.queued", "instance.cancelling", "step.cancelled b", "instance.compensating", "step.ready a.compensate")
		r.is("i~2", "CANCELLED(REPLACED) a=CANCELLED b=CANCELLED")
		r.lines(replaces, "3", "i~3 QUEUED 1 existing")
		r.midway()
		r.lines(replaces, "4", "i~4 QUEUED 1", "instance.cancelling", "step.cancelled a", "step.cancelled b", "instance.cancelled", "instance.queued") // it stops already
		r.midway()
		r.work(worker, "a.compensate")
		r.is("i", "CANCELLED(REPLACED) a=COMPLETED b=CANCELLED a.compensate=COMPLETED")
		r.is("i~4", "RUNNING a=READY b=PENDING")
		r.lines(replaces, "5", "i~5 RUNNING", "instance.queued", "instance.cancelling", "step.cancelled a", "step.cancelled b", "instance.cancelled", // nothing to wait for
			"instance.started", "step.ready a")
	})
}

// The two that start nothing where the id is taken. Without a start's name it is taken for ever, with one by what lives.
func TestStartsThatFindOrFail(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(nightly)
		r.lines(fails, "", "i RUNNING", "instance.started", "step.ready a")
		r.lines(fails, "", "INSTANCE_EXISTS")
		r.lines(fails, "2", "INSTANCE_EXISTS")
		r.lines(existing, "", "i RUNNING existing")
		r.lines(existing, "2", "i RUNNING existing")
		other := lined(existing, "")
		other.GetStartInstance().InputPayload.Bytes = []byte(`7`)
		if got := answerOf(r.tell(other).Outcomes[0]); got != "i RUNNING existing" {
			t.Errorf("what says another input is answered %q", got)
		}
		r.finish("i")
		r.midway()
		r.lines(fails, "", "INSTANCE_EXISTS")
		r.lines(existing, "", "i COMPLETED existing")
		r.lines(fails, "3", "i~3 RUNNING", "instance.started", "step.ready a")
		r.lines(fails, "3", "i~3 RUNNING existing")
		r.lines(existing, "4", "i~3 RUNNING existing")
		r.lines(fails, "5", "INSTANCE_EXISTS")
		r.finish("i~3")
		r.lines(existing, "6", "i~6 RUNNING", "instance.started", "step.ready a")
		r.lines(existing, "6", "i~6 RUNNING existing")
	})
}

// A request of a session is answered as it was the first time, and so is one without, for the start has a name.
func TestAQueuedStartIsAnsweredAgainAsItWas(t *testing.T) {
	r := newRig(t)
	r.register(nightly)
	r.start("w", "i", `{}`)
	c := lined(queues, "2")
	c.Envelope = &logv1.Envelope{Session: r.session(3600 * second), RequestId: 1}
	first := r.tell(c).Outcomes[0].Reply
	r.finish("i")
	if again := r.tell(c).Outcomes[0].Reply; !proto.Equal(first, again) {
		t.Errorf("first %v, again %v", first, again)
	}
	r.lines(queues, "2", "i~2 RUNNING existing")
}

// A start with the name of another that says something else is none of it.
func TestAStartIsAnother(t *testing.T) {
	r := newRig(t)
	r.register(nightly)
	r.start("w", "i", `{}`)
	r.start("w", "i~7", `{}`)
	r.lines(queues, "7", "INSTANCE_EXISTS") // it was started under that id
	r.lines(queues, "2", "i~2 QUEUED 1", "instance.queued")
	other := lined(queues, "2")
	other.GetStartInstance().InputPayload.Bytes = []byte(`7`)
	if got := answerOf(r.tell(other).Outcomes[0]); got != "INSTANCE_EXISTS" {
		t.Errorf("what says another input is answered %q", got)
	}
	again := lined(queues, "1")
	again.GetStartInstance().InstanceId = "i~2"
	if got := answerOf(r.tell(again).Outcomes[0]); got != "i~2~1 QUEUED 1" {
		t.Errorf("one behind a queued one is answered %q", got)
	}
}

// A hundred wait for an id, and no more.
func TestALineIsBounded(t *testing.T) {
	r := newRig(t)
	r.register(nightly)
	r.start("w", "i", `{}`)
	for n := range maxLine {
		r.lines(queues, fmt.Sprint(n), fmt.Sprintf("i~%d QUEUED %d", n, n+1), "instance.queued")
	}
	r.lines(queues, "x", "OVERLOADED")
	if got := answerOf(r.tell(lined(replaces, "y")).Outcomes[0]); got != "i~y RUNNING" {
		t.Errorf("what replaces them is answered %q", got)
	}
}

func TestWrongStartsAreRefused(t *testing.T) {
	r := newRig(t)
	r.register(nightly)
	for why, c := range map[string]*logv1.Command{
		"a start's name alone":      lined(0, "1"),
		"none to queue":             lined(queues, ""),
		"none to replace":           lined(replaces, ""),
		"a policy that is none":     lined(9, "1"),
		"names that are too long":   lined(queues, strings.Repeat("x", maxID-1)),
		"a policy that is negative": lined(-1, "1"),
	} {
		if got := answerOf(r.tell(c).Outcomes[0]); got != "INVALID" {
			t.Errorf("%s is answered %q", why, got)
		}
	}
	r.lines(queues, strings.Repeat("x", maxID-2), "i RUNNING", "instance.started", "step.ready a")
}

// What is queued takes part in nothing but its line: it is not found by its keys, and a signal by its id is kept for it.
func TestWhatIsQueuedIsNotBegun(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\ntimeouts: {total: 1m}\nsteps:\n  a: {signal: {name: go}}\n")
		for n, start := range []string{"1", "2"} {
			c := lined(queues, start)
			c.GetStartInstance().Keys = map[string]string{"k": "v"}
			if refusal := r.tell(c).Outcomes[0].Refusal; refusal != nil {
				r.t.Fatal(n, refusal)
			}
		}
		r.keyed("k=v", "[i]")
		r.did(r.tell(signalOf("i~2", "go")), "signal.received")
		r.midway()
		r.did(r.tick(60*second), "instance.failing", "step.cancelled a", "instance.failed", "instance.started", "step.waiting a", "signal.delivered a", "step.completed a", "instance.completed")
		r.keyed("k=v", "[]")
	})
}

const awaitsNext = "workflow: x\nsteps:\n  a: {await: {instance: i~2}}\n  b: {needs: [{step: a, ends: failed}], queue: q}\n"

// One that waits for what is queued behind it would wait for ever: its wait fails, whichever of the two came first.
func TestALineIsPartOfACycle(t *testing.T) {
	behind := func() *logv1.Command { return lined(queues, "2") }
	scenario(t, func(r *rig) {
		r.register(nightly)
		r.register(awaitsNext)
		r.start("x", "i", `{}`)
		r.is("i", "RUNNING a=WAITING b=PENDING")
		r.midway()
		result := r.tell(behind())
		r.did(result, "instance.queued", "step.failed a", "step.ready b")
		if got := r.reason("i", "a"); got != `AWAIT_CYCLE: the waits are a cycle: step "a" of instance "i" waits for instance "i~2", instance "i~2", which is queued, waits for instance "i"` {
			r.t.Error(got)
		}
	})
	scenario(t, func(r *rig) {
		r.register(nightly)
		r.register(strings.Replace(strings.Replace(awaitsNext, "i~2", "i~3", 1), "steps:", "steps:\n  z: {timer: {after: 5s}}", 1))
		r.register("workflow: y\nsteps:\n  a: {timer: {after: 1s}}\n  b: {needs: [a], await: {instance: j}}\n")
		r.start("y", "i", `{}`) // i waits for j, and j for one behind i
		r.tell(behind())
		r.tell(lined(queues, "3"))
		r.start("x", "j", `{}`)
		r.is("j", "RUNNING z=WAITING a=WAITING b=PENDING")
		r.midway()
		r.did(r.tick(second), "timer.fired a", "step.completed a", "step.waiting b", "step.failed b", "instance.failing", "instance.failed", "instance.started", "step.ready a")
	})
}

// Below its level such a start is answered as by a version that knows nothing of it.
func TestAnOlderLevelKnowsNoConflicts(t *testing.T) {
	r := newRig(t)
	r.register(nightly)
	r.m.group.Level = lineLevel - 1
	r.lines(queues, "1", "i RUNNING", "instance.started", "step.ready a")
	r.lines(queues, "2", "i RUNNING existing")
	if LevelOf(lined(fails, "")) != lineLevel || LevelOf(lined(0, "1")) != lineLevel || LevelOf(startOf("w", "i", `{}`)) != 0 {
		t.Error("the levels of starts are not theirs")
	}
}

// checkLines: what waits for an id is queued, in its place and nowhere else, behind one that lives.
func checkLines(m *Machine, ns *namespace) error {
	queued, waiting := 0, 0
	t := &turn{m: m, ns: ns}
	for _, i := range ns.instances {
		if i.rec.State == v1.InstanceState_INSTANCE_STATE_QUEUED {
			queued++
			if first := t.known(i.rec.Line.First); t.placeOf(i) == 0 || len(first.rec.Line.Queued) > maxLine {
				return fmt.Errorf("instance %s is queued, and nobody knows", i.rec.InstanceId)
			}
		}
		of, is := i.lineOf()
		if !is || of != i.rec.InstanceId {
			continue
		}
		waiting += len(i.rec.Line.Queued)
		if len(i.rec.Line.Queued) > 0 && !t.holder(i).live() {
			return fmt.Errorf("%v wait for the id %s, which nobody has", i.rec.Line.Queued, of)
		}
		for _, id := range i.rec.Line.Queued {
			if q := t.known(id); q == nil || q.rec.State != v1.InstanceState_INSTANCE_STATE_QUEUED {
				return fmt.Errorf("%s is to wait for the id %s, and does not", id, of)
			}
		}
	}
	if int64(queued) > ns.rec.Queued || int64(waiting) > ns.rec.Queued {
		return fmt.Errorf("%d are queued, %d wait for their id, and %d are counted", queued, waiting, ns.rec.Queued)
	}
	return nil
}
