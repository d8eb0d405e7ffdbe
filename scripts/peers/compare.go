package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// line is one of the bar, as it was met or missed.
type line struct {
	Name     string  `json:"name"`
	Required bool    `json:"required"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Peer     float64 `json:"peer,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"`
	// Least and most of the ratio, or of the value where there is no peer, over the runs.
	Spread [2]float64 `json:"spread"`
	Bar    string     `json:"bar"`
	Met    bool       `json:"met"`
}

// want is a line of the bar: a figure of ours, against a peer's in the same run, or against a bound.
type want struct {
	name, unit string
	ours, peer string
	least      float64 // of the ratio, or of the figure without a peer
	most       float64 // of the figure
}

// etcdSteps is the peer of step cycles. Where callers are many and each has the next call ready when one ends, how long a cycle takes is how
// many there are by how many are done in a second; so the times of unary calls are taken at a rate that is above the bar, and which a run
// that falls a twentieth behind it fails.
const (
	etcdSteps = "etcd.lease and complete a step.256"
	pacedBy   = 1.8
)

// bar is what a user must get over what he would pick instead.
var bar = []want{
	{name: "step cycles over streams", unit: "/s", ours: "steps.stepCyclesPerSecond", peer: etcdSteps, least: 7},
	{name: "at half load, p50", unit: "ms", ours: "half.p50Ms", most: 10},
	{name: "at half load, p99", unit: "ms", ours: "half.p99Ms", most: 50},
	{name: "step cycles over unary calls", unit: "/s", ours: "unary.stepCyclesPerSecond", peer: etcdSteps, least: 1.7},
	{name: "at 1.8x etcd's, p99 by etcd's p50", unit: "ms", ours: "paced.p99Ms", peer: etcdSteps + ".p50", most: 1},
	{name: "5-step workflows", unit: "/s", ours: "workflows.workflowsPerSecond", least: 3500},
	{name: "one workflow alone, p50", unit: "ms", ours: "workflows.aloneP50Ms", most: 8},
	{name: "lock + unlock, own keys, unary", unit: "/s", ours: "locks.unaryLockCyclesPerSecond", peer: "etcd.lock and unlock own keys.256", least: 1.6},
	{name: "lock + unlock, own keys, streams", unit: "/s", ours: "locks.lockCyclesPerSecond", peer: "etcd.lock and unlock own keys.256", least: 7},
	{name: "one contended lock, 64 clients", unit: "/s", ours: "locks.handOversPerSecond", peer: "etcd.hand over one lock.64", least: 2.7},
	{name: "leader killed, p50", unit: "ms", ours: "failover.failoverP50Ms", most: 1000},
	{name: "leader killed, p99", unit: "ms", ours: "failover.failoverP99Ms", most: 2000},
	{name: "resident memory, saturated", unit: "MiB", ours: "steps.serverRssMiB", most: 300},
	{name: "changes of leader, saturated", unit: "", ours: "steps.leaderChanges", most: 0},
}

// compare measures Lockstep and its peers in turns, and judges.
func compare(ctx context.Context, o options, runs, kills int, lockstep string) error {
	var all []map[string]float64
	for n := range runs {
		fmt.Fprintf(os.Stderr, "run %d of %d\n", n+1, runs)
		got, err := turn(ctx, o, kills, lockstep)
		if err != nil {
			return err
		}
		all = append(all, got)
	}
	var lines []line
	missed := 0
	for _, w := range bar {
		l := w.judge(all)
		if !l.Met {
			missed++
		}
		lines = append(lines, l)
		fmt.Fprintf(os.Stderr, "%-34s %10.1f %-4s %-22s %s\n", l.Name, l.Value, l.Unit, l.Bar, map[bool]string{true: "met", false: "MISSED"}[l.Met])
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	err := e.Encode(map[string]any{"stepCyclesPerSecond": lines[0].Value, "runs": all, "lines": lines})
	if missed > 0 {
		err = errors.Join(err, fmt.Errorf("%d lines of the bar are missed", missed))
	}
	return err
}

// turn is one run of everything.
func turn(ctx context.Context, o options, kills int, lockstep string) (map[string]float64, error) {
	got := map[string]float64{}
	seconds := []string{"--seconds", fmt.Sprint(o.seconds.Seconds()), "--warm-up", fmt.Sprint(o.warmUp.Seconds()), "--runs", "1"}
	ours := func(name string, args ...string) error {
		report, err := bench(ctx, lockstep, append(args, seconds...))
		for key, value := range report {
			got[name+"."+key] = value
		}
		return err
	}
	steps := []func() error{
		func() error { return ours("steps", "steps") },
		func() error {
			figures, err := etcd(ctx, o)
			for _, f := range figures {
				name := fmt.Sprintf("etcd.%s.%d", f.Load, f.Clients)
				got[name], got[name+".p50"], got[name+".p99"] = f.PerSecond, f.P50Ms, f.P99Ms
			}
			return err
		},
		func() error {
			return ours("half", "steps", "--rate", fmt.Sprint(int(got["steps.stepCyclesPerSecond"]/2)))
		},
		func() error { return ours("unary", "steps", "--unary", "--clients", "256") },
		func() error {
			return ours("paced", "steps", "--unary", "--clients", "256", "--rate", fmt.Sprint(int(pacedBy*got[etcdSteps])))
		},
		func() error {
			figures, err := postgres(ctx, o)
			for _, f := range figures {
				got[fmt.Sprintf("postgres.%s.%d", f.Load, f.Clients)] = f.PerSecond
			}
			return err
		},
		func() error { return ours("workflows", "workflows") },
		func() error { return ours("locks", "locks", "--clients", "256") },
		func() error { return ours("failover", "failover", "--kills", fmt.Sprint(kills)) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// bench runs a benchmark of Lockstep's. One that found a problem has exited with 1 and reported: its figures do not count,
// and say so.
func bench(ctx context.Context, lockstep string, args []string) (map[string]float64, error) {
	cmd := exec.CommandContext(ctx, lockstep, append([]string{"bench", "--json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var report map[string]any
	if parse := json.Unmarshal(out, &report); parse != nil {
		return nil, fmt.Errorf("lockstep bench %s: %w", strings.Join(args, " "), errors.Join(err, parse))
	}
	figures := map[string]float64{}
	for key, value := range report {
		if number, ok := value.(float64); ok {
			figures[key] = number
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "lockstep bench %s found problems: %v\n", strings.Join(args, " "), report["problems"])
	}
	return figures, nil
}

func (w want) judge(all []map[string]float64) line {
	var values, peers, ratios []float64
	for _, got := range all {
		value, found := got[w.ours]
		if !found {
			return line{Name: w.name, Required: true, Unit: w.unit, Bar: "not measured"}
		}
		values = append(values, value)
		if w.peer != "" {
			peers = append(peers, got[w.peer])
			ratios = append(ratios, value/got[w.peer])
		}
	}
	l := line{Name: w.name, Required: true, Value: median(values), Unit: w.unit, Spread: spread(values)}
	judged := values
	if w.peer != "" {
		l.Peer, l.Ratio, l.Spread, judged = median(peers), median(ratios), spread(ratios), ratios
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	if w.least > 0 {
		l.Bar, l.Met = "at least "+number(w.least), slices.Min(judged) >= w.least
	} else {
		l.Bar, l.Met = "at most "+number(w.most), slices.Max(judged) <= w.most
	}
	if w.peer != "" {
		l.Bar = fmt.Sprintf("%.2fx, %s", l.Ratio, l.Bar)
	}
	return l
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func spread(values []float64) [2]float64 { return [2]float64{slices.Min(values), slices.Max(values)} }
