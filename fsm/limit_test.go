package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// calls has runs that call a partner, three of them in ten seconds.
const calls = "workflow: w\nsteps:\n  a: {queue: q, limits: [{key: \"partner/${input.c}\", limit: 3, per: 10s}], retry: {attempts: 3, backoff: 1s}}\n"

// leasedIn are the runs that an entry leased, by instance.
func leasedIn(res Result) string {
	var ids []string
	for _, e := range res.Events() {
		if e.Type == "lockstep.step.leased.v1" {
			ids = append(ids, e.Data.InstanceId)
		}
	}
	return strings.Join(ids, " ")
}

// limits says what the list of limits has.
func (r *rig) limits(want string) {
	r.t.Helper()
	out, err := r.m.ListLimits(&v1.ListLimitsRequest{})
	must(err)
	var got []string
	for _, l := range out.Limits {
		got = append(got, fmt.Sprintf("%s %d of %d per %s, %d wait, next in %s", l.Key, l.Used, l.Limit, l.Per.AsDuration(), l.Waiting, l.NextIn.AsDuration()))
	}
	if strings.Join(got, "\n") != want {
		r.t.Errorf("the limits are\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// expect lets time pass, and says whose runs are leased by that.
func (r *rig) expect(nanoseconds int64, want string) {
	r.t.Helper()
	if got := leasedIn(r.tick(nanoseconds)); got != want {
		r.t.Errorf("after %s more %q are leased; want %q", time.Duration(nanoseconds), got, want)
	}
}

func (r *rig) release(run *v1.LeasedRun) Result {
	r.t.Helper()
	return r.tell(&logv1.Command{Body: &logv1.Command_ReleaseStep{ReleaseStep: &v1.ReleaseStepRequest{InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, Token: run.Token}}})
}

// So many leases of a key in so much time; the next is granted at the moment at which there is room, in the order of claims. Others are in nobody's way.
func TestALimitIsKept(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(calls)
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		r.starts("a1", "a2", "a3", "a4", "a5", "b1")
		r.midway()
		r.takes(worker, "a1 a2 a3 b1") // a4 and a5 wait, and keep nobody
		r.limits("partner/a 3 of 3 per 10s, 2 wait, next in 10s\npartner/b 1 of 3 per 10s, 0 wait, next in 10s")
		r.credit(worker, 9, "q")
		r.limits("partner/a 3 of 3 per 10s, 2 wait, next in 10s\npartner/b 1 of 3 per 10s, 0 wait, next in 10s")
		r.midway()
		why := r.why("a5", "a")
		if why.Code != v1.ExplainCode_EXPLAIN_CODE_RATE_LIMITED || why.LimitPlace != 2 || why.NextIn.AsDuration() != 10*time.Second ||
			why.Sentence != `Step "a" needs a slot of limit "partner/a", of which 3 of 3 per 10s are taken; the next comes back in 10s, and it is number 2 of those who wait.` {
			t.Errorf("a5 waits for %v", why)
		}
		r.expect(10*second-1, "")
		r.midway()
		r.expect(1, "a4")
		r.poll(worker, "q", 1)
		r.limits("partner/a 2 of 3 per 10s, 0 wait, next in 10s")
		r.expect(10*second-1, "")
		r.expect(1, "")
		r.limits("")
		if ns := r.m.namespaces[DefaultNamespace]; len(ns.limits) > 0 {
			t.Errorf("nobody uses a limit, and what is remembered is\n%s", sayLimits(ns))
		}
	})
}

// A slot is for a lease, whatever comes of that: given back, lapsed or failed, it was a call.
func TestEachLeaseTakesASlot(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(calls)
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		r.starts("a1")
		run := r.poll(worker, "q", 1)[0]
		r.release(run)
		r.tick(second)
		run = r.poll(worker, "q", 1)[0]
		r.tell(&logv1.Command{Body: &logv1.Command_FailStep{FailStep: &v1.FailStepRequest{InstanceId: run.InstanceId, Step: run.Step, Token: run.Token, Code: "BROKEN", Retryable: true}}})
		r.tick(second)
		short := r.session(5 * second)
		r.poll(short, "q", 1)
		r.midway()
		r.limits("partner/a 3 of 3 per 10s, 0 wait, next in 8s")
		r.expect(5*second, "") // its session is over, and its run waits
		r.limits("partner/a 3 of 3 per 10s, 1 wait, next in 3s")
		r.credit(worker, 9, "q")
		r.expect(3*second, "a1")
		r.limits("partner/a 3 of 3 per 10s, 0 wait, next in 1s")
	})
}

