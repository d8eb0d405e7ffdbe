package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const (
	toPause  = v1.BulkAct_BULK_ACT_PAUSE
	toResume = v1.BulkAct_BULK_ACT_RESUME
	toCancel = v1.BulkAct_BULK_ACT_CANCEL
	toRetry  = v1.BulkAct_BULK_ACT_RETRY
	toReset  = v1.BulkAct_BULK_ACT_RESET
	toSkip   = v1.BulkAct_BULK_ACT_SKIP
)

func bulkStart(id string, act v1.BulkAct, f *v1.InstanceFilter) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_StartBulk{StartBulk: &v1.StartBulkRequest{BulkId: id, Act: act, Filter: f, Reason: "the bank is down"}}})
}

func bulkCancel(id string) *logv1.Command {
	return byAnn(&logv1.Command{Body: &logv1.Command_CancelBulk{CancelBulk: &v1.CancelBulkRequest{BulkId: id, Reason: "enough"}}})
}

// slices has bulk operations go on until none runs, and returns what became of instances, in order: an id, with the code of a refusal.
func (r *rig) slices() (out []string) {
	r.t.Helper()
	for n := 0; len(r.m.Advancing()) > 0; n++ {
		if n > 1000 {
			r.t.Fatal("it does not end")
		}
		out = append(out, r.bulkSlice()...)
	}
	return out
}

// bulkSlice is one slice.
func (r *rig) bulkSlice() (out []string) {
	r.t.Helper()
	got := r.tell(advanceOf())
	if got.Outcomes[0].Refusal != nil {
		r.t.Fatal(got.Outcomes[0].Refusal)
	}
	for _, e := range got.Events() {
		if e.Type != "lockstep.bulk.applied.v1" {
			continue
		}
		said := e.Data.OtherInstance
		switch {
		case e.Data.Code != "":
			said += "=" + e.Data.Code
		case e.Data.Changed == 0:
			said += "=same"
		}
		out = append(out, said)
	}
	r.midway()
	return out
}

