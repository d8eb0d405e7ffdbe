package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Names of what is timed.
const (
	back     = "back after a round"
	silent   = "silent in a round"
	failOver = "next leader after "
	ofClient = "a client's next answer after any of them"
	expiry   = "a stopped worker's session expired"
	catchUp  = "caught up by a snapshot"
	beside   = "a write, while a snapshot is installed"
	rest     = "a write, just before"
)

// samples are milliseconds, by what took them. They are kept whole, so that those of many runs can be put together.
type samples map[string][]int64

func (s samples) add(what string, d time.Duration) { s[what] = append(s[what], d.Milliseconds()) }

func (s samples) merge(o samples) {
	for what, list := range o {
		s[what] = append(s[what], list...)
	}
}

// bound is what a guarantee says of a time.
type bound struct {
	what, guarantee string
	p50, p99        int64 // milliseconds; zero is none
}

// enough samples for quantiles to say something: with fewer they are told, and not judged.
const enough = 20

// bounds are of docs/guarantees.md. On a machine that others load they are told, and fail nothing. L1 is about a leader that
// is killed, alone: how long it takes after other faults, and beside them, is told.
var bounds = []bound{
	{failOver + "kill-leader", "L1", 1000, 2000},
	{failOver + "disk-error", "L4", 0, 10_000},
	{failOver + "disk-full", "L4", 0, 10_000},
	{failOver + "disk-stall", "L4", 0, 10_000},
	{expiry, "L3", (workerTTL + 500*time.Millisecond).Milliseconds(), 0}, // an outage lengthens it, and there are many,
	{catchUp, "L5", 0, 60_000},
}

// slower is how much longer the p99 of a write may be while a snapshot is installed, than it is just before (L5).
const slower = 2

// timed is a row of the table of times.
type timed struct {
	What      string `json:"what"`
	Guarantee string `json:"guarantee,omitempty"`
	N         int    `json:"n"`
	P50       int64  `json:"p50Ms"`
	P99       int64  `json:"p99Ms"`
	Max       int64  `json:"maxMs"`
	Bound     string `json:"bound,omitempty"` // and whether it is kept
}

func (s samples) times() (out []timed) {
	for _, what := range slices.Sorted(maps.Keys(s)) {
		t := quantiles(what, s[what])
		for _, b := range bounds {
			if b.what == what {
				t.Guarantee, t.Bound = b.guarantee, b.judge(t)
			}
		}
		if before := s[rest]; what == beside && len(before) > 0 {
			b := bound{beside, "L5", 0, slower * quantiles(rest, before).P99}
			t.Guarantee, t.Bound = b.guarantee, b.judge(t)
		}
		out = append(out, t)
	}
	return out
}

func (b bound) judge(t timed) string {
	var parts []string
	kept := "kept"
	for _, x := range []struct {
		name     string
		is, most int64
	}{{"p50", t.P50, b.p50}, {"p99", t.P99, b.p99}} {
		if x.most == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s of %d ms", x.name, x.most))
		if x.is > x.most {
			kept = "MISSED"
		}
	}
	if b.p50 > 0 && t.N < enough {
		kept = "too few to judge"
	}
	return strings.Join(parts, ", ") + ": " + kept
}

func quantiles(what string, all []int64) timed {
	all = slices.Sorted(slices.Values(all))
	at := func(q float64) int64 { return all[min(len(all)-1, int(q*float64(len(all))))] }
	return timed{What: what, N: len(all), P50: at(0.5), P99: at(0.99), Max: all[len(all)-1]}
}

// pair is p50/p99 of all samples whose name begins so, for a cell of the table of results.
func (s samples) pair(prefix string) string {
	var all []int64
	for what, list := range s {
		if strings.HasPrefix(what, prefix) {
			all = append(all, list...)
		}
	}
	if len(all) == 0 {
		return ""
	}
	t := quantiles(prefix, all)
	return fmt.Sprintf("%d/%d", t.P50, t.P99)
}

func printTimes(to io.Writer, all []timed) {
	t := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tOF\tN\tP50 ms\tP99 ms\tMAX ms\tBOUND")
	for _, x := range all {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", x.What, x.Guarantee, x.N, x.P50, x.P99, x.Max, x.Bound)
	}
	_ = t.Flush() // a terminal
}
