package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// checkIndex: once it is built, and all is flushed, the index has the rows that follow from the instances there are, and no others.
func checkIndex(m *Machine) error {
	if m.level() < searchLevel || m.toIndex > 0 {
		return nil
	}
	for _, name := range m.names {
		ns, want := m.namespaces[name], map[string]bool{}
		must(scanRows(m.engine, key(tableInstance, name), func() *logv1.Instance { return &logv1.Instance{} }, func(_ []byte, rec *logv1.Instance) error {
			m.eachIndexRow(ns, rec, standingOf(rec), func(k []byte) { want[string(k)] = true })
			return nil
		}))
		var wrong error
		must(m.engine.Scan(key(tableIndex, name), table.End(key(tableIndex, name)), func(k, value []byte) bool {
			if !want[string(k)] || len(value) > 0 {
				wrong = fmt.Errorf("the index has the row %q, which is nobody's", k)
			}
			delete(want, string(k))
			return true
		}))
		for k := range want {
			wrong = fmt.Errorf("the index lacks the row %q", k)
		}
		if wrong != nil {
			return wrong
		}
	}
	return nil
}

// days is when the tests of search begin.
const days = 1704067200 * second

// pass lets time pass, by the clock on the wall too.
func (r *rig) pass(nanoseconds int64) {
	r.t.Helper()
	r.wall = max(r.wall, days)
	r.tick(nanoseconds)
}

// startFor starts an instance as others ask for it.
func (r *rig) startFor(workflow, id string, change func(*v1.StartInstanceRequest)) {
	r.t.Helper()
	c := startOf(workflow, id, `{}`)
	if change != nil {
		change(c.GetStartInstance())
	}
	if out := r.tell(c).Outcomes[0]; out.Refusal != nil {
		r.t.Fatal(out.Refusal)
	}
}

func labelled(labels ...string) func(*v1.StartInstanceRequest) {
	return func(r *v1.StartInstanceRequest) { r.Labels = keysOf(labels...) }
}

// now is the wall time.
func (r *rig) now() *timestamppb.Timestamp { return stamp(r.m.group.Wall) }

// A list has what matches all of its filter, the newest first or the oldest, however many a page has.
func TestInstancesAreFound(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		r.register("workflow: other\nsteps:\n  a: {queue: q}\n")
		r.register("workflow: other\nsteps:\n  a: {queue: q2}\n")
		var times []*timestamppb.Timestamp
		for n := range 8 {
			r.pass(second)
			times = append(times, r.now())
			r.startFor([]string{"w", "other"}[n%2], fmt.Sprint("i", 7-n), func(s *v1.StartInstanceRequest) {
				s.Labels, s.Keys = keysOf(fmt.Sprint("third=", n%3), "all=1"), keysOf(fmt.Sprint("n=", n))
				if s.Workflow == "other" {
					s.Version = int32(1 + n/4)
				}
			})
		}
		r.midway()
		r.pass(second)
		ended := r.now()
		r.tell(signalOf("i7", "go"))
		r.tell(cancelOf("i2"))
		r.pass(second)
		r.tell(cancelOf("i4"))
		r.midway()
		cancelled, running, completed := v1.InstanceState_INSTANCE_STATE_CANCELLED, v1.InstanceState_INSTANCE_STATE_RUNNING, v1.InstanceState_INSTANCE_STATE_COMPLETED
		for _, c := range []struct {
			ask  *v1.ListInstancesRequest
			want string
		}{
			{&v1.ListInstancesRequest{}, "[i0 i1 i2 i3 i4 i5 i6 i7]"},
			{&v1.ListInstancesRequest{Order: v1.ListOrder_LIST_ORDER_OLDEST}, "[i7 i6 i5 i4 i3 i2 i1 i0]"},
			{&v1.ListInstancesRequest{Workflow: "other"}, "[i0 i2 i4 i6]"},
			{&v1.ListInstancesRequest{Workflow: "other", Version: 1}, "[i4 i6]"},
			{&v1.ListInstancesRequest{Workflow: "other", Version: 3}, "[]"},
			{&v1.ListInstancesRequest{Workflow: "other", State: cancelled}, "[i2 i4]"},
			{&v1.ListInstancesRequest{State: completed}, "[i7]"},
			{&v1.ListInstancesRequest{State: running, Labels: keysOf("third=0")}, "[i1]"},
			{&v1.ListInstancesRequest{Labels: keysOf("third=0")}, "[i1 i4 i7]"},
			{&v1.ListInstancesRequest{Labels: keysOf("third=0", "all=1"), Workflow: "w", Order: v1.ListOrder_LIST_ORDER_OLDEST}, "[i7 i1]"},
			{&v1.ListInstancesRequest{Keys: keysOf("n=3")}, "[i4]"},
			{&v1.ListInstancesRequest{Keys: keysOf("n=3"), Labels: keysOf("third=1")}, "[]"},
			{&v1.ListInstancesRequest{StartedFrom: times[2]}, "[i0 i1 i2 i3 i4 i5]"},
			{&v1.ListInstancesRequest{StartedFrom: times[2], StartedTo: times[4]}, "[i4 i5]"},
			{&v1.ListInstancesRequest{StartedTo: times[2], Order: v1.ListOrder_LIST_ORDER_OLDEST}, "[i7 i6]"},
			{&v1.ListInstancesRequest{StartedFrom: times[2], Workflow: "w"}, "[i1 i3 i5]"},
			{&v1.ListInstancesRequest{EndedFrom: ended}, "[i4 i7 i2]"},
			{&v1.ListInstancesRequest{EndedFrom: ended, Order: v1.ListOrder_LIST_ORDER_OLDEST, State: cancelled}, "[i2 i4]"},
			{&v1.ListInstancesRequest{EndedFrom: ended, EndedTo: r.now(), Workflow: "other"}, "[i2]"},
			{&v1.ListInstancesRequest{EndedTo: ended}, "[]"},
		} {
			for limit := range int32(4) {
				ask := proto.CloneOf(c.ask)
				ask.Limit = limit
				if got := r.listed(ask); got != c.want {
					r.t.Errorf("%v, %d a page: %s; want %s", c.ask, limit, got, c.want)
				}
			}
		}
	})
}