// In no time of length per are more slots taken than there are, wherever it begins: each slot comes back when per has passed since it was taken.
func TestNoWindowHasMore(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(calls)
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		r.starts("a1", "a2", "a3", "a4", "a5", "a6", "a7")
		r.poll(worker, "q", 1)
		r.tick(9 * second)
		r.midway()
		r.poll(worker, "q", 2)
		r.credit(worker, 9, "q")
		r.expect(1*second, "a4")
		r.midway()
		r.credit(worker, 9, "q")
		r.expect(9*second-1, "")
		r.expect(1, "a5")
		if got := r.credit(worker, 9, "q"); len(got) != 1 || got[0].InstanceId != "a6" {
			t.Errorf("leased is %v", got)
		}
		r.midway()
		r.credit(worker, 9, "q")
		r.expect(second-1, "")
		r.expect(1, "a7")
	})
}

// A claim takes all that it needs or nothing: one that waits for a lock takes no slot, and one that waits for a slot no lock.
func TestALimitAndALock(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, locks: [\"l/${input.c}\"], limits: [{key: p, limit: 2, per: 10s}]}\n")
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		r.starts("x1", "x2")
		run := r.poll(worker, "q", 1)[0]
		r.credit(worker, 9, "q")
		r.midway()
		if why := r.why("x2", "a"); why.Code != v1.ExplainCode_EXPLAIN_CODE_LOCK_HELD {
			t.Errorf("x2 waits for %v", why)
		}
		r.limits("p 1 of 2 per 10s, 0 wait, next in 10s")
		r.starts("y1") // leased at once
		r.credit(worker, 9, "q")
		r.tick(2 * second)
		r.complete(run, "{}")
		r.midway()
		if why := r.why("x2", "a"); why.Code != v1.ExplainCode_EXPLAIN_CODE_RATE_LIMITED || why.LimitPlace != 1 {
			t.Errorf("x2 waits for %v", why)
		}
		if l, err := r.m.GetLock(&v1.GetLockRequest{Lock: "l/x"}); err == nil && len(l.Holders) > 0 {
			t.Errorf("somebody has the lock: %v", l)
		}
		r.expect(8*second, "x2")
	})
}

// Of two limits a claim takes a slot of each at the same time, and none before; one who waits for both is not passed over for ever.
func TestTwoLimits(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, limits: [{key: x, limit: 1, per: 4s}, {key: y, limit: 1, per: 6s}]}\n")
		r.register("workflow: x\nsteps:\n  a: {queue: q, limits: [{key: x, limit: 1, per: 4s}]}\n")
		r.register("workflow: y\nsteps:\n  a: {queue: q, limits: [{key: y, limit: 1, per: 6s}]}\n")
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		r.start("x", "x0", `{}`)
		r.credit(worker, 9, "q")
		r.tick(second)
		r.start("y", "y0", `{}`)
		r.credit(worker, 9, "q")
		r.start("w", "both", `{}`)
		for n := range 20 {
			r.start("x", fmt.Sprint("x", n+1), `{}`)
			r.start("y", fmt.Sprint("y", n+1), `{}`)
		}
		var order []string
		for range 40 {
			r.midway()
			if ids := leasedIn(r.tick(second / 2)); ids != "" {
				order = append(order, strings.Fields(ids)...)
			}
			r.poll(worker, "q", 1) // what waits is not leased by it
			r.credit(worker, 9, "q")
		}
		at := slices.Index(order, "both")
		if at < 0 || at > 5 {
			t.Errorf("leased are %v", order)
		}
	})
}

