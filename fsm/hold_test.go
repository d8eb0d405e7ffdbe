package fsm

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const transfer = `
workflow: w
steps:
  book: {queue: q, locks: [{name: "${input.of}", hold: instance}], compensate: {locks: ["${input.of}"]}}
  pay: {needs: [book], queue: q, retry: {attempts: 1}}
  close: {needs: [pay], queue: q, locks: ["${input.of}"]}
`

// locked is who has a lock: runs, and behind them who holds it for longer, each with its token.
func (r *rig) locked(name, want string) {
	r.t.Helper()
	var got []string
	l, err := r.m.GetLock(&v1.GetLockRequest{Lock: name})
	say := func(h *v1.LockHolder, of string) {
		if h.Shared {
			of += "*"
		}
		got = append(got, fmt.Sprintf("%s %d", of, h.Token))
	}
	if err == nil {
		for _, h := range l.Holders {
			say(h, h.InstanceId+"/"+h.Step)
		}
		for _, h := range l.Held {
			say(h, strings.TrimSuffix(h.InstanceId+":"+h.Step, ":"))
		}
	}
	if strings.Join(got, ", ") != want {
		r.t.Fatalf("lock %s is held by %q; want %q", name, got, want)
	}
}

// What an instance holds it holds until it has ended: its steps have it one after the other, and those of others wait.
func TestAnInstanceHoldsALock(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(transfer)
		r.start("w", "i", `{"of":"x"}`)
		r.start("w", "j", `{"of":"x"}`)
		book := r.leases(worker, "book/0")["book/0"]
		if g := book.Locks[0]; book.InstanceId != "i" || g.HoldToken != book.Token {
			r.t.Fatalf("it is leased %v", book)
		}
		r.locked("x", "i/book 1, i 1")
		r.midway()
		r.done(book, `{}`)
		for token, want := range map[int64]bool{1: true, 2: false} {
			if got, err := r.m.CheckToken(&v1.CheckTokenRequest{Lock: "x", Token: token}); err != nil || got.Holds != want || got.Holder.GetInstanceId() != "i" {
				r.t.Fatalf("token %d: %v, %v", token, got, err)
			}
		}
		r.locked("x", "i 1")
		pay := r.leases(worker, "pay/0")["pay/0"]
		r.midway()
		if e := r.why("j", "book"); e.Code != v1.ExplainCode_EXPLAIN_CODE_LOCK_HELD || e.Sentence != `Step "book" waits for lock "x", which instance "i", which is RUNNING, holds until it has ended.` || e.Chain[0].Lock != "x" {
			r.t.Fatalf("explained as %v", e)
		}
		r.done(pay, `{}`)
		end := r.leases(worker, "close/0")["close/0"]
		if g := end.Locks[0]; end.InstanceId != "i" || g.HoldToken != book.Token || end.Token <= book.Token {
			r.t.Fatalf("it is leased %v", end)
		}
		r.locked("x", "i/close 3, i 1")
		r.midway()
		r.did(r.tell(completeOf(end)), "step.completed close", "lock.released", "instance.completed", "lock.freed")
		r.locked("x", "")
		r.midway()
		next := r.leases(worker, "book/0")["book/0"]
		if next.InstanceId != "j" || next.Locks[0].HoldToken <= end.Token {
			r.t.Fatalf("it is leased %v behind %v", next, end)
		}
		r.locked("x", "j/book 4, j 4")
	})
}

// What is undone is undone under what the instance holds.
func TestWhatIsHeldIsHeldUntilAllIsUndone(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(transfer)
		r.start("w", "i", `{"of":"x"}`)
		r.work(worker, "book")
		r.start("w", "j", `{"of":"x"}`)
		pay := r.leases(worker, "pay/0")["pay/0"]
		r.tell(failOf(pay, "E"))
		r.midway()
		r.is("i", "COMPENSATING(E) book=COMPLETED pay=FAILED close=CANCELLED book.compensate=READY")
		r.locked("x", "i 1")
		undo := r.leases(worker, "book.compensate/0")["book.compensate/0"]
		if undo.Locks[0].HoldToken != 1 {
			r.t.Fatalf("it is leased %v", undo)
		}
		r.midway()
		r.did(r.tell(completeOf(undo)), "step.completed book.compensate", "lock.released", "instance.failed", "lock.freed")
		r.leases(worker, "book/0")
		r.locked("x", "j/book 4, j 4")
	})
}

const rounds = `
workflow: w
steps:
  each:
    forEach:
      in: "${input.of}"
      width: 3
      steps:
        take: {queue: q, locks: [{name: "${item}", hold: scope}]}
        give: {needs: [take], queue: q, locks: ["${item}"], retry: {attempts: 1}}
  end: {needs: [each], queue: q}
`

// What a body holds it holds until its item has ended; items are not inside each other.
func TestABodyHoldsALock(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(rounds)
		r.start("w", "i", `{"of":["x","x","y"]}`)
		takes := r.leases(worker, "take/0", "take/2")
		r.locked("x", "i/take 1, i:each 1")
		r.midway()
		r.done(takes["take/0"], `{}`)
		r.done(takes["take/2"], `{}`)
		gives := r.leases(worker, "give/0", "give/2")
		if e := r.why("i", "each"); e.Code != v1.ExplainCode_EXPLAIN_CODE_NEEDS_PENDING {
			r.t.Fatalf("explained as %v", e)
		}
		r.midway()
		r.did(r.tell(completeOf(gives["give/0"])), "step.completed give", "lock.released", "lock.freed")
		r.locked("y", "i/give 4, i:each 2")
		r.done(r.leases(worker, "take/1")["take/1"], `{}`)
		r.locked("x", "i:each 5")
		r.midway()
		// One that fails ends the list, and what its items hold.
		give := r.leases(worker, "give/1")["give/1"]
		r.tell(failOf(give, "E"))
		r.locked("y", "i/give 4, i:each 2")
		r.did(r.tell(completeOf(gives["give/2"])), "step.completed give", "lock.released", "step.failed each", "instance.failing", "step.cancelled end", "instance.failed", "lock.freed", "lock.freed")
		r.locked("x", "")
		r.locked("y", "")
	})
}