// What is stuck is what lives and has not changed for so long; a change of its steps begins that anew, and so does nothing else.
func TestWhatIsStuckIsFound(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(chain)
		r.pass(0)
		stuck := func(minutes int64, want string) {
			r.t.Helper()
			if got := r.listed(&v1.ListInstancesRequest{StuckFor: durationpb.New(60e9 * 1), Limit: 2}); minutes == 1 && got != want {
				r.t.Fatalf("stuck for a minute are %s; want %s", got, want)
			}
			if got := r.listed(&v1.ListInstancesRequest{StuckFor: &durationpb.Duration{Seconds: 60 * minutes}}); got != want {
				r.t.Fatalf("stuck for %d minutes are %s; want %s", minutes, got, want)
			}
		}
		session := r.session(3600 * second)
		r.startFor("chain", "a", nil)
		r.pass(40 * second)
		r.startFor("chain", "b", nil)
		stuck(1, "[]")
		stuck(100*365*24*60, "[]")
		r.pass(20 * second)
		stuck(1, "[a]")
		r.midway()
		r.pass(30 * second)
		run := r.poll(session, "q", 1)[0] // of a
		r.pass(10 * second)
		stuck(1, "[b]")
		r.pass(40 * second)
		if _, refusal := r.complete(run, `{}`); refusal != nil {
			r.t.Fatal(refusal)
		}
		r.midway()
		r.pass(59 * second)
		stuck(1, "[b]")
		r.pass(second)
		stuck(1, "[b a]")
		stuck(3, "[]")
		r.tell(cancelOf("b"))
		r.pass(1800 * second)
		stuck(1, "[a]")
		stuck(31, "[a]")
		stuck(32, "[]")
	})
}

// An instance keeps its place in a list whatever becomes of it, and is there once: also one that waits for its id meanwhile.
func TestAListIsStable(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register(hears)
		for n := range 6 {
			r.startFor("w", fmt.Sprint("i", n), labelled("a=1"))
			r.pass(second)
		}
		r.startFor("w", "i0", func(s *v1.StartInstanceRequest) {
			s.OnConflict, s.StartId, s.Labels = v1.OnConflict_ON_CONFLICT_QUEUE, "next", keysOf("a=1")
		})
		for _, order := range []v1.ListOrder{v1.ListOrder_LIST_ORDER_NEWEST, v1.ListOrder_LIST_ORDER_OLDEST} {
			var got []string
			ask, n := &v1.ListInstancesRequest{Order: order, Labels: keysOf("a=1"), Limit: 1}, 0
			for {
				page, err := r.m.ListInstances(ask)
				must(err)
				for _, i := range page.Instances {
					got = append(got, i.InstanceId)
				}
				if ask.Page = page.NextPage; ask.Page == "" {
					break
				}
				r.pass(second)
				r.startFor("w", fmt.Sprint("new", order, n), labelled("b=1"))
				r.tell(signalOf(fmt.Sprint("i", n), "go")) // and with the first of them the one that waits for its id starts
				n++
			}
			slices.Sort(got)
			if want := "[i0 i0~next i1 i2 i3 i4 i5]"; fmt.Sprint(got) != want {
				r.t.Errorf("by %s there are %v; want %s", order, got, want)
			}
		}
	})
}

