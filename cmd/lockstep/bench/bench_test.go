package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A report tells medians by name, how far the runs lie apart, and whether they may be believed.
func TestReport(t *testing.T) {
	r := &Report{Kind: Steps, Headline: "rate", All: []Figures{{"rate": 90, "p50Ms": 3}, {"rate": 110, "p50Ms": 1}, {"rate": 100, "p50Ms": 2.0004}}}
	if row := r.Rows()[0]; row != (Row{"rate", 100, 90, 110}) {
		t.Errorf("%+v", row)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"rate": 100.0, "p50Ms": 2.0, "spread": 0.2, "runs": 3.0, "ok": true, "kind": "steps"} {
		if out[name] != want {
			t.Errorf("%s is %v, want %v", name, out[name], want)
		}
	}
	if r.Problems = []string{"the leader changed"}; r.OK() {
		t.Error("a report with a problem is ok")
	}
}

// A payload has just the size that was asked for, and an output of another run, or a shorter one, is not taken for it.
func TestOutputsAreTold(t *testing.T) {
	c := &chain{t: &target{Config: Config{Payload: 256}}, pad: strings.Repeat("x", 256)}
	b := c.output("i", "s1").Bytes
	if len(b) != 256 {
		t.Errorf("the payload has %d bytes", len(b))
	}
	run := func(b []byte) *v1.Run {
		v := &structpb.Value{}
		if err := v.UnmarshalJSON(b); err != nil {
			t.Fatal(err)
		}
		return &v1.Run{Step: "s1", Output: v}
	}
	if !c.isOutput(run(b), "i") {
		t.Error("the output is not told")
	}
	if c.isOutput(run(c.output("i", "s2").Bytes), "i") || c.isOutput(run(c.output("j", "s1").Bytes), "i") {
		t.Error("the output of another run is taken")
	}
	if c.isOutput(run([]byte(`{"of":"i/s1","pad":"x"}`)), "i") || c.isOutput(&v1.Run{Step: "s1"}, "i") {
		t.Error("an output that is cut, or missing, is taken")
	}
}

func TestLatencies(t *testing.T) {
	l, other := newLatencies(), newLatencies()
	for n := range 99 {
		l.add(time.Duration(n+1) * time.Millisecond)
	}
	other.add(time.Hour) // more than is kept: the longest stands for it
	l.merge(other)
	if p50 := l.ms(50); p50 < 49.9 || p50 > 50.1 || l.count() != 100 || l.ms(100) < 599_000 || newLatencies().ms(99) != 0 {
		t.Errorf("p50 %v, count %d, longest %v", p50, l.count(), l.ms(100))
	}
}

func TestTheLoadsWindow(t *testing.T) {
	l := &load{}
	if l.done(5) {
		t.Error("a cycle counts before the window")
	}
	l.from.Store(10)
	l.till.Store(20)
	for at, want := range map[time.Duration]bool{9: false, 10: true, 19: true, 20: false} {
		if l.done(at) != want {
			t.Errorf("a cycle at %d counts: %v", at, !want)
		}
	}
	if l.cycles.Load() != 5 || l.inWindow.Load() != 2 {
		t.Errorf("%d cycles, %d in the window", l.cycles.Load(), l.inWindow.Load())
	}
}

func TestACloseWindowIsNotAGrowingQueue(t *testing.T) {
	for _, x := range []struct {
		rate, seconds, done float64
		behind              bool
	}{
		{100, 60, 6000, false}, {100, 60, 5700, false}, {100, 60, 5699, true}, {100, 2, 186, false}, {100, 2, 100, false}, {100, 2, 99, true},
	} {
		if behind(x.rate, x.seconds, x.done) != x.behind {
			t.Errorf("%+v", x)
		}
	}
}

// L1's bar is half as high with the timers of the LAN profile, or shorter ones.
func TestFailoverIsJudged(t *testing.T) {
	for _, x := range []struct {
		heartbeat time.Duration
		p50, p99  float64
		problems  int
	}{
		{0, 1000, 2000, 0},
		{400 * time.Millisecond, 1001, 2001, 2},
		{200 * time.Millisecond, 500, 2000, 0},
		{200 * time.Millisecond, 501, 2000, 1},
	} {
		problems := 0
		w := &steady{t: &target{Config: Config{Heartbeat: x.heartbeat}, problem: func(string, ...any) { problems++ }}}
		if w.judge(Figures{"failoverP50Ms": x.p50, "failoverP99Ms": x.p99}); problems != x.problems {
			t.Errorf("%+v: %d problems", x, problems)
		}
	}
}
