package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/require"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// byKeyed is a workflow that waits by the key order=7, and says what became of that.
const byKeyed = "workflow: %s\nsteps:\n  wait: {await: {key: {order: \"7\"}%s}, timeouts: {total: 60s}}\n  go: {needs: [wait], queue: f}\n"

// paid is what others wait for: it can complete, fail, or leave a step out.
const paid = "workflow: payment\nsteps:\n  pay: {queue: q, retry: {attempts: 1}}\n  fee: {needs: [pay], queue: q, when: \"has(steps.pay.output.fee)\"}\n"

func (r *rig) awaiters(of ...string) (worker int64) {
	r.t.Helper()
	r.register(paid)
	for n, of := range of {
		r.register(fmt.Sprintf(byKeyed, fmt.Sprint("w", n), of))
	}
	return r.session(3600 * second)
}

// pays completes the step of one payment.
func (r *rig) pays(worker int64, id, output string) {
	r.t.Helper()
	r.ends(worker, id, func(run *v1.LeasedRun) { r.done(run, output) })
}

func (r *rig) fails(worker int64, id string) {
	r.t.Helper()
	r.ends(worker, id, func(run *v1.LeasedRun) { r.tell(failOf(run, "BROKE")) })
}

func (r *rig) ends(worker int64, id string, end func(*v1.LeasedRun)) {
	r.t.Helper()
	end(r.lease(worker, id, "pay"))
}

// lease leases one step of an instance.
func (r *rig) lease(worker int64, id, step string) *v1.LeasedRun {
	r.t.Helper()
	reply, refusal := r.do(&logv1.Command{Body: &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{Session: worker, InstanceId: id, Step: step}}})
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	return reply.(*v1.LeaseStepResponse).Run
}

// waited is what a wait has put out.
func (r *rig) waited(id, want string) {
	r.t.Helper()
	t := &turn{m: r.m, ns: r.m.namespaces[DefaultNamespace]}
	i, at, refusal := t.find(id, "wait", 0)
	if refusal != nil {
		r.t.Fatal(refusal)
	}
	if got := string(t.payload(i, at, roleOutput).GetBytes()); got != want {
		r.t.Fatalf("the wait of %s has put out %s; want %s", id, got, want)
	}
}

// The first that completes is enough for any, whether it was there before, or comes later; others that fail are not counted.
func TestAWaitForAnyByKey(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.awaiters("", ", of: {atLeast: 2}")
		r.start("w0", "early", `{}`)
		if e := r.why("early", "wait"); e.Sentence != `Step "wait" waits for an instance with the key order=7, of which 0 have completed and 0 are open, for there is none yet.` || fmt.Sprint(e.Missing) != "[order=7]" {
			r.t.Fatalf("explained as %v", e)
		}
		r.midway()
		r.startKeyed("payment", "p1", "order=7")
		r.startKeyed("payment", "p2", "order=7", "other=1")
		r.startKeyed("payment", "no", "order=8")
		r.pays(worker, "no", `{}`)
		r.fails(worker, "p1")
		r.midway()
		r.is("early", "RUNNING wait=WAITING go=PENDING")
		if e := r.why("early", "wait"); e.Sentence != `Step "wait" waits for an instance with the key order=7, of which 0 have completed and 1 are open, 1 failed.` || e.Chain[0].Key.Open != 1 {
			r.t.Fatalf("explained as %v", e)
		}
		r.pays(worker, "p2", `{}`)
		r.is("early", "RUNNING wait=COMPLETED go=READY")
		r.waited("early", `{"count":1,"instances":["p2"]}`)
		r.midway()

		r.start("w0", "late", `{}`)
		r.is("late", "RUNNING wait=COMPLETED go=READY")
		r.start("w1", "two", `{}`)
		r.is("two", "RUNNING wait=WAITING go=PENDING")
		r.startKeyed("payment", "a", "order=7")
		r.midway()
		r.pays(worker, "a", `{}`)
		r.waited("two", `{"count":2,"instances":["a","p2"]}`)
	})
}