func (r *rig) bulk(id string) *v1.BulkOperation {
	r.t.Helper()
	b, err := r.m.GetBulk(&v1.GetBulkRequest{BulkId: id})
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// came compares what a bulk operation came to.
func (r *rig) came(id, want string) {
	r.t.Helper()
	b := r.bulk(id)
	got := fmt.Sprintf("%s looked %d matched %d changed %d unchanged %d refused %d", strings.TrimPrefix(b.State.String(), "BULK_STATE_"), b.Looked, b.Matched, b.Changed, b.Unchanged, b.Refused)
	if got != want {
		r.t.Fatalf("bulk operation %s is %s; want %s", id, got, want)
	}
}

func (r *rig) want(got []string, want string) {
	r.t.Helper()
	if strings.Join(got, " ") != want {
		r.t.Fatalf("it did %q; want %q", strings.Join(got, " "), want)
	}
}

const bulky = "workflow: w\nsteps:\n  a: {queue: q}\n"

// Each instance that there was is come to once, in the order of starts, whatever the slices are; what refuses is counted, and what was so
// already. Histories say by which operation, by whom, and why.
func TestABulkOperationComesToEachOnce(t *testing.T) {
	scenario(t, func(r *rig) {
		r.m.LimitBulk(2, 3)
		r.ages(0)
		r.register(bulky)
		for n := range 9 {
			r.start("w", fmt.Sprint("i", (n*7)%9), `{}`) // ids are in another order than starts
			if n%3 == 2 {
				r.ages(time.Second)
			}
		}
		r.finish("i0")
		r.tell(cancelOf("i7"))
		reply, refusal := r.do(bulkStart("b", toCancel, &v1.InstanceFilter{Workflow: "w"}))
		if b, is := reply.(*v1.BulkOperation); refusal != nil || !is || b.State != v1.BulkState_BULK_STATE_RUNNING || b.Author.GetPrincipal() != "ann" || b.Existing {
			r.t.Fatalf("answered %v, %v", reply, refusal)
		}
		r.midway()
		r.start("w", "i9", `{}`)
		if left := r.bulk("b"); left.Left != 9 && left.Left != 10 { // the last one was started at the same time as the operation
			r.t.Fatalf("left: %v", left)
		}
		r.want(r.bulkSlice(), "i0=ALREADY_ENDED i5")
		r.came("b", "RUNNING looked 2 matched 2 changed 1 unchanged 0 refused 1")
		r.want(r.slices(), "i7=same i1 i3 i8 i2 i4 i6")
		r.came("b", "COMPLETED looked 10 matched 9 changed 7 unchanged 1 refused 1")
		if got := r.bulk("b").Refusals; len(got) != 1 || got[0].Code != v1.Code_CODE_ALREADY_ENDED || got[0].Count != 1 || got[0].Instances[0] != "i0" {
			r.t.Fatalf("refusals: %v", got)
		}
		r.is("i9", "RUNNING a=READY")
		r.is("i3", "CANCELLED a=CANCELLED")
		h, err := r.m.GetHistory(&v1.GetHistoryRequest{InstanceId: "i3"})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range h.Events[2:] {
			if e.Data.Bulk != "b" || e.Author.GetPrincipal() != "ann" {
				r.t.Errorf("told as %v", e)
			}
		}
		if e := h.Events[2]; e.Type != "lockstep.instance.cancelling.v1" || e.Data.Reason != "the bank is down" {
			r.t.Errorf("told as %v", e)
		}
		if got := kinds(r.tell(advanceOf())); len(got) > 0 {
			r.t.Errorf("behind its end there is %q", got)
		}
	})
}

// Whether an instance matches is decided when the operation comes to it; operations that run beside each other go on in turns.
func TestBulkOperationsGoOnInTurns(t *testing.T) {
	scenario(t, func(r *rig) {
		r.m.LimitBulk(1, 10)
		r.ages(0)
		r.register(bulky)
		for n := range 4 {
			r.start("w", fmt.Sprint("i", n), `{}`)
		}
		r.tell(bulkStart("p", toPause, &v1.InstanceFilter{State: v1.InstanceState_INSTANCE_STATE_RUNNING}))
		r.tell(bulkStart("c", toCancel, &v1.InstanceFilter{State: v1.InstanceState_INSTANCE_STATE_RUNNING}))
		r.want(r.bulkSlice(), "i0")
		r.want(r.bulkSlice(), "i0")
		r.want(r.bulkSlice(), "i1")
		r.want(r.bulkSlice(), "i1")
		r.tell(cancelOf("i2"))
		r.want(r.slices(), "i3 i3")
		r.came("p", "COMPLETED looked 3 matched 3 changed 3 unchanged 0 refused 0")
		r.came("c", "COMPLETED looked 3 matched 3 changed 3 unchanged 0 refused 0")
		r.is("i3", "CANCELLED a=CANCELLED")
	})
}

// Of two operations in one entry, and of one that is told to go on in the entry in which it starts, none misses what the entry began.
func TestABulkOperationInTheEntryInWhichItStarts(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register(bulky)
		start := startOf("w", "i", `{}`)
		start.Envelope = &logv1.Envelope{}
		got := r.apply(&logv1.Entry{Commands: []*logv1.Command{start, bulkStart("b", toPause, &v1.InstanceFilter{Workflow: "w"}), advanceOf()}})
		r.did(got, "instance.started", "step.ready a", "bulk.started")
		r.midway()
		r.want(r.slices(), "i")
		r.want(r.slices(), "")
		r.tell(bulkStart("c", toResume, &v1.InstanceFilter{Workflow: "w"}))
		r.did(r.apply(&logv1.Entry{Commands: []*logv1.Command{advanceOf(), advanceOf()}}), "instance.resumed", "bulk.applied", "bulk.advanced", "bulk.completed")
		r.work(r.session(60*second), "a")
	})
}