// What nothing can match, and what is no page of this list, is refused with what to do.
func TestAFilterIsRefused(t *testing.T) {
	r := newRig(t)
	r.register(hears)
	for n := range 3 {
		r.startFor("w", fmt.Sprint("i", n), nil)
	}
	soon, later := &timestamppb.Timestamp{Seconds: 1}, &timestamppb.Timestamp{Seconds: 2}
	first, err := r.m.ListInstances(&v1.ListInstancesRequest{Limit: 1})
	must(err)
	minute := &durationpb.Duration{Seconds: 60}
	for _, c := range []struct {
		ask  *v1.ListInstancesRequest
		want string
	}{
		{&v1.ListInstancesRequest{Version: 1}, "say which"},
		{&v1.ListInstancesRequest{Workflow: "w", Version: -1}, "count from 1"},
		{&v1.ListInstancesRequest{StartedFrom: later, StartedTo: soon}, "not behind it"},
		{&v1.ListInstancesRequest{EndedFrom: later, EndedTo: later}, "not behind it"},
		{&v1.ListInstancesRequest{StartedFrom: &timestamppb.Timestamp{Seconds: -1}}, "startedFrom is no time"},
		{&v1.ListInstancesRequest{EndedTo: &timestamppb.Timestamp{Seconds: 1 << 40}}, "endedTo is no time"},
		{&v1.ListInstancesRequest{StuckFor: &durationpb.Duration{}}, "more than nothing"},
		{&v1.ListInstancesRequest{StuckFor: minute, EndedFrom: soon}, "leave out stuckFor"},
		{&v1.ListInstancesRequest{StuckFor: minute, State: v1.InstanceState_INSTANCE_STATE_FAILED}, "is not stuck"},
		{&v1.ListInstancesRequest{EndedFrom: soon, State: v1.InstanceState_INSTANCE_STATE_RUNNING}, "has not ended"},
		{&v1.ListInstancesRequest{StuckFor: minute, Order: v1.ListOrder_LIST_ORDER_OLDEST}, "leave out the order"},
		{&v1.ListInstancesRequest{Order: 7}, "order 7"},
		{&v1.ListInstancesRequest{Page: "i1"}, "none that a list"},
		{&v1.ListInstancesRequest{Page: "n:-1:i1"}, "none that a list"},
		{&v1.ListInstancesRequest{Page: first.NextPage, Order: v1.ListOrder_LIST_ORDER_OLDEST}, "another order"},
	} {
		_, err := r.m.ListInstances(c.ask)
		if err == nil || !strings.HasPrefix(err.Error(), "INVALID: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v is answered %v; want %q", c.ask, err, c.want)
		}
	}
}

// A page looks at so many instances and no more: where few match it is short and says how it goes on, and all are found.
func TestAPageLooksAtABoundedNumber(t *testing.T) {
	r := newRig(t)
	r.pass(0)
	r.register(hears)
	for n := range 2*searched + 10 {
		label := "all=1"
		if n%searched == 0 {
			label = "few=1"
		}
		r.startFor("w", fmt.Sprint("i", n), func(s *v1.StartInstanceRequest) { s.Labels = keysOf(label, "both=1") })
	}
	pages, found := 0, 0
	for ask := (&v1.ListInstancesRequest{Workflow: "w", StartedFrom: &timestamppb.Timestamp{Seconds: 1}, Version: 1, Labels: keysOf("both=1")}); ; pages++ {
		ask.Limit = 1000
		page, err := r.m.ListInstances(ask)
		must(err)
		if found += len(page.Instances); len(page.Instances) > searched {
			t.Fatalf("a page has %d", len(page.Instances))
		}
		if ask.Page = page.NextPage; ask.Page == "" {
			break
		}
	}
	if pages != 2 || found != 2*searched+10 {
		t.Errorf("%d pages have %d", pages+1, found)
	}
	page, err := r.m.ListInstances(&v1.ListInstancesRequest{Labels: keysOf("both=1", "few=1")}) // by the label that few have
	must(err)
	if len(page.Instances) != 3 || page.NextPage != "" {
		t.Errorf("of those with both labels a page has %d, and goes on at %q", len(page.Instances), page.NextPage)
	}
}