// All is all that have the key when it ends, of which there is one at least: those that ended before too, and those that come meanwhile.
func TestAWaitForAllByKey(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.awaiters(", of: all", ", of: all, step: fee")
		r.start("w0", "x", `{}`)
		r.start("w1", "fees", `{}`)
		r.midway()
		r.is("x", "RUNNING wait=WAITING go=PENDING")
		r.startKeyed("payment", "p1", "order=7")
		r.startKeyed("payment", "p2", "order=7")
		r.pays(worker, "p1", `{}`)
		r.midway()
		r.is("x", "RUNNING wait=WAITING go=PENDING")
		r.startKeyed("payment", "p3", "order=7")
		r.pays(worker, "p2", `{}`)
		r.is("x", "RUNNING wait=WAITING go=PENDING")
		r.pays(worker, "p3", `{}`)
		r.waited("x", `{"count":3,"instances":["p1","p2","p3"]}`)
		r.is("fees", "COMPLETED wait=SKIPPED go=SKIPPED")
		r.midway()
		r.start("w0", "y", `{}`)
		r.waited("y", `{"count":3,"instances":["p1","p2","p3"]}`)
	})
}

// What fails fails a wait for all with its code, as it does a wait by id; so does what is cancelled, and a failure from before.
func TestAWaitForAllFails(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.awaiters(", of: all", ", of: all, step: pay")
		r.startKeyed("payment", "p1", "order=7")
		r.startKeyed("payment", "p2", "order=7")
		r.start("w0", "x", `{}`)
		r.start("w1", "y", `{}`)
		r.midway()
		r.fails(worker, "p2")
		r.is("x", "FAILED(BROKE) wait=FAILED go=CANCELLED")
		r.is("y", "FAILED(BROKE) wait=FAILED go=CANCELLED")
		r.start("w0", "late", `{}`)
		r.is("late", "FAILED(BROKE) wait=FAILED go=CANCELLED")
		if got := r.reason("late", "wait"); got != `BROKE: instance "p2" failed: step pay failed: because` {
			r.t.Errorf("it says %q", got)
		}
	})
	scenario(t, func(r *rig) {
		r.awaiters(", of: all")
		r.startKeyed("payment", "p1", "order=7")
		r.start("w0", "x", `{}`)
		r.midway()
		r.tell(cancelOf("p1"))
		r.is("x", "FAILED(CANCELLED) wait=FAILED go=CANCELLED")
	})
}

// The instance that waits never counts, whether it has the key from the beginning, or gets it; others that wait count for it.
func TestWhoWaitsNeverCounts(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: self\nsteps:\n  a: {queue: q}\n  wait: {await: {key: {order: \"7\"}, step: a}}\n")
		r.register("workflow: every\nsteps:\n  a: {queue: q}\n  wait: {await: {key: {order: \"7\"}, step: a, of: all}}\n")
		worker := r.session(3600 * second)
		r.startKeyed("self", "i", "order=7")
		r.startKeyed("self", "j", "order=7")
		r.midway()
		r.done(r.lease(worker, "i", "a"), `{}`)
		r.is("i", "RUNNING a=COMPLETED wait=WAITING")
		r.is("j", "RUNNING a=READY wait=COMPLETED")
		r.startKeyed("every", "e", "order=7")
		r.midway()
		r.is("e", "RUNNING a=READY wait=WAITING")
		r.done(r.lease(worker, "j", "a"), `{}`)
		r.is("i", "COMPLETED a=COMPLETED wait=COMPLETED")
		r.is("e", "RUNNING a=READY wait=COMPLETED")
		r.waited("e", `{"count":2,"instances":["i","j"]}`)
		r.waited("i", `{"count":1,"instances":["j"]}`)
	})
}

// A start that waits for its id does not count until it has that, and never if it is cancelled before.
func TestAQueuedStartDoesNotCount(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.awaiters(", of: all", ", of: all, step: pay")
		queued := func(id string) string {
			c := startOf("payment", "p", `{}`)
			s := c.GetStartInstance()
			s.Keys, s.OnConflict, s.StartId = keysOf("order=7"), v1.OnConflict_ON_CONFLICT_QUEUE, id
			return r.tell(c).Outcomes[0].Reply.(*v1.StartInstanceResponse).InstanceId
		}
		first, second, third := queued("a"), queued("b"), queued("c")
		r.midway()
		r.start("w0", "x", `{}`)
		r.start("w1", "step", `{}`)
		r.tell(cancelOf(third))
		r.is("step", "RUNNING wait=WAITING go=PENDING")
		if k := r.why("x", "wait").Chain[0].Key; k.Open != 1 || k.Failed != 0 {
			r.t.Fatalf("known is %v", k)
		}
		reply := r.lease(worker, first, "pay")
		r.done(reply, `{}`)
		r.midway()
		r.is("x", "RUNNING wait=WAITING go=PENDING") // the next has the id with that end, and counts
		r.done(r.lease(worker, second, "pay"), `{}`)
		r.waited("x", fmt.Sprintf(`{"count":2,"instances":[%q,%q]}`, first, second))
	})
}