// A limit that is in use as another is refused, as a lock's is; one that nobody uses becomes what is wanted.
func TestALimitThatDiffers(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(calls)
		r.register(strings.ReplaceAll(strings.ReplaceAll(calls, "limit: 3", "limit: 4"), "workflow: w", "workflow: v"))
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		r.starts("a1")
		r.start("v", "v1", `{"c":"a"}`)
		r.poll(worker, "q", 2)
		r.midway()
		if why := r.why("v1", "a"); why.Code != v1.ExplainCode_EXPLAIN_CODE_INCIDENT ||
			!strings.Contains(why.Sentence, `(LIMIT_DIFFERS): limit "partner/a" is in use as 3 per 10s, and 4 per 10s is asked for`) {
			t.Errorf("v1 waits for %v", why)
		}
		r.tick(10 * second)
		r.midway()
		r.start("v", "v2", `{"c":"a"}`)
		r.poll(worker, "q", 2)
		r.limits("partner/a 1 of 4 per 10s, 0 wait, next in 10s")
	})
}

// Who waits for a run by its name gets it in the order of claims, whether its queue has workers or not; those of a queue without workers keep nobody.
func TestALimitByName(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(strings.ReplaceAll(calls, "limit: 3", "limit: 1"))
		r.register(strings.ReplaceAll(strings.ReplaceAll(calls, "limit: 3", "limit: 1"), "workflow: w\nsteps:\n  a: {queue: q,", "workflow: v\nsteps:\n  a: {queue: other,"))
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		r.starts("a1")
		r.poll(worker, "q", 1)
		r.start("v", "o1", `{"c":"a"}`)
		r.start("v", "o2", `{"c":"a"}`)
		r.starts("a2", "a3")
		r.tell(&logv1.Command{Envelope: &logv1.Envelope{WaitId: 5}, Body: &logv1.Command_LeaseStep{LeaseStep: &logv1.LeaseStep{Session: worker, InstanceId: "o2", Step: "a", Wait: 60 * second}}})
		r.midway()
		r.credit(worker, 9, "q")
		r.expect(10*second, "o2")
		r.midway()
		r.expect(10*second, "a2") // o1 is older, and nobody takes what is in its queue
		r.credit(worker, 9, "q")
		r.expect(10*second, "a3")
		r.midway()
		r.tick(10 * second)
		if got := r.poll(worker, "other", 1); len(got) != 1 || got[0].InstanceId != "o1" {
			t.Errorf("leased is %v", got)
		}
	})
}

// Who is cancelled, or skipped, while he waits leaves the line; what compensates waits as others do.
func TestCancelWhileLimited(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, compensate: {queue: q, limits: [{key: p, limit: 1, per: 10s}]}}\n  b: {needs: [a], queue: q, limits: [{key: p, limit: 1, per: 10s}]}\n")
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		for _, id := range []string{"1", "2"} {
			r.start("w", id, `{}`)
		}
		for _, run := range r.poll(worker, "q", 2) {
			r.complete(run, "{}")
		}
		r.poll(worker, "q", 2)
		r.limits("p 1 of 1 per 10s, 1 wait, next in 10s")
		r.tell(&logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "2"}}})
		r.midway()
		r.limits("p 1 of 1 per 10s, 1 wait, next in 10s") // its compensation
		r.credit(worker, 9, "q")
		r.expect(10*second, "2")
		r.limits("p 1 of 1 per 10s, 0 wait, next in 10s")
	})
}

// However many come before there is a worker, what one entry does is bounded, and all of them go in their order.
func TestManyWaitForALimit(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a: {queue: q, limits: [{key: p, limit: 3000, per: 10s}]}\n")
	worker := r.session(3600 * second)
	for n := range 5000 {
		r.start("w", fmt.Sprintf("%04d", n), `{}`)
	}
	if l := r.m.namespaces[DefaultNamespace].limits["p"]; l.lines[0].waiting.Len() < 3900 || l.lines[0].offered > maxOffered+1 {
		t.Errorf("%d wait, %d are in line", l.lines[0].waiting.Len(), l.lines[0].offered)
	}
	var got []string
	for range 300 {
		for _, run := range r.poll(worker, "q", 100) {
			got = append(got, run.InstanceId)
		}
		r.tick(second / 20)
	}
	if len(got) != 5000 || !slices.IsSorted(got) {
		t.Errorf("%d are leased, in their order: %v", len(got), slices.IsSorted(got))
	}
	must(check(r.m))
}

