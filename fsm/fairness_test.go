package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// byCustomer has runs of one queue that take turns by customer.
const byCustomer = "workflow: w\nsteps:\n  a: {queue: q, fairness: {key: \"${input.c}\", weight: 1}, retry: {attempts: 3, backoff: 1s}}\n"

// starts starts an instance for each name, of which the letters are the key: a1 is of customer a, and 1 of none.
func (r *rig) starts(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.start("w", name, fmt.Sprintf(`{"c":%q}`, strings.TrimRight(name, "0123456789")))
	}
}

// takes polls so many runs one by one, and says whose they are.
func (r *rig) takes(session int64, want string) (runs map[string]*v1.LeasedRun) {
	r.t.Helper()
	var got []string
	runs = map[string]*v1.LeasedRun{}
	for range strings.Fields(want) {
		for _, run := range r.poll(session, "q", 1) {
			got, runs[run.InstanceId] = append(got, run.InstanceId), run
		}
	}
	if strings.Join(got, " ") != want {
		r.t.Fatalf("leased are %v; want %s", got, want)
	}
	return runs
}

// Runs of a queue take turns by key; within a key they go in their order.
func TestKeysTakeTurns(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(byCustomer)
		worker := r.session(1000 * second)
		r.starts("a1", "a2", "a3", "a4", "b1", "b2", "c1", "1", "2")
		r.midway()
		r.takes(worker, "a1 b1 c1 1")
		r.midway()
		r.takes(worker, "a2")
		r.starts("d1", "b3") // d comes, and its turn is with those who wait for theirs; c is done
		r.midway()
		r.takes(worker, "b2 2 d1 a3 b3 a4")
		if q := r.m.namespaces[DefaultNamespace].queues["q"]; q.fair != nil || q.readyRuns() != 0 {
			r.t.Errorf("nothing waits, and what is remembered is\n%s", sayFairness(q))
		}
	})
}

// A key has as many turns as its weight, where another has one.
func TestWeights(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(strings.ReplaceAll(byCustomer, "weight: 1", "weight: 3"))
		r.register("workflow: v\nsteps:\n  a: {queue: q, fairness: {key: light}}\n")
		worker := r.session(1000 * second)
		r.starts("a1", "a2", "a3", "a4", "a5", "a6", "a7")
		for n := range 3 {
			r.start("v", fmt.Sprint("v", n), `{}`)
		}
		r.midway()
		r.takes(worker, "a1 v0 a2 a3")
		r.midway()
		r.takes(worker, "a4 v1 a5 a6 a7 v2")
	})
}

// Priority counts among the runs of a key, and between keys whose turns are equal.
func TestPriorityIsWithinAKey(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(byCustomer)
		r.register("workflow: u\nsteps:\n  a: {queue: q, priority: 5, fairness: {key: a}}\n")
		worker := r.session(1000 * second)
		r.starts("a1", "a2", "b1", "b2")
		r.start("u", "urgent0", `{}`)
		r.start("u", "urgent1", `{}`)
		r.midway()
		r.takes(worker, "urgent0 b1 urgent1 b2 a1 a2")
	})
}

// A run that is given back, and one that is tried again, stands in its key's line as it did; the turn was taken.
func TestATurnThatCameToNothing(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(byCustomer)
		worker := r.session(1000 * second)
		r.starts("a1", "a2", "b1", "b2")
		given := r.takes(worker, "a1")["a1"]
		r.tell(&logv1.Command{Body: &logv1.Command_ReleaseStep{ReleaseStep: &v1.ReleaseStepRequest{InstanceId: given.InstanceId, Step: given.Step, Token: given.Token}}})
		r.midway()
		failed := r.takes(worker, "b1")["b1"]
		r.tell(&logv1.Command{Body: &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{InstanceId: failed.InstanceId, Step: failed.Step, Token: failed.Token, Code: "BROKEN", Retryable: true}}})
		r.takes(worker, "a1")
		r.tick(2 * second)
		r.midway()
		r.takes(worker, "b2 a2 b1") // b1 is younger now, and only then
	})
}

