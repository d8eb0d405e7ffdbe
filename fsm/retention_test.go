package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func keepOf(finished, events time.Duration, exportFirst bool) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_UpdateNamespace{UpdateNamespace: &v1.UpdateNamespaceRequest{
		Retention: &v1.Retention{Finished: durationpb.New(finished), Events: durationpb.New(events), ExportFirst: exportFirst},
	}}}
}

func ackOf(position int64) *logv1.Command {
	return &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_AckExport{AckExport: &v1.AckExportRequest{Position: position}}}
}

// ages lets time pass on both clocks.
func (r *rig) ages(d time.Duration) {
	if r.wall == 0 {
		r.wall = 1_700_000_000 * oneSecond
	}
	r.elapsed, r.wall = r.elapsed+int64(d), r.wall+int64(d)
	r.apply(&logv1.Entry{})
}

// removes asks for a slice, and compares how many instances and events go.
func (r *rig) removes(instances, events int32) {
	r.t.Helper()
	reply, refusal := r.do(retainOf())
	got, is := reply.(*logv1.Retained)
	if refusal != nil || !is || got.Instances != instances || got.Events != events {
		r.t.Fatalf("%v, %v go; want %d instances and %d events", reply, refusal, instances, events)
	}
}

// there compares which instances there are.
func (r *rig) there(want string) {
	r.t.Helper()
	list, err := r.m.ListInstances(&v1.ListInstancesRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, i := range list.Instances {
		got = append(got, i.InstanceId)
	}
	slices.Sort(got)
	if strings.Join(got, " ") != want {
		r.t.Fatalf("there are %q; want %q", got, want)
	}
}

// past is what the history of an instance tells, shortened.
func (r *rig) past(id string) string {
	r.t.Helper()
	h, err := r.m.GetHistory(&v1.GetHistoryRequest{InstanceId: id})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, e := range h.Events {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(e.Type, "lockstep."), ".v1"))
	}
	return strings.Join(out, " ")
}

const kept = "workflow: w\nsteps:\n  a: {queue: q}\n"

// What has ended is kept for as long as the namespace says, by both clocks, and then goes; what lives stays, and an id can be used again.
func TestWhatIsOverGoes(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register(kept)
		r.start("w", "i1", `{"n":1}`)
		r.start("w", "i2", `{}`)
		r.finish("i1")
		r.ages(time.Minute)
		r.removes(0, 0) // without a word it is for ever
		r.tell(keepOf(2*time.Minute, 0, false))
		r.midway()
		r.ages(time.Minute - 1)
		r.removes(0, 0)
		r.wall += int64(time.Hour) // a clock that is ahead removes nothing
		r.apply(&logv1.Entry{})
		r.removes(0, 0)
		r.midway()
		r.ages(1)
		r.removes(1, 0)
		r.midway()
		r.there("i2")
		if _, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i1"}); err == nil {
			r.t.Fatal("what was removed is shown")
		}
		if again := r.start("w", "i1", `{"n":2}`); again.Existing {
			r.t.Fatal("what was removed is found")
		}
		if got := r.past("i1"); got != "instance.started step.ready" {
			r.t.Fatalf("the second of the id has the history %q", got)
		}
		r.midway()
		if got := r.past("i1"); got != "instance.started step.ready" {
			r.t.Fatalf("the second of the id has the history %q", got)
		}
		r.finish("i1")
		r.finish("i2")
		r.midway()
		r.ages(2 * time.Minute)
		r.removes(2, 0)
		r.there("")
		ns, err := r.m.GetNamespace(&v1.GetNamespaceRequest{})
		if err != nil || ns.Kept.Removed != 3 || ns.Kept.OldestEnded != nil {
			r.t.Fatalf("it shows %v, %v", ns, err)
		}
		r.rowless('i', 'r', 'p', 'd', 'f', 'h', 't', 'z', 'Y')
	})
}

// rowless: nothing is in tables.
func (r *rig) rowless(tables ...byte) {
	r.t.Helper()
	must(r.m.Flush())
	for _, tbl := range tables {
		must(r.m.engine.Scan([]byte{tbl}, table.End([]byte{tbl}), func(k, _ []byte) bool {
			r.t.Errorf("row %q is left", k)
			return true
		}))
	}
}