// The log of a limit has a bounded length, however many slots it has and however they are taken; what it says never promises more than there is, and
// holds a slot no longer than a sixty-fourth of the time beyond it.
func TestTheLogOfALimit(t *testing.T) {
	for _, limited := range []graph.Limit{{Limit: 1, Per: 1e9}, {Limit: 64, Per: 1e9}, {Limit: 65, Per: 1e9}, {Limit: 1000, Per: 60e9}, {Limit: 1_000_000, Per: day}} {
		for _, step := range []int64{limited.Per/int64(limited.Limit) + 1, limited.Per / 7, limited.Per / 640, 1} {
			l := &limit{limit: limited.Limit, per: limited.Per}
			var taken []int64
			now, refused := int64(1), 0
			for range 20_000 {
				now += step
				if l.room(now) <= 0 {
					if n := len(taken) - int(limited.Limit); n >= 0 && now-taken[n] >= l.per+l.grain() {
						t.Fatalf("%v: at %d there is no room, and only %d were taken since %d", limited, now, limited.Limit-1, taken[n])
					}
					refused++
					continue
				}
				l.take(now)
				taken = append(taken, now)
				if n := len(taken) - 1 - int(limited.Limit); n >= 0 && now-taken[n] < l.per {
					t.Fatalf("%v: %d slots were taken from %d to %d", limited, limited.Limit+1, taken[n], now)
				}
				if len(l.log) > exactSlots+2 {
					t.Fatalf("%v: the log has %d items", limited, len(l.log))
				}
				again := &limit{}
				if !again.cutLog(l.appendLog(nil)) || again.used != l.used || !slices.Equal(again.log, l.log) {
					t.Fatalf("%v became %v", l, again)
				}
			}
			if step == 1 && refused == 0 && limited.Limit < 20_000 {
				t.Errorf("%v: nothing was refused", limited)
			}
		}
	}
}

const day = int64(24 * time.Hour)

// Below its level a cluster refuses a definition with limits as an old version does; of an older edition it is without.
func TestLimitsHaveALevel(t *testing.T) {
	m, err := Open(table.NewMemory())
	must(err)
	r := &rig{t: t, m: m, level: limitLevel - 1}
	r.apply(&logv1.Entry{})
	for _, text := range []string{calls, "workflow: u\nsteps:\n  a: {compensate: {limits: [{key: x, limit: 1, per: 1s}]}}\n"} {
		if _, refusal := r.do(registration(text)); refusal.GetCode() != v1.Code_CODE_WORKFLOW_INVALID {
			t.Errorf("below its level it is answered %v", refusal)
		}
		if got := LevelOf(registration(text)); got != limitLevel {
			t.Errorf("it is of level %d; want %d", got, limitLevel)
		}
	}
	r.tell(&logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: limitLevel}}})
	r.register(calls)
}

// A namespace that is made again under its name has none of the slots that were taken before.
func TestALimitGoesWithItsNamespace(t *testing.T) {
	scenario(t, func(r *rig) {
		do := func(c *logv1.Command) Outcome {
			t.Helper()
			c.Envelope = &logv1.Envelope{Namespace: "n"}
			out := r.apply(&logv1.Entry{Commands: []*logv1.Command{c}}).Outcomes[0]
			if out.Refusal != nil {
				t.Fatal(out.Refusal)
			}
			return out
		}
		for range 2 {
			do(&logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}})
			do(registration(strings.ReplaceAll(calls, "limit: 3", "limit: 1")))
			worker := sessionID(do(&logv1.Command{Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: 1000 * second}}}).Reply.(*v1.Session).SessionId)
			for n := range 3 {
				do(startOf("w", fmt.Sprint("i", n), `{"c":"a"}`))
			}
			poll := do(&logv1.Command{Body: &logv1.Command_PollSteps{PollSteps: &logv1.PollSteps{Session: worker, Queues: []string{"q"}, Count: 3}}})
			if runs := poll.Reply.(*v1.PollStepsResponse).Runs; len(runs) != 1 {
				t.Errorf("%d runs are leased", len(runs))
			}
			r.midway()
			do(&logv1.Command{Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n", Force: true}}})
			r.tick(20 * second)
		}
	})
}

