package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/results"
)

// command is what runs the same again.
func (c *config) command() string {
	out := fmt.Sprintf("scripts/chaos --nodes %d --minutes %g --seed %d", c.Nodes, c.Time.Minutes(), c.Seed)
	if len(c.Faults) > 0 {
		out += " --faults " + strings.Join(c.Faults, ",")
	}
	if c.Pipelines != "" {
		out += " --pipelines " + filepath.Base(c.Pipelines)
	}
	if c.Plant != "" {
		out += " --plant " + c.Plant
	}
	return out
}

// row is a run's place in jepsen/RESULTS.md.
func (r *report) row(c *config) results.Row {
	var met []string
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		met = append(met, fmt.Sprintf("%s %d/%d", name, r.Faults[name].Observed, r.Faults[name].Injected))
	}
	for _, name := range slices.Sorted(maps.Keys(r.NotRun)) {
		met = append(met, name+" not run")
	}
	return results.Row{
		"layer": "processes", "command": "`" + c.command() + "`", "operations": fmt.Sprint(r.Ops), "advances": fmt.Sprint(r.Advances),
		"leader changes": fmt.Sprint(r.LeaderChanges), "worker pauses": fmt.Sprint(r.WorkerPauses), "late writes refused": fmt.Sprint(r.FencedWrites),
		"wall": time.Duration(r.Minutes * float64(time.Minute)).Round(time.Second).String(), "faults observed": strings.Join(met, ", "),
		"next leader p50/p99 ms": r.Samples.pair(failOver), "back p50/p99 ms": r.Samples.pair(back), "verdict": r.summary(),
	}
}

// summary is the verdict, and what it is for if it is not a good one.
func (r *report) summary() string {
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(r.Checks)) {
		if r.Checks[name] != pass {
			bad = append(bad, name)
		}
	}
	if len(bad) == 0 {
		return r.Verdict
	}
	return r.Verdict + ": not that " + strings.Join(bad, ", ")
}