// A slice removes so many, in the order of ends; one with many payloads is taken apart in several.
func TestASliceIsBounded(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register("workflow: w\nsteps:\n  a: {queue: q}\n  b: {queue: q}\n  c: {queue: q}\n  d: {queue: q}\n  e: {queue: q}\n  f: {queue: q}\n  g: {queue: q}\n  h: {queue: q}\n")
		r.register("workflow: v\nsteps:\n  a: {queue: q}\n")
		s := r.session(3600 * second)
		r.start("w", "large", `{}`)
		for range 8 {
			r.complete(r.poll(s, "q", 1)[0], `{"n":1}`)
		}
		for n := range 5 {
			r.start("v", fmt.Sprint("i", n), `{}`)
			r.complete(r.poll(s, "q", 1)[0], `{"n":1}`)
		}
		r.tell(keepOf(time.Minute, 0, false))
		r.ages(time.Minute)
		limit := func() { r.m.LimitRemoval(2, 5) }
		limit()
		r.removes(5, 0)
		r.midway()
		i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "large"})
		if err != nil || !i.PayloadsOmitted {
			r.t.Fatalf("taken apart it is %v, %v", i, err)
		}
		for n := 0; n < 10; n++ {
			limit()
			reply, _ := r.do(retainOf())
			if got := reply.(*logv1.Retained).Instances; got == 0 || got > 5 {
				r.t.Fatalf("slice %d removes %d", n, got)
			}
			if list, _ := r.m.ListInstances(&v1.ListInstancesRequest{}); len(list.Instances) == 0 {
				break
			}
		}
		r.there("")
		r.rowless('i', 'r', 'p', 'd', 'f', 'h', 't', 'z', 'Y')
	})
}

// The feed is cut behind what is older, and the histories of those that are kept stay whole.
func TestTheFeedIsCut(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register(kept)
		r.start("w", "gone", `{}`)
		r.start("w", "lives", `{}`)
		r.start("w", "over", `{}`)
		r.finish("gone")
		r.tell(keepOf(32*time.Second, 320*time.Second, false))
		r.ages(32 * time.Second)
		r.finish("over")
		r.removes(1, 0)
		r.tell(keepOf(0, 320*time.Second, false))
		was, over := r.past("lives"), r.past("over")
		newest, _ := r.m.Position("")
		r.ages(298*time.Second - 1)
		r.removes(0, 0)
		r.ages(time.Minute)
		r.midway()
		r.removes(0, int32(newest))
		r.midway()
		r.removes(0, 0) // that it was cut is not what it is cut for
		if r.past("lives") != was || r.past("over") != over || strings.Count(over, " ") < 3 {
			r.t.Fatalf("the histories are %q and %q; they were %q and %q", r.past("lives"), r.past("over"), was, over)
		}
		_, err := r.m.Events("", 0, 10)
		refusal, is := err.(*Refusal)
		if !is || refusal.Detail.Code != v1.Code_CODE_POSITION_COMPACTED || refusal.Detail.Position != newest+1 {
			r.t.Fatalf("the beginning is answered %v", err)
		}
		if events, err := r.m.Events("", newest, 10); err != nil || len(events) != 1 {
			r.t.Fatalf("what is kept is %v, %v", events, err)
		}
		r.tell(keepOf(time.Second, 320*time.Second, false))
		r.ages(time.Second)
		r.removes(1, 0)
		r.finish("lives")
		r.ages(time.Second)
		r.removes(1, 0)
		r.midway()
		r.rowless('Z', 'h', 'i')
	})
}