// A key that comes and goes gains nothing by it.
func TestComingAndGoingGainsNothing(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(byCustomer)
		worker := r.session(1000 * second)
		r.starts("a1", "a2", "a3", "b1")
		r.takes(worker, "a1 b1")
		r.starts("b2") // b had its turn
		r.midway()
		r.takes(worker, "a2 b2")
		r.starts("b3")
		r.midway()
		r.takes(worker, "a3 b3")
	})
}

// Who is given a run by its name, or by the end of a lock that it waits for, takes nobody's turn; nor does a claim that finds its lock
// busy.
func TestWhatIsNoTurn(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(strings.Replace(byCustomer, "queue: q,", "queue: q, locks: [\"${input.lock}\"],", 1))
		worker := r.session(1000 * second)
		start := func(id, key, lock string) {
			r.start("w", id, fmt.Sprintf(`{"c":%q,"lock":%q}`, key, lock))
		}
		start("a1", "a", "l1")
		start("a2", "a", "l1")
		start("a3", "a", "l2")
		start("b1", "b", "l3")
		start("b2", "b", "l4")
		r.do(&logv1.Command{Body: &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{Session: worker, InstanceId: "b2", Step: "a"}}})
		r.midway()
		first := r.takes(worker, "a1 b1")
		r.midway()
		r.takes(worker, "a3") // a2 parks on the way
		if e := r.why("a2", "a"); e.Code != v1.ExplainCode_EXPLAIN_CODE_LOCK_HELD || e.FairnessKey != "a" || e.KeyPlace != 0 {
			r.t.Errorf("a2 is explained as %v", e)
		}
		r.done(first["a1"], `{}`)
		start("b3", "b", "l3x")
		r.midway()
		r.takes(worker, "a2 b3") // for nothing else is remembered
	})
}

// A completion's next takes turns as a poll does; of several queues the first of each are compared by their wait. So does credit that
// waits, when one entry makes several ready.
func TestNextAndCreditTakeTurns(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(byCustomer)
		r.register("workflow: p\nsteps:\n  a: {queue: p}\n")
		fan := "workflow: f\nsteps:\n"
		for n, key := range []string{"x", "x", "x", "y"} {
			fan += fmt.Sprintf("  s%d: {queue: q, fairness: {key: %s}}\n", n, key)
		}
		r.register(fan)
		worker := r.session(1000 * second)
		r.starts("a1", "a2")
		r.start("p", "plain", `{}`)
		r.starts("b1")
		first := r.takes(worker, "a1")["a1"]
		r.midway()
		var got []string
		for _, run := range r.completeNext(first, 0, 4, "p", "q").Next {
			got = append(got, run.InstanceId)
		}
		if fmt.Sprint(got) != "[plain b1 a2]" {
			r.t.Fatalf("next are %v", got)
		}
		r.streams(worker, 77)
		for range 2 {
			r.tell(&logv1.Command{Envelope: &logv1.Envelope{WaitId: 77}, Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: worker, Queues: []string{"q"}, Count: 3, Credit: true}}})
		}
		r.midway()
		got = nil
		for _, settled := range r.tell(startOf("f", "fan", `{}`)).Settled {
			for _, run := range settled.Reply.(*v1.PollStepsResponse).Runs {
				got = append(got, run.Step)
			}
		}
		if fmt.Sprint(got) != "[s0 s3 s1]" {
			r.t.Errorf("credit is granted %v", got)
		}
	})
}