// Two limits whose slots are kept for who waits for a lock, and at each of which somebody waits who needs both: an entry ends, and so does the wait.
func TestWhoWaitsAtTwoLimits(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, priority: 2, locks: [l], limits: [{key: x, limit: 1, per: 10s}, {key: y, limit: 1, per: 10s}]}\n")
		r.register("workflow: x\nsteps:\n  a: {queue: q, limits: [{key: x, limit: 1, per: 10s}, {key: y, limit: 1, per: 10s}]}\n")
		r.register("workflow: y\nsteps:\n  a: {queue: q, priority: 1, limits: [{key: y, limit: 1, per: 10s}, {key: x, limit: 1, per: 10s}]}\n")
		worker := r.session(1000 * second)
		r.streams(worker, 9)
		held := r.tell(&logv1.Command{Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: worker, Lock: "l"}}}).Outcomes[0].Reply.(*v1.AcquireLockResponse)
		r.start("w", "w0", `{}`)
		r.credit(worker, 9, "q")
		r.tick(6 * second)
		r.start("x", "x0", `{}`)
		r.start("y", "y0", `{}`)
		r.midway()
		r.limits("x 0 of 1 per 10s, 1 wait, next in 0s\ny 0 of 1 per 10s, 1 wait, next in 0s")
		for range 3 {
			r.expect(second, "")
		}
		res := r.tell(&logv1.Command{Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: "l", Token: held.Token}}})
		if got := leasedIn(res); got != "w0" {
			t.Errorf("%q is leased", got)
		}
		r.credit(worker, 9, "q")
		r.midway()
		r.expect(10*second, "y0")
		r.credit(worker, 9, "q")
		r.expect(10*second, "x0")
	})
}

// Who waits for a lock behind a run that claims it and others has it at once when the run ends that waits for a slot by then, and claims nothing
// any more: whether it is cancelled, skipped, held by a pause, or fails.
func TestALockBehindWhoWaitsForASlot(t *testing.T) {
	for _, ends := range []func(*rig) Result{
		func(r *rig) Result { return r.tell(cancelOf("i")) },
		func(r *rig) Result { return r.tell(skip("i", "a")) },
		func(r *rig) Result { return r.tell(pause("i")) },
		func(r *rig) Result { return r.tell(giveUp("i", "a", "E")) },
		func(r *rig) Result { return r.tell(resetOf("i", "a", 0)) },
	} {
		scenario(t, func(r *rig) {
			r.register("workflow: w\nsteps:\n  a: {queue: q, locks: [x, y], limits: [{key: k, limit: 1, per: 1000s}]}\n")
			r.register("workflow: o\nsteps:\n  a: {queue: q, limits: [{key: k, limit: 1, per: 1000s}]}\n")
			worker, other := r.session(3600*second), r.session(3600*second)
			r.streams(worker, 9)
			acquire := func(session int64, lock string, wait int64) Outcome {
				return r.apply(&logv1.Entry{Commands: []*logv1.Command{{Envelope: &logv1.Envelope{WaitId: 77}, Body: &logv1.Command_AcquireLock{AcquireLock: &logv1.AcquireLock{Session: session, Lock: lock, Wait: wait}}}}}).Outcomes[0]
			}
			y := acquire(other, "y", 0).Reply.(*v1.AcquireLockResponse)
			r.start("w", "i", `{}`)
			r.credit(worker, 9, "q")
			r.tick(second)
			r.start("o", "o", `{}`)
			r.tick(5 * second)
			r.credit(worker, 9, "q")
			if out := acquire(other, "x", 50*second); !out.Parked {
				r.t.Fatalf("the lock is not kept for the run: %v", out)
			}
			r.tell(&logv1.Command{Body: &logv1.Command_ReleaseLock{ReleaseLock: &v1.ReleaseLockRequest{Lock: "y", Token: y.Token}}})
			if e := r.why("i", "a"); e.Code != v1.ExplainCode_EXPLAIN_CODE_RATE_LIMITED {
				r.t.Fatalf("the run waits for %v", e)
			}
			r.midway()
			if got := kinds(ends(r)); !slices.Contains(got, "lock.granted") {
				r.t.Errorf("the lock is free, and what happens is %v", got)
			}
		})
	}
}