// All that stands still of an instance is tried again; where nothing does nothing is changed. A step can be skipped, where it can.
func TestABulkOperationRetriesAndSkips(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register("workflow: w\nsteps:\n  a: {queue: q, input: {x: \"${input.n + 1}\"}}\n  b: {queue: q, input: {x: \"${input.n + 2}\"}}\n  c: {needs: [b], queue: q}\n")
		r.start("w", "i", `{}`)
		r.start("w", "j", `{"n":1}`)
		r.is("i", "RUNNING a=INCIDENT b=INCIDENT c=PENDING")
		r.tell(bulkStart("r", toRetry, &v1.InstanceFilter{Workflow: "w"}))
		got := r.tell(advanceOf())
		r.did(got, "step.resumed a", "step.incident a", "step.resumed b", "step.incident b", "bulk.applied", "bulk.applied", "bulk.advanced", "bulk.completed")
		r.came("r", "COMPLETED looked 2 matched 2 changed 1 unchanged 1 refused 0")
		one := bulkStart("r1", toRetry, &v1.InstanceFilter{Workflow: "w"})
		one.GetStartBulk().Step = "b"
		r.tell(one)
		r.did(r.tell(advanceOf()), "step.resumed b", "step.incident b", "bulk.applied b", "bulk.applied b", "bulk.advanced", "bulk.completed")
		skip := bulkStart("s", toSkip, &v1.InstanceFilter{Workflow: "w"})
		skip.GetStartBulk().Step = "b"
		r.poll(r.session(3600*second), "q", 2)
		r.tell(skip)
		r.want(r.slices(), "i j=NOT_READY")
		r.is("i", "RUNNING a=INCIDENT b=SKIPPED c=SKIPPED")
	})
}

// Instances are set back to a step, the newest run of it, each once; those that cannot be are counted by why. An entry that has done its
// share sets none back, and refuses none for that.
func TestABulkOperationResets(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register("workflow: w\nsteps:\n  a: {queue: q, compensate: {queue: u}}\n  b: {needs: [a], queue: z}\n")
		r.start("w", "i", `{}`)
		r.start("w", "j", `{}`)
		s := r.session(3600 * second)
		r.work(s, "a", "a")
		r.start("w", "k", `{}`)
		reset := bulkStart("r", toReset, &v1.InstanceFilter{Workflow: "w"})
		reset.GetStartBulk().Step = "b"
		r.tell(reset)
		r.midway()
		r.want(r.slices(), "i j k=STEP_NOT_BEGUN")
		r.is("i", "RUNNING a=COMPLETED b=CANCELLED b=READY")
		again := bulkStart("r1", toReset, &v1.InstanceFilter{Workflow: "w"})
		again.GetStartBulk().Step, again.GetStartBulk().Compensate = "a", true
		r.tell(again)
		r.m.LimitWork(1)
		first := r.apply(&logv1.Entry{Commands: []*logv1.Command{startOf("w", "l", `{}`), advanceOf()}})
		r.did(first, "instance.started", "step.ready a")
		r.m.LimitWork(workMost)
		r.want(r.slices(), "i j k")
		r.is("i", "RUNNING a=COMPLETED b=CANCELLED a.compensate=READY b=CANCELLED a=PENDING b=PENDING")
	})
}