// What is there of keys is told: by Explain, by the queue, and by events.
func TestTurnsAreTold(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(byCustomer)
		r.starts("a1", "a2", "b1", "1")
		got := r.tell(startOf("w", "b2", `{"c":"b"}`)).Events()
		if key := got[len(got)-1].Data.FairnessKey; key != "b" {
			r.t.Errorf("the event tells key %q", key)
		}
		r.midway()
		e := r.why("b2", "a")
		if want := `Step "a" is number 2 of key "b", whose turn is number 2 of 3, in queue "q", and no worker polls it.`; e.Sentence != want || e.Place != 2 || e.KeyPlace != 2 || e.FairnessKey != "b" {
			r.t.Errorf("b2 is explained as %v", e)
		}
		if want := `Step "a" is number 1 of those without a key, whose turn is number 3 of 3, in queue "q", and no worker polls it.`; r.why("1", "a").Sentence != want {
			r.t.Errorf("1 is explained as %v", r.why("1", "a"))
		}
		list, err := r.m.ListQueues(&v1.ListQueuesRequest{})
		if err != nil || len(list.Queues) != 1 || list.Queues[0].Ready != 5 || list.Queues[0].KeyCount != 3 {
			r.t.Fatalf("listed are %v, %v", list, err)
		}
		var keys []string
		for _, k := range list.Queues[0].Keys {
			keys = append(keys, fmt.Sprint(k.Key, " ", k.Ready))
		}
		if fmt.Sprint(keys) != "[a 2 b 2  1]" {
			r.t.Errorf("the keys are %q", keys)
		}
	})
}

// However many keys there are, what is told of a queue is bounded.
func TestWhatIsToldOfKeysIsBounded(t *testing.T) {
	r := newRig(t)
	r.register(byCustomer)
	for n := range keysLooked + 10 {
		r.start("w", fmt.Sprint("i", n), fmt.Sprintf(`{"c":"k%d"}`, n))
	}
	list, err := r.m.ListQueues(&v1.ListQueuesRequest{})
	if err != nil || len(list.Queues[0].Keys) != keysTold || list.Queues[0].KeyCount != keysLooked+10 {
		t.Errorf("%d keys are told of %d, %v", len(list.Queues[0].Keys), list.Queues[0].KeyCount, err)
	}
	if e := r.why(fmt.Sprint("i", keysLooked+5), "a"); e.KeyPlace != keysLooked {
		t.Errorf("the last is explained as %v", e)
	}
}

// A key that cannot be evaluated, or is none, is an incident; an empty one is as if there was none.
func TestKeysThatAreNone(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(byCustomer)
		r.start("w", "none", `{}`)
		r.start("w", "long", fmt.Sprintf(`{"c":%q}`, strings.Repeat("x", 257)))
		r.start("w", "empty", `{"c":""}`)
		r.midway()
		r.is("none", "RUNNING a=INCIDENT")
		r.is("long", "RUNNING a=INCIDENT")
		r.is("empty", "RUNNING a=READY")
		if e := r.why("long", "a"); !strings.Contains(e.Sentence, "FAIRNESS_INVALID") || !strings.Contains(e.Sentence, "KEY_INVALID") {
			r.t.Errorf("it is explained as %v", e)
		}
		if r.m.namespaces[DefaultNamespace].queues["q"].fair != nil {
			r.t.Error("a queue without keys has turns")
		}
	})
}

// Below their level definitions with keys are refused, as by a version that does not know them.
func TestFairnessHasALevel(t *testing.T) {
	c := registration(byCustomer)
	undone := registration("workflow: w\nsteps:\n  a: {compensate: {fairness: {key: x}}}\n")
	if LevelOf(c) != fairLevel || LevelOf(undone) != fairLevel {
		t.Errorf("they are of levels %d and %d", LevelOf(c), LevelOf(undone))
	}
	r := newRig(t)
	r.m.group.Level = fairLevel - 1
	if _, refusal := r.do(c); refusal.GetCode() != v1.Code_CODE_WORKFLOW_INVALID {
		t.Errorf("answered is %v", refusal)
	}
}