// A wait by key can race, has its time, and is one of many in a forEach; what it waits for may end in the command that begins it.
func TestWaitsByKeyInside(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.awaiters("")
		r.register("workflow: races\nsteps:\n  w: {await: {key: {order: \"7\"}}}\n  t: {timer: {after: 5s}}\n  end: {race: [w, t], queue: f}\n")
		r.register("workflow: each\nsteps:\n  all:\n    forEach: {in: [\"6\", \"7\", \"8\"], width: 3, steps: {w: {await: {key: {order: \"${item}\"}}, timeouts: {total: 20s}}}}\n")
		r.start("races", "r1", `{}`)
		r.start("each", "e", `{}`)
		r.start("w0", "timed", `{}`)
		r.midway()
		if n := r.m.namespaces[DefaultNamespace].censuses.Len(); n != 3 {
			r.t.Fatalf("%d are counted", n)
		}
		r.tick(6 * second)
		r.is("r1", "RUNNING w=SKIPPED t=COMPLETED end=READY")
		r.startKeyed("payment", "p6", "order=6")
		r.startKeyed("payment", "p7", "order=7")
		r.start("races", "r2", `{}`)
		r.midway()
		r.pays(worker, "p7", `{}`)
		r.is("r2", "RUNNING w=COMPLETED t=SKIPPED end=READY")
		r.pays(worker, "p6", `{}`)
		r.runs("e", "RUNNING all/0=WAITING w/0=COMPLETED w/1=COMPLETED w/2=WAITING")
		r.tick(60 * second)
		r.runs("e", "FAILED(TIMEOUT_TOTAL) all/0=FAILED w/0=COMPLETED w/1=COMPLETED w/2=FAILED")
		if n := r.m.namespaces[DefaultNamespace].censuses.Len(); n != 0 {
			r.t.Fatalf("%d are counted, and nobody waits", n)
		}
	})
}

// Waits for all are in cycles with others, by id and by key; a wait for a number is in none, for others may come.
func TestCyclesByKey(t *testing.T) {
	const by = "workflow: %s\nsteps:\n  wait: {await: {key: {team: \"${input.of}\"}%s}}\n"
	scenario(t, func(r *rig) {
		r.register(fmt.Sprintf(by, "all", ", of: all"))
		r.register(fmt.Sprintf(by, "any", ""))
		r.register("workflow: one\nsteps:\n  wait: {await: {instance: \"${input.of}\"}}\n")
		start := func(workflow, id, of string, keys ...string) {
			c := startOf(workflow, id, `{"of":"`+of+`"}`)
			c.GetStartInstance().Keys = keysOf(keys...)
			r.tell(c)
		}
		start("all", "a", "red", "team=blue")
		start("all", "b", "blue", "team=red")
		r.midway()
		r.is("b", "FAILED(AWAIT_CYCLE) wait=FAILED")
		if got := r.reason("b", "wait"); got != `AWAIT_CYCLE: the waits are a cycle: step "wait" of instance "b" waits for all instances with the key team=blue, step "wait" of instance "a" waits for all instances with the key team=red` {
			r.t.Errorf("it says %q", got)
		}
		r.is("a", "FAILED(AWAIT_CYCLE) wait=FAILED")

		start("all", "c", "green")
		start("one", "d", "c", "team=green")
		r.is("d", "FAILED(AWAIT_CYCLE) wait=FAILED")
		r.is("c", "FAILED(AWAIT_CYCLE) wait=FAILED")

		start("any", "e", "black", "team=white")
		start("any", "f", "white", "team=black")
		start("all", "g", "black", "team=white")
		r.midway()
		for _, id := range []string{"e", "f", "g"} {
			r.is(id, "RUNNING wait=WAITING")
		}
		start("all", "h", "self", "team=self") // its own key
		r.is("h", "RUNNING wait=WAITING")
	})
}

// A key that a step gives can close a cycle that no wait closes.
func TestAKeyClosesACycle(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: all\nsteps:\n  wait: {await: {key: {team: red}, of: all}}\n")
		r.register("workflow: late\nsteps:\n  wait: {await: {instance: a}}\n  join: {queue: q, keys: {team: red}}\n")
		worker := r.session(3600 * second)
		r.start("all", "a", `{}`)
		r.start("late", "b", `{}`)
		r.midway()
		r.is("b", "RUNNING wait=WAITING join=READY")
		r.done(r.leases(worker, "join/0")["join/0"], `{}`)
		r.midway()
		r.is("b", "FAILED(AWAIT_CYCLE) wait=FAILED join=COMPLETED")
		r.is("a", "FAILED(AWAIT_CYCLE) wait=FAILED")
	})
}