const readers = `
workflow: w
steps:
  read: {queue: q, locks: [{name: x, shared: true, hold: instance}]}
  wait: {needs: [read], signal: {name: go}}
  write: {needs: [wait], queue: q, locks: [{name: x, hold: instance}]}
  more: {needs: [write], queue: q, locks: [{name: x, shared: true}]}
`

// Who holds a lock shared has it alone when nobody else holds it, and gives nothing away with a share.
func TestAShareBecomesMore(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(readers)
		for _, id := range []string{"i", "j"} {
			r.start("w", id, `{}`)
		}
		r.work(worker, "read", "read")
		r.locked("x", "i* 1, j* 2")
		r.tell(signalOf("i", "go"))
		r.leases(worker)
		r.midway()
		if e := r.why("i", "write"); e.Sentence != `Step "write" waits for lock "x", which instance "j", which is RUNNING, holds until it has ended.` {
			r.t.Fatalf("explained as %v", e)
		}
		r.tell(cancelOf("j"))
		r.midway()
		write := r.leases(worker, "write/0")["write/0"]
		r.locked("x", "i/write 3, i 3")
		r.start("w", "k", `{}`)
		r.leases(worker)
		r.done(write, `{}`)
		r.midway()
		more := r.leases(worker, "more/0")["more/0"]
		if more.Locks[0].HoldToken != 3 {
			r.t.Fatalf("leased %v", more)
		}
		r.locked("x", "i/more* 4, i 3")
		r.done(more, `{}`)
		r.leases(worker, "read/0")
		r.locked("x", "k/read* 5, k* 5")
	})
}

// What fails together is undone together: what an item holds it holds until all of the list is undone, and the compensations of other items have it.
func TestABodyThatFailsHoldsUntilItIsUndone(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(`
workflow: w
steps:
  each:
    forEach:
      in: [x, z]
      width: 2
      steps:
        take: {queue: q, locks: [{name: "${item}", hold: scope}], compensate: {locks: [x, z]}}
        give: {needs: [take], queue: q, retry: {attempts: 1}}
  other: {queue: q}
  behind: {needs: [{step: each, ends: failed}], queue: q}
`)
		r.register("workflow: v\nsteps:\n  a: {queue: q, locks: [x]}\n")
		for _, how := range []string{"fails", "cancelled"} {
			r.start("w", how, `{}`)
			begun := r.leases(worker, "take/0", "take/1", "other/0")
			for _, name := range []string{"take/0", "take/1", "other/0"} {
				r.done(begun[name], `{}`)
			}
			gives := r.leases(worker, "give/0", "give/1")
			r.start("v", "v"+how, `{}`)
			if how == "fails" {
				r.done(gives["give/1"], `{}`)
				r.tell(failOf(gives["give/0"], "E"))
			} else {
				r.tell(cancelOf(how))
				r.midway()
				r.done(gives["give/1"], `{}`)
				r.done(gives["give/0"], `{}`)
			}
			for _, undo := range []string{"take.compensate/1", "take.compensate/0"} {
				r.midway()
				r.locked("x", how+":each "+r.heldUnder("x"))
				r.done(r.leases(worker, undo)[undo], `{}`)
			}
			if how == "fails" {
				r.work(worker, "a", "behind")
			} else {
				r.work(worker, "a")
			}
			r.locked("x", "")
		}
	})
}

func (r *rig) heldUnder(name string) string {
	l, err := r.m.GetLock(&v1.GetLockRequest{Lock: name})
	if err != nil || len(l.Held) != 1 {
		r.t.Fatalf("lock %s is %v, %v", name, l, err)
	}
	return fmt.Sprint(l.Held[0].Token)
}

// A wait for locks can have an end: it counts from the first time that a worker would have had the run, and fails an attempt.
func TestAWaitForALockEnds(t *testing.T) {
	scenario(t, func(r *rig) {
		worker := r.session(600 * second)
		r.register(transfer)
		r.register(`
workflow: v
steps:
  a: {queue: q, locks: [x], timeouts: {locks: 5s}, retry: {attempts: 2, backoff: 1s}}
  b: {needs: [{step: a, ends: failed, codes: [LOCK_TIMEOUT]}], queue: other}
`)
		r.start("w", "i", `{"of":"x"}`)
		book := r.leases(worker, "book/0")["book/0"]
		r.start("v", "j", `{}`)
		r.tick(10 * second) // nobody asked for it
		r.is("j", "RUNNING a=READY b=PENDING")
		r.leases(worker)
		r.midway()
		r.tick(4 * second)
		r.is("j", "RUNNING a=READY b=PENDING")
		r.did(r.tick(second), "step.retried a")
		r.midway()
		r.tick(second)
		r.leases(worker)
		r.midway()
		r.did(r.tick(5*second), "step.failed a", "step.ready b")
		if got := r.reason("j", "a"); got != "LOCK_TIMEOUT: the step's locks were not free in time" {
			r.t.Fatalf("it failed because %q", got)
		}
		r.start("v", "k", `{}`)
		r.leases(worker)
		r.tell(cancelOf("i"))
		r.done(book, `{}`)
		r.work(worker, "book.compensate")
		r.work(worker, "a")
	})
}
