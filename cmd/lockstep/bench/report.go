package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Figures are what one run measured, by name.
type Figures map[string]float64

// Report is what a benchmark measured.
type Report struct {
	Kind string
	// Headline is the figure that the benchmark is about.
	Headline string
	// Machine is what it ran on.
	Machine string
	All     []Figures
	// Throughput and Latencies are what WriteHTML draws.
	Throughput, Latencies []Curve
	// Problems make the measurement worthless, or are what the load must not cause.
	Problems []string
}

// OK says that the figures may be believed.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Row is one figure over all runs.
type Row struct {
	Name             string
	Median, Min, Max float64
}

// Rows are all figures, the headline first.
func (r *Report) Rows() []Row {
	names := map[string]bool{}
	for _, f := range r.All {
		for name := range f {
			names[name] = true
		}
	}
	delete(names, r.Headline)
	var rows []Row
	for _, name := range append([]string{r.Headline}, slices.Sorted(maps.Keys(names))...) {
		rows = append(rows, r.row(name))
	}
	return rows
}

func (r *Report) row(name string) Row {
	var values []float64
	for _, f := range r.All {
		if v, ok := f[name]; ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return Row{Name: name}
	}
	slices.Sort(values)
	mid := len(values) / 2
	median := values[mid]
	if len(values)%2 == 0 {
		median = (values[mid-1] + values[mid]) / 2
	}
	return Row{name, median, values[0], values[len(values)-1]}
}

// Spread is how far the runs lie apart: the range of the headline by its median.
func (r *Report) Spread() float64 {
	row := r.row(r.Headline)
	if row.Median == 0 {
		return 0
	}
	return (row.Max - row.Min) / row.Median
}

// MarshalJSON has the medians by name beside what is said of all runs.
func (r *Report) MarshalJSON() ([]byte, error) {
	out := map[string]any{
		"kind": r.Kind, "machine": r.Machine, "runs": len(r.All), "spread": round(r.Spread()), "all": r.All, "ok": r.OK(),
	}
	for _, row := range r.Rows() {
		out[row.Name] = round(row.Median)
	}
	if len(r.Problems) > 0 {
		out["problems"] = r.Problems
	}
	return json.Marshal(out)
}

// round keeps what means something: a figure is not known to more than three digits behind the point.
func round(v float64) float64 {
	if v >= 1000 || v <= -1000 {
		return float64(int64(v))
	}
	return float64(int64(v*1000+0.5)) / 1000
}

// machine says what this runs on, as far as Linux tells.
func machine() string {
	model := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	memory := ""
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int
		if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kb); err == nil {
			memory = fmt.Sprintf(", %d GiB", (kb+1<<19)>>20)
		}
	}
	return fmt.Sprintf("%d x %s%s, %s, %s", runtime.NumCPU(), model, memory, runtime.GOOS, runtime.Version())
}