// So is one that goes through who called: what is called waits for all that have a key, which the caller is given only then.
func TestAKeyOfTheCallerClosesACycle(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: all\nsteps:\n  wait: {await: {key: {team: red}, of: all}}\n")
		r.register("workflow: between\nsteps:\n  next: {call: {workflow: all}}\n")
		r.register("workflow: late\nsteps:\n  body: {scope: {steps: {next: {call: {workflow: between}}}}}\n  join: {queue: q, keys: {team: red}}\n")
		worker := r.session(3600 * second)
		r.start("late", "b", `{}`)
		r.drain()
		r.midway()
		r.done(r.leases(worker, "join/0")["join/0"], `{}`)
		r.drain()
		r.midway()
		if state := r.state("b:next:next"); state != "FAILED(AWAIT_CYCLE) wait=FAILED" {
			r.t.Fatal(state)
		}
	})
}

// A crowd that has a key is counted in slices, whatever ends and comes meanwhile; a crowd that waits by one goes on in as many entries as it takes.
func TestACrowdIsCounted(t *testing.T) {
	require.WithoutRace(t)
	scenario(t, func(r *rig) {
		worker := r.awaiters("", ", of: all", ", of: {atLeast: 100}, step: pay", ", of: all, step: pay")
		const crowd = 3000
		for n := range crowd {
			r.startKeyed("payment", fmt.Sprintf("p%04d", n), "order=7")
		}
		for n := range 120 {
			r.pays(worker, fmt.Sprintf("p%04d", n*20), `{}`)
		}
		for n := range 4 {
			r.start(fmt.Sprint("w", n), fmt.Sprint("x", n), `{}`)
		}
		r.midway()
		r.waited("x0", `{"count":1,"instances":["p0000"]}`)
		r.startKeyed("payment", "p0000a", "order=7")
		r.startKeyed("payment", "p9", "order=7")
		r.pays(worker, "p0001", `{}`)
		r.pays(worker, "p2999", `{}`)
		r.drain()
		r.midway()
		if k := r.why("x1", "wait").Chain[0].Key; k.Open != crowd+2-122 || k.Completed != 122 || k.Counting {
			r.t.Fatalf("known is %v", k)
		}
		r.is("x2", "RUNNING wait=COMPLETED go=READY")
		r.is("x3", "RUNNING wait=WAITING go=PENDING")
		for n := range 1500 {
			r.start("w1", fmt.Sprint("y", n), `{}`)
		}
		r.fails(worker, "p0002")
		if entries := r.drain(); entries < 1 {
			r.t.Fatalf("%d more entries", entries)
		}
		r.is("x3", "FAILED(BROKE) wait=FAILED go=CANCELLED")
		r.is("y1499", "FAILED(BROKE) wait=FAILED go=CANCELLED")
	})
}

// A number is at most 100, and a key is waited by for 100 steps; who asks for one more fails.
func TestAKeyIsWaitedByForSoManySteps(t *testing.T) {
	r := newRig(t)
	var b strings.Builder
	b.WriteString("workflow: many\nsteps:\n")
	for n := range maxCensuses + 1 {
		fmt.Fprintf(&b, "  w%03d: {await: {key: {order: \"7\"}, step: s%d}}\n", n, n)
	}
	r.register(b.String())
	r.start("many", "m", `{}`)
	r.drain()
	if got := r.reason("m", fmt.Sprintf("w%03d", maxCensuses)); got != "AWAIT_TOO_WIDE: the key order=7 is waited by for 100 different steps already" {
		t.Errorf("the last fails with %s", got)
	}
	if err := check(r.m); err != nil {
		t.Error(err)
	}
}

// Who waits for all of a great many that wait for nobody is in no cycle, and is not refused.
func TestAllOfMany(t *testing.T) {
	require.WithoutRace(t)
	r := newRig(t)
	r.awaiters(", of: all")
	for n := range 2 * maxSearched {
		r.startKeyed("payment", fmt.Sprint("p", n), "order=7")
	}
	r.start("w0", "x", `{}`)
	r.drain()
	r.is("x", "RUNNING wait=WAITING go=PENDING")
}