// Below its level there is no index. A cluster that comes to the level adds what was there before by and by, an entry so much, and lists
// have everything meanwhile; behind that the index is the same as one that was there from the beginning.
func TestTheIndexIsBuilt(t *testing.T) {
	for _, opened := range []bool{false, true} {
		engine := table.NewMemory()
		m, err := OpenAt(engine, searchLevel-1)
		must(err)
		r := &rig{t: t, m: m, engine: engine, level: searchLevel - 1}
		r.pass(0)
		r.register(hears)
		const many = 2*indexMost + 50
		for n := range many {
			r.startFor("w", fmt.Sprintf("i%04d", n), labelled("a=1"))
		}
		r.startFor("w", "i0003", func(s *v1.StartInstanceRequest) {
			s.OnConflict, s.StartId, s.Labels = v1.OnConflict_ON_CONFLICT_QUEUE, "next", keysOf("a=1")
		})
		r.tell(signalOf("i0001", "go"))
		if _, err := r.m.ListInstances(&v1.ListInstancesRequest{Order: v1.ListOrder_LIST_ORDER_NEWEST}); err == nil || !strings.HasPrefix(err.Error(), "UNSUPPORTED") {
			t.Fatalf("below the level an order is answered %v", err)
		}
		if err := r.m.Flush(); opened && err == nil {
			r.m, err = OpenAt(engine, searchLevel-1)
			must(err)
		}
		before := r.listed(&v1.ListInstancesRequest{Labels: keysOf("a=1")})
		r.tell(&logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: searchLevel}}})
		raised := r.m.group.Wall
		page, err := r.m.ListInstances(&v1.ListInstancesRequest{Labels: keysOf("a=1"), Limit: 3})
		must(err)
		if _, err := r.m.ListInstances(&v1.ListInstancesRequest{Order: v1.ListOrder_LIST_ORDER_NEWEST}); err == nil || !strings.HasPrefix(err.Error(), "INDEX_NOT_READY") {
			t.Fatalf("while it is built an order is answered %v", err)
		}
		r.level = searchLevel
		entries := 0
		for ; r.m.toIndex > 0; entries++ {
			if r.m.Clock().Deadline != 1 {
				t.Fatal("nothing has it built")
			}
			if got := r.listed(&v1.ListInstancesRequest{Labels: keysOf("a=1")}); got != before {
				t.Fatalf("while it is built there are %s; want %s", got, before)
			}
			switch entries { // what is changed meanwhile, before and behind where the building is
			case 1:
				r.apply(&logv1.Entry{Commands: []*logv1.Command{signalOf("i0002", "go"), signalOf("i0900", "go"), signalOf("i0003", "go")}})
			default:
				r.apply(&logv1.Entry{})
			}
			if opened {
				r.reopened()
			}
		}
		if entries != 3 {
			t.Errorf("it took %d entries", entries)
		}
		must(r.m.Flush())
		if err := checkIndex(r.m); err != nil {
			t.Error(err)
		}
		rest := r.listed(&v1.ListInstancesRequest{Labels: keysOf("a=1"), Page: page.NextPage})
		if want := strings.Replace(before, "i0000 i0001 i0002 ", "", 1); rest != want {
			t.Errorf("a list that began before goes on with %.60s; want %.60s", rest, want)
		}
		if got := strings.Fields(r.listed(&v1.ListInstancesRequest{Labels: keysOf("a=1")})); len(got) != many+1 || got[many] != "i0003~next]" {
			t.Errorf("the newest first there are %d, the last is %s", len(got), got[len(got)-1])
		}
		if got := r.m.Clock().Deadline; got == 1 {
			t.Error("it goes on when it is built")
		}
		r.pass(60*second - (r.m.group.Wall - raised))
		if got := r.listed(&v1.ListInstancesRequest{StuckFor: &durationpb.Duration{Seconds: 60}}); len(strings.Fields(got)) != many-4+1 {
			t.Errorf("what did not change since the level are %d", len(strings.Fields(got)))
		}
	}
}