// What is asked again is found, and what says something else is refused; so is what cannot be, and more than may run.
func TestBulkOperationsThatAreRefused(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		f := &v1.InstanceFilter{Workflow: "w", StuckFor: durationpb.New(time.Minute)}
		r.tell(bulkStart("b", toCancel, f))
		again, refusal := r.do(bulkStart("b", toCancel, f))
		if b, is := again.(*v1.BulkOperation); refusal != nil || !is || !b.Existing || !proto.Equal(b.Filter, f) {
			r.t.Fatalf("answered %v, %v", again, refusal)
		}
		r.refuses(v1.Code_CODE_BULK_EXISTS, bulkStart("b", toPause, f), "says something else")
		r.refuses(v1.Code_CODE_BULK_NOT_FOUND, bulkCancel("x"), "no bulk operation")
		r.refuses(v1.Code_CODE_INVALID, bulkStart("x", toPause, nil), "every instance")
		r.refuses(v1.Code_CODE_INVALID, bulkStart("x", 0, f), "say what is to be done")
		r.refuses(v1.Code_CODE_INVALID, bulkStart("x", toSkip, f), "say which")
		r.refuses(v1.Code_CODE_INVALID, bulkStart("x", toReset, f), "say which")
		undoes := bulkStart("x", toPause, f)
		undoes.GetStartBulk().Compensate = true
		r.refuses(v1.Code_CODE_INVALID, undoes, "that is of RESET")
		step := bulkStart("x", toPause, f)
		step.GetStartBulk().Step = "a"
		r.refuses(v1.Code_CODE_INVALID, step, "leave the step out")
		r.refuses(v1.Code_CODE_INVALID, bulkStart("x", toPause, &v1.InstanceFilter{Version: 2}), "say which")
		all := bulkStart("all", toPause, nil)
		all.GetStartBulk().All = true
		r.tell(all)
		for n := range maxBulks - 2 {
			r.tell(bulkStart(fmt.Sprint("n", n), toCancel, f))
		}
		r.refuses(v1.Code_CODE_BULK_LIMIT, bulkStart("x", toCancel, f), "as many as may")
		r.midway()
		r.did(r.tell(bulkCancel("b")), "bulk.cancelled")
		r.did(r.tell(bulkCancel("b")))
		if b := r.bulk("b"); b.State != v1.BulkState_BULK_STATE_CANCELLED || b.CancelReason != "enough" || b.CancelledBy.GetPrincipal() != "ann" {
			r.t.Fatalf("cancelled as %v", b)
		}
		r.slices()
		r.refuses(v1.Code_CODE_ALREADY_ENDED, bulkCancel("all"), "has come to all")
		r.refuses(v1.Code_CODE_BULK_EXISTS, bulkStart("b", toPause, f), "says something else") // also when it has ended
	})
}

// The newest of those that have ended are kept.
func TestBulkOperationsGo(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		f := &v1.InstanceFilter{Workflow: "w"}
		for n := range keptBulks + 5 {
			r.tell(bulkStart(fmt.Sprintf("b%03d", (n*37)%200), toCancel, f))
			r.tell(advanceOf())
		}
		r.midway()
		if _, err := r.m.GetBulk(&v1.GetBulkRequest{BulkId: "b000"}); err == nil || !strings.Contains(err.Error(), "BULK_NOT_FOUND") {
			r.t.Fatalf("the first is %v", err)
		}
		list, err := r.m.ListBulks(&v1.ListBulksRequest{Limit: 60})
		if err != nil || len(list.Bulks) != 60 {
			r.t.Fatalf("%v, %v", list, err)
		}
		rest, err := r.m.ListBulks(&v1.ListBulksRequest{Limit: 60, Page: list.NextPage})
		if err != nil || len(rest.Bulks) != keptBulks-60 || rest.NextPage != "" {
			r.t.Fatalf("%v, %v", rest, err)
		}
	})
}

// A namespace that is deleted takes its operations along.
func TestBulkOperationsGoWithTheirNamespace(t *testing.T) {
	scenario(t, func(r *rig) {
		create := &logv1.Command{Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}}
		r.tell(create)
		start := bulkStart("b", toCancel, &v1.InstanceFilter{Workflow: "w"})
		start.Envelope.Namespace = "n"
		r.tell(start)
		if got := r.m.Advancing(); len(got) != 1 || got[0] != "n" {
			r.t.Fatalf("they run in %q", got)
		}
		r.tell(&logv1.Command{Envelope: &logv1.Envelope{Namespace: "n"}, Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n"}}})
		r.tell(create)
		r.midway()
		if got := r.m.Advancing(); len(got) != 0 {
			r.t.Fatalf("they run in %q", got)
		}
		if list, err := r.m.ListBulks(&v1.ListBulksRequest{Namespace: "n"}); err != nil || len(list.Bulks) != 0 {
			r.t.Fatalf("%v, %v", list, err)
		}
	})
}