// A namespace that goes takes its turns along, those that are stored and those that are not, and one that is made again under its name
// has none of them.
func TestTurnsGoWithTheirNamespace(t *testing.T) {
	scenario(t, func(r *rig) {
		in := func(c *logv1.Command) proto.Message {
			r.t.Helper()
			c.Envelope = &logv1.Envelope{Namespace: "n"}
			reply, refusal := r.do(c)
			if refusal != nil {
				r.t.Fatal(refusal)
			}
			return reply
		}
		create := func() {
			in(&logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}})
			in(registration(byCustomer))
		}
		leases := func(ids ...string) {
			r.t.Helper()
			session := in(&logv1.Command{Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: 1000 * second}}}).(*v1.Session)
			for _, id := range ids {
				poll := &logv1.PollSteps{Session: sessionID(session.SessionId), Queues: []string{"q"}, Count: 1}
				runs := in(&logv1.Command{Body: &logv1.Command_PollSteps{PollSteps: poll}}).(*v1.PollStepsResponse).Runs
				if len(runs) != 1 || runs[0].InstanceId != id {
					r.t.Fatalf("leased is %v; want %s", runs, id)
				}
			}
		}
		starts := func(ids ...string) {
			for _, id := range ids {
				in(startOf("w", id, fmt.Sprintf(`{"c":%q}`, id[:1])))
			}
		}
		create()
		starts("a1", "a2", "a3", "b1", "b2", "c1")
		leases("a1", "b1")
		r.midway()
		leases("c1", "a2")
		in(&logv1.Command{Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n", Force: true}}})
		create()
		starts("b1", "a1", "b2")
		r.midway()
		leases("b1", "a1", "b2")
	})
}

// checkFairness: lanes have the runs that wait, in order, and nothing is remembered that may be forgotten.
func checkFairness(q *queue) error {
	f := q.fair
	if f == nil {
		return nil
	}
	heads, ready := map[string]readyRun{}, map[string]int{}
	count := func(key string, r readyRun) bool {
		if ready[key]++; ready[key] == 1 {
			heads[key] = r
		}
		return true
	}
	q.ready.Ascend(func(r readyRun) bool { return count("", r) })
	f.runs.Ascend(func(r keyedRun) bool { return count(r.key, r.readyRun) })
	for key, l := range f.lanes {
		n := ready[key]
		delete(ready, key)
		switch {
		case l.ready != n || l.waits != (n > 0) || l.held:
			return fmt.Errorf("key %q has %d runs, and %+v", key, n, l)
		case n > 0 && (l.where != laneLined || l.head != heads[key] || !f.line.Has(l)):
			return fmt.Errorf("key %q has runs, and is not in line: %+v", key, l)
		case n == 0 && (l.where != laneIdle || l.tag <= f.now || !f.idle.Has(l)):
			return fmt.Errorf("key %q has no runs, and is remembered at %d: %+v", key, f.now, l)
		}
	}
	_, keyless := f.lanes[""]
	if len(ready) > 0 || f.held != 0 || f.line.Len()+f.idle.Len() != len(f.lanes) || f.idle.Len() > maxIdle || f.line.Len() == 0 || keyless && len(f.lanes) == 1 {
		return fmt.Errorf("keys %v have no lane; %d lanes, %d in line, %d idle, %d held", ready, len(f.lanes), f.line.Len(), f.idle.Len(), f.held)
	}
	return nil
}

// sayFairness is all that is known of a queue's turns.
func sayFairness(q *queue) string {
	f := q.fair
	if f == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  turns at %d\n", f.now)
	for _, key := range slices.Sorted(maps.Keys(f.lanes)) {
		l := f.lanes[key]
		fmt.Fprintf(&b, "  lane %q at %d, %d ready, %d", key, l.tag, l.ready, l.where)
		if l.ready > 0 {
			fmt.Fprintf(&b, ", first %d %d %v", l.head.order, l.head.seq, *l.head.run)
		}
		b.WriteString("\n")
	}
	f.runs.Ascend(func(r keyedRun) bool {
		fmt.Fprintf(&b, "  ready %q %d %d %v\n", r.key, r.order, r.seq, *r.run)
		return true
	})
	return b.String()
}