// Nothing goes that was not exported, where the namespace says so; an export goes on where it was, also within an instance.
func TestAnExportIsWhole(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register(kept)
		big := `{"n":"` + strings.Repeat("x", 200_000) + `"}`
		s := r.session(3600 * second)
		for n := range 9 {
			r.start("w", fmt.Sprint("i", n), big)
			r.complete(r.poll(s, "q", 1)[0], big)
		}
		r.start("w", "lives", `{}`)
		r.tell(keepOf(time.Second, time.Second, true))
		r.ages(time.Hour)
		newest, _ := r.m.Position("")
		r.removes(0, int32(newest))
		var lines, pages int
		seen := map[string]int{}
		ask := &v1.ExportInstancesRequest{}
		for more := true; more; {
			r.midway()
			page, err := r.m.ExportInstances(ask)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, p := range page.Pieces {
				seen[p.InstanceId]++
				if p.Last {
					lines++
				}
			}
			pages++
			ask.After, ask.Within, ask.Pieces, more = page.After, page.Within, page.Given, page.More
		}
		if lines != 9 || pages < 4 || len(seen) != 9 {
			r.t.Fatalf("%d lines in %d pages of %v", lines, pages, seen)
		}
		for id, n := range seen {
			if n != 1+1+strings.Count(r.past(id), " ")+1+1 { // itself, its run, its events, the end
				r.t.Errorf("%s has %d pieces, and the history %s", id, n, r.past(id))
			}
		}
		until, err := r.m.ExportInstances(&v1.ExportInstancesRequest{EndedBefore: timestamppb.New(time.Unix(1_700_000_000, 0))})
		if err != nil || len(until.Pieces) > 0 {
			r.t.Fatalf("of those that ended before it gives %v, %v", until, err)
		}
		r.removes(0, 0)
		r.tell(ackOf(ask.After - 1))
		r.removes(8, 0)
		r.midway()
		if _, err := r.m.ExportInstances(&v1.ExportInstancesRequest{Within: 1, Pieces: 2}); err == nil {
			r.t.Error("an instance that went meanwhile is gone on with")
		}
		r.tell(ackOf(ask.After))
		r.tell(ackOf(1)) // says less, and has no effect
		r.removes(1, 0)
		r.there("lives")
		if _, refusal := r.do(ackOf(1 << 40)); refusal.GetCode() != v1.Code_CODE_INVALID {
			r.t.Errorf("the future is acknowledged: %v", refusal)
		}
	})
}

// The first of the starts of an id is kept as long as another of them is; what is waited for is not removed before that was told.
func TestWhatIsNeededStays(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register(kept)
		r.start("w", "i", `{}`)
		r.finish("i")
		c := startOf("w", "i", `{}`)
		c.GetStartInstance().OnConflict, c.GetStartInstance().StartId = v1.OnConflict_ON_CONFLICT_QUEUE, "2"
		r.tell(c)
		r.tell(keepOf(time.Minute, 0, false))
		r.ages(time.Minute)
		r.removes(1, 0) // put behind
		r.there("i i~2")
		r.midway()
		r.finish("i~2")
		r.ages(time.Minute)
		r.removes(1, 0) // put behind again: what came second ended behind its place
		r.midway()
		r.removes(1, 0)
		r.there("i")
		if i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); err != nil || i.Line.Holder != "i" {
			r.t.Errorf("alone it is %v, %v", i, err)
		}
		r.ages(time.Minute)
		r.midway()
		r.removes(1, 0)
		r.there("")
		r.removes(0, 0)
	})
}

// What has a key that is waited by stays as long as that, so what a wait comes to does not hang on when removal came by; behind it nothing is
// left of the key, nor of one that a step gave.
func TestWhatIsWaitedForByKeyStays(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		worker := r.awaiters(", of: {atLeast: 2}")
		r.register(ships)
		r.startKeyed("payment", "p1", "order=7", "other=1")
		r.pays(worker, "p1", `{"fee":0}`)
		r.tell(failOf(r.lease(worker, "p1", "fee"), "BROKE"))
		r.startKeyed("payment", "p2", "order=7")
		r.pays(worker, "p2", `{}`)
		r.startKeyed("payment", "other", "order=8")
		r.pays(worker, "other", `{}`)
		r.start("w0", "two", `{}`)
		r.is("two", "RUNNING wait=WAITING go=PENDING")
		r.tell(keepOf(10*time.Second, 0, false))
		r.ages(10 * time.Second)
		r.removes(1, 0) // p1 is put behind
		r.removes(1, 0) // p2 is
		r.removes(1, 0)
		r.there("p1 p2 two")
		r.midway()
		r.startKeyed("payment", "p3", "order=7")
		r.pays(worker, "p3", `{}`)
		r.waited("two", `{"count":2,"instances":["p2","p3"]}`)
		r.start("ships", "i", `{}`)
		r.done(r.lease(worker, "i", "ship"), `{"shipment":"s1","carrier":3}`)
		r.tell(&logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "two"}}})
		r.tell(&logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "i"}}})
		r.midway()
		r.ages(10 * time.Second)
		r.removes(5, 0)
		r.there("")
		r.start("w0", "late", `{}`) // waits as if nobody had had the key
		if e := r.why("late", "wait"); !strings.HasSuffix(e.Sentence, "for there is none yet.") {
			r.t.Fatalf("explained as %v", e)
		}
		r.tell(&logv1.Command{Body: &logv1.Command_CancelInstance{CancelInstance: &v1.CancelInstanceRequest{InstanceId: "late"}}})
		r.ages(10 * time.Second)
		r.removes(1, 0)
		r.rowless('i', 'r', 'p', 'd', 'f', 'h', 't', 'z', 'Z', 'Y', 'o', 'O', 'k')
	})
}

