package bench

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestThePageShowsEveryCurve(t *testing.T) {
	r := &Report{Kind: Steps, Headline: "stepCyclesPerSecond", Machine: "a <machine>", All: []Figures{{"stepCyclesPerSecond": 1000, "p50Ms": 2}}, Problems: []string{"run 1: the leader changed"}}
	for run := 1; run <= 2; run++ {
		at := &target{report: r, run: run}
		times := newLatencies()
		for n := range 1000 {
			times.add(time.Duration(n+1) * time.Millisecond)
		}
		at.spread("cycle", times)
		at.spread("never measured", newLatencies())
	}
	r.Throughput = []Curve{{"cycles", 1, []Point{{1, 900}, {2, 1100}}}}
	if got := fmt.Sprint(names(r.Latencies)); len(r.Latencies) != 2 || got != "[cycle]" {
		t.Errorf("%d curves: %s", len(r.Latencies), got)
	}
	last := r.Latencies[0].Points
	if p := last[len(last)-1]; p.X != 1 || p.Y < 999 || p.Y > 1002 || last[len(last)-2].X < 0.998 || last[len(last)-2].X > 0.9991 {
		t.Errorf("of a thousand times, the last points are %v", last[len(last)-2:])
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for want, n := range map[string]int{"<polyline": 3, "a &lt;machine&gt;": 1, "cycle, run 2": 1, "the leader changed": 1, "<td>stepCyclesPerSecond": 1, "NaN": 0, "Inf": 0} {
		if got := strings.Count(page.String(), want); got != n {
			t.Errorf("%d times %q, not %d", got, want, n)
		}
	}
	if err := (&Report{All: []Figures{{}}}).WriteHTML(&bytes.Buffer{}); err != nil {
		t.Errorf("nothing was drawn: %v", err)
	}
}

func TestPlacesOnTheCharts(t *testing.T) {
	for q, want := range map[float64]float64{0: 0, 0.9: 180, 0.99: 360, 0.999: 540, 1: 900} {
		if got := nines(q); got < want-0.01 || got > want+0.01 {
			t.Errorf("the quantile %v is at %v, not %v", q, got, want)
		}
	}
	for to, want := range map[float64]string{10: "[0 2 4 6 8 10]", 12: "[0 2 4 6 8 10 12]", 45: "[0 5 10 15 20 25 30 35 40 45]", 900: "[0 100 200 300 400 500 600 700 800 900]"} {
		if got := fmt.Sprint(steps10(to)); got != want {
			t.Errorf("to %v: %s, not %s", to, got, want)
		}
	}
	c := latencyChart([]Curve{{"x", 1, []Point{{0.5, 1}, {1, 1000}}}})
	if got := c.Lines[0].Points; got != fmt.Sprintf("%.1f,%.1f %.1f,%.1f", nines(0.5), 260.0, 900.0, 0.0) {
		t.Errorf("a millisecond is at the bottom and a second at the top: %s", got)
	}
}
