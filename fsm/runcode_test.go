package fsm

import (
	"reflect"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// fillStruct sets every field to something of its own. What is only in memory is left out.
func fillStruct(v reflect.Value, n *int64) {
	for at := range v.NumField() {
		f := v.Field(at)
		*n++
		switch f.Kind() {
		case reflect.Int32, reflect.Int64:
			f.SetInt(-*n)
		case reflect.Uint8:
			f.SetUint(uint64(*n))
		case reflect.Bool:
			f.SetBool(true)
		case reflect.String:
			f.SetString(string(rune('a' + *n)))
		case reflect.Pointer:
			if text := string(rune('a' + *n)); f.CanSet() && f.Type() == reflect.TypeFor[*string]() {
				f.Set(reflect.ValueOf(&text))
			}
		}
	}
}

func blankRun() *run {
	r := blank()
	return &r
}

func fullRun() *run {
	r, n := blankRun(), int64(0)
	r.motion, r.aside = &motion{}, &aside{}
	for _, part := range []any{r, r.motion, r.aside} {
		fillStruct(reflect.ValueOf(part).Elem(), &n)
	}
	r.Rated = &rated{limits: []graph.Limit{{Key: "k", Limit: 9, Per: 1 << 40}, {Key: "o", Limit: 1, Per: 7}}, at: 2}
	r.has, r.number = 5, [roles]int64{9, 0, 1 << 40}
	r.Locks = []*logv1.ClaimedLock{{Lock: "x"}, {Lock: "y", Shared: true, Limit: 3, Take: 2, Slot: 1}}
	r.Ended = []*logv1.EndedToken{{Token: 7, How: "fail", State: 4, Delay: 9}, {Token: 8, How: "release"}}
	return r
}

// A run is stored by hand: a field that is added to it, and not to its encoding, is missed here.
func TestARunSurvivesItsEncoding(t *testing.T) {
	bare := blankRun()
	page := appendRun(appendRun(nil, fullRun()), bare)
	for n, want := range []*run{fullRun(), bare} {
		got := blankRun()
		rest, err := cutRun(page, got)
		if page = rest; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("run %d: %+v\nbecame\n%+v, %v", n, want, got, err)
		}
	}
	if len(page) > 0 {
		t.Errorf("%x is left", page)
	}
}

func TestAPlaceSurvivesItsEncoding(t *testing.T) {
	full := fullRun()
	want := place{3, "q", "p", -4, 5, 6, 7, 8, full.Locks, 9, "i", "s", "f", full.Rated.limits, "l", "k", 10, true}
	got, node, rest, err := cutPlace(appendPlace(nil, 9, want))
	if err != nil || node != 9 || len(rest) > 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nbecame\n%+v of node %d, %x is left, %v", want, got, node, rest, err)
	}
}

// What is cut short, or has a field that is none of a run's, is damage.
func TestADamagedRunIsRefused(t *testing.T) {
	whole := appendRun(nil, fullRun())
	for size := range len(whole) {
		if _, err := cutRun(whole[:size], blankRun()); err == nil {
			t.Errorf("%d bytes of %d are a run", size, len(whole))
		}
	}
	for _, b := range [][]byte{{99, 0}, {29, 2, 0}, {51, 0}, {56, 1, 'x', 0}} {
		if _, err := cutRun(b, blankRun()); err == nil {
			t.Errorf("%x is a run", b)
		}
	}
	if _, _, _, err := cutPlace([]byte{5, 2, 0}); err == nil {
		t.Error("a token is a field of a place")
	}
}

// Payloads that are not in memory any more are what they were: in answers, in leases and in expressions.
func TestPayloadsOutliveMemory(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		r := newRig(t)
		r.register("workflow: w\nsteps:\n  a: {queue: a}\n  b: {queue: b, needs: [a], input: {x: \"${steps.a.output.n + input.k}\"}}\noutput: {y: \"${steps.b.output.n}\"}\n")
		worker := r.session(1000 * second)
		between := func() {
			if flushed {
				must(r.m.Flush())
				var err error
				r.m, err = Open(r.engine)
				must(err)
			}
		}
		r.start("w", "i", `{"k":2}`)
		between()
		r.complete(r.poll(worker, "a", 1)[0], `{"n":1}`)
		between()
		run := r.poll(worker, "b", 1)[0]
		if got := string(run.InputPayload.Bytes); got != `{"x":3}` {
			t.Errorf("flushed %v: b is given %s", flushed, got)
		}
		between()
		r.complete(run, `{"n":4}`)
		between()
		i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"})
		if err != nil || string(i.InputPayload.Bytes) != `{"k":2}` || string(i.OutputPayload.Bytes) != `{"y":4}` ||
			string(i.Runs[0].OutputPayload.Bytes) != `{"n":1}` || string(i.Runs[1].OutputPayload.Bytes) != `{"n":4}` {
			t.Errorf("flushed %v: %v, %v", flushed, i, err)
		}
		list, err := r.m.ListInstances(&v1.ListInstancesRequest{})
		if err != nil || len(list.Instances) != 1 || string(list.Instances[0].InputPayload.Bytes) != `{"k":2}` || string(list.Instances[0].OutputPayload.Bytes) != `{"y":4}` {
			t.Errorf("flushed %v: the list is %v, %v", flushed, list, err)
		}
		if again := r.start("w", "i", `{"k":2}`); !again.Existing {
			t.Errorf("flushed %v: the same start again is %v", flushed, again)
		}
	}
}