// What led an id goes behind the last that it led, also where both are over at a time.
func TestTheFirstOfAnIdGoesLast(t *testing.T) {
	scenario(t, func(r *rig) {
		r.ages(0)
		r.register(kept)
		r.start("w", "i", `{}`)
		r.finish("i")
		c := startOf("w", "i", `{}`)
		c.GetStartInstance().OnConflict, c.GetStartInstance().StartId = v1.OnConflict_ON_CONFLICT_QUEUE, "2"
		r.tell(c)
		r.finish("i~2")
		r.tell(keepOf(time.Minute, 0, false))
		r.ages(time.Minute)
		r.removes(1, 0) // put behind
		r.tell(keepOf(time.Hour, 0, false))
		r.ages(time.Hour)
		r.midway()
		r.removes(1, 0)
		r.there("i")
		r.midway()
		r.removes(1, 0)
		r.there("")
		r.rowless('i', 'r', 'p', 'h', 'z')
	})
}

// What ended below the level is put in order when the cluster comes to it, a slice at a time.
func TestWhatEndedBeforeIsPutInOrder(t *testing.T) {
	scenario(t, func(r *rig) {
		r.m.group.Level, r.level = retentionLevel-1, retentionLevel-1
		r.ages(0)
		r.register(kept)
		s := r.session(3600 * second)
		for n := range orderMost + 5 {
			r.start("w", fmt.Sprintf("i%03d", n), `{}`)
			r.complete(r.poll(s, "q", 1)[0], `{}`)
		}
		r.start("w", "lives", `{}`)
		r.start("w", "late", `{}`)
		r.midway()
		r.tell(&logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: Level}}})
		r.level = 0
		r.tell(keepOf(time.Minute, 0, false))
		r.ages(time.Minute)
		if _, err := r.m.ExportInstances(&v1.ExportInstancesRequest{}); err == nil {
			r.t.Error("what is not in order is exported")
		}
		r.tell(retainOf())
		r.midway()
		r.finish("late")
		r.tell(retainOf())
		r.midway()
		for range orderMost/RemoveMost + 1 {
			r.tell(retainOf())
		}
		r.there("late lives")
		r.ages(time.Minute)
		r.removes(1, 0)
		r.there("lives")
	})
}

// What is added to the index and removed in one entry leaves no row of it.
func TestWhatIsIndexedAndRemovedAtOnce(t *testing.T) {
	scenario(t, func(r *rig) {
		r.m.group.Level, r.level = searchLevel-1, searchLevel-1
		r.ages(0)
		r.register(kept)
		r.start("w", "i", `{}`)
		r.finish("i")
		r.start("w", "lives", `{}`)
		r.midway()
		r.tell(&logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: Level}}})
		r.level = 0
		r.elapsed, r.wall = r.elapsed+int64(time.Minute), r.wall+int64(time.Minute)
		r.apply(&logv1.Entry{Commands: []*logv1.Command{keepOf(time.Second, 0, false), retainOf(), retainOf()}})
		r.there("lives")
		must(r.m.Flush())
		if err := checkIndex(r.m); err != nil {
			r.t.Fatal(err)
		}
	})
}

func TestRetentionHasBounds(t *testing.T) {
	r := newRig(t)
	for d, ok := range map[time.Duration]bool{0: true, minRetention: true, minRetention - 1: false, maxRetention: true, maxRetention + 1: false, -1: false} {
		for _, c := range []*logv1.Command{keepOf(d, 0, false), keepOf(0, d, false)} {
			if _, refusal := r.do(c); (refusal == nil) != ok {
				t.Errorf("%s is answered %v", d, refusal)
			}
			if LevelOf(c) != retentionLevel {
				t.Error("its level is not its own")
			}
		}
	}
	if LevelOf(retainOf()) != retentionLevel || LevelOf(ackOf(1)) != retentionLevel {
		t.Error("the levels are not theirs")
	}
}
