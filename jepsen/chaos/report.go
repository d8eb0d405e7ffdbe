package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	"github.com/lockstep-dev/lockstep/jepsen/workload"
)

const (
	pass   = "pass"
	failed = "fail"
)

// report is what a run ends with.
type report struct {
	Seed           uint64            `json:"seed"`
	Minutes        float64           `json:"minutes"`
	Nodes          int               `json:"nodes"`
	Ops            int               `json:"ops"`
	OK             int               `json:"ok"`
	Refused        int               `json:"refused"`
	Unknown        int               `json:"unknown"`
	Events         int               `json:"events"`
	LeaderChanges  int               `json:"leaderChanges"`
	WorkerPauses   int               `json:"workerPauses"`
	Advances       int               `json:"advances"`
	FencedWrites   int               `json:"fencedWrites"`
	Undone         int               `json:"undone"`  // instances of which something was compensated
	WentOn         int               `json:"wentOn"`  // instances that ended well behind a failure
	Resumed        int               `json:"resumed"` // compensations that stood still and were tried again
	Signals        int               `json:"signals"` // that a step got
	Timers         int               `json:"timers"`
	Races          int               `json:"races"` // that another than the first won
	Approvals      int               `json:"approvals"`
	Kept           int               `json:"kept"`           // signals by key that found nobody
	Taken          int               `json:"taken"`          // of these, by who was started later
	Correlated     int               `json:"correlated"`     // that one had, or was started for
	Lined          int               `json:"lined"`          // starts that waited for their id
	Replaced       int               `json:"replaced"`       // and what was cancelled for one that took it
	Forked         int               `json:"forked"`         // instances that were forked
	Copied         int               `json:"copied"`         // and steps that were copied with that
	Resets         int               `json:"resets"`         // of instances to a step
	ResetLeased    int               `json:"resetLeased"`    // and runs that were leased then
	Halted         int               `json:"halted"`         // instances that operators paused
	ByHand         int               `json:"byHand"`         // steps that they ended or skipped
	Observed       int               `json:"observed"`       // observations that changed something
	Plans          int               `json:"plans"`          // that were applied
	Asked          int               `json:"asked"`          // asks of a reporter that were recorded
	Sweepers       int               `json:"sweepers"`       // tokens under which
	Adopted        int               `json:"adopted"`        // steps that ended as they were seen
	Stale          int               `json:"stale"`          // plans that were refused
	Unhanded       int               `json:"unhanded"`       // and of these what a worker held
	Live           int               `json:"live"`           // instances that had not ended when the last fault was healed
	Standing       int               `json:"standing"`       // and incidents of theirs
	Bulks          int               `json:"bulks"`          // bulk operations that came to all
	Bulked         int               `json:"bulked"`         // instances that they came to
	Unbulked       int               `json:"unbulked"`       // and operations that were cancelled
	Broadcast      int               `json:"broadcast"`      // that several had
	Removed        int               `json:"removed"`        // finished instances
	ExporterKilled int               `json:"exporterKilled"` // so often
	ExporterTorn   int               `json:"exporterTorn"`   // of these, when it had written
	Fired          int               `json:"fired"`          // times of schedules that started an instance
	Overlapped     int               `json:"overlapped"`     // that came while an earlier one's ran, or waited
	Missed         int               `json:"missed"`         // that came too late to be caught up with
	Faults         map[string]*tally `json:"faults"`
	NotRun         map[string]string `json:"notRun,omitempty"`
	Checks         map[string]string `json:"checks"`
	Facts          []check.Fact      `json:"facts,omitempty"`
	Samples        samples           `json:"samples"`
	Times          []timed           `json:"times"`
	DigestsEqual   bool              `json:"digestsEqual"`
	Verdict        string            `json:"verdict"`

	config *config
	began  time.Time
	mu     sync.Mutex // guards all, while the run lasts
	spans  []span     // faults
	leads  []span     // when a node said that it leads
	ops    []*check.Op
	seen   []*watcher
	dead   map[string]time.Duration // workers that are stopped, by name
	ended  map[string]bool          // sessions
}

// tally counts a fault: asked for, and seen to have an effect.
type tally struct {
	Injected int `json:"injected"`
	Observed int `json:"observed"`
}

// round is some faults that overlapped, and what came of them.
type round struct {
	Names            []string
	Recovery, Outage time.Duration
	Changes          int
}

// span is something that lasted, on the timeline.
type span struct {
	Name     string
	From, To time.Duration
	Observed bool
}

func newReport(c *config) *report {
	return &report{Seed: c.Seed, Nodes: c.Nodes, Faults: map[string]*tally{}, NotRun: map[string]string{}, Checks: map[string]string{}, Samples: samples{}, dead: map[string]time.Duration{}, ended: map[string]bool{}, config: c, began: time.Now()}
}

func (r *report) injected(name string, observed bool, from, to time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.Faults[name]
	if t == nil {
		t = &tally{}
		r.Faults[name] = t
	}
	t.Injected++
	if observed {
		t.Observed++
	}
	r.spans = append(r.spans, span{name, from, to, observed})
}

func (r *report) round(began time.Duration, x round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.LeaderChanges += x.Changes
	r.Samples.add(back, x.Recovery)
	r.Samples.add(silent, x.Outage)
	fmt.Fprintf(os.Stderr, "%6s  %-44s back after %5d ms, silent for %5d ms, %d changes of leader\n",
		began.Round(time.Second), strings.Join(x.Names, " + "), x.Recovery.Milliseconds(), x.Outage.Milliseconds(), x.Changes)
}

// took keeps a time that was measured.
func (r *report) took(what string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Samples.add(what, d)
}

func (r *report) tookAll(what string, all []time.Duration) {
	for _, d := range all {
		r.took(what, d)
	}
}

// died says since when a worker does nothing; zero that it goes on.
func (r *report) died(worker string, at time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead[worker] = at
}

// expired times the end of a session whose worker was stopped, by the first watch that hears of it.
func (r *report) expired(session, worker string, at time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := r.dead[worker]; since != 0 && !r.ended[session] {
		r.ended[session] = true
		r.Samples.add(expiry, at-since)
	}
}

// paused counts a worker that was stopped for longer than its TTL, and went on.
func (r *report) paused(err error) {
	if err != nil {
		r.fail("pause a worker: %v", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.WorkerPauses++
}

// fail notes that the harness did not do what it should: nothing is said of the cluster.
func (r *report) fail(format string, args ...any) {
	r.check("the harness works", "harness", []check.Fact{{Guarantee: "harness", What: fmt.Sprintf(format, args...)}})
}

// gone notes that the cluster, or a node of it, did not come back from a round of faults.
func (r *report) gone(format string, args ...any) {
	r.check("the cluster comes back", "liveness", []check.Fact{{Guarantee: "liveness", What: fmt.Sprintf(format, args...)}})
}

func (r *report) check(name, guarantee string, facts []check.Fact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Checks[name] != failed {
		r.Checks[name] = pass
	}
	if len(facts) > 0 {
		r.Checks[name] = failed
	}
	r.Facts = append(r.Facts, facts...)
}

func (r *report) count(ops []*check.Op) {
	r.ops, r.Ops = ops, len(ops)
	for _, op := range ops {
		switch op.Outcome {
		case check.OK:
			r.OK++
		case check.Refused:
			r.Refused++
		default:
			r.Unknown++
		}
	}
}

func (r *report) register(writes []workload.Write, events []check.Event) {
	var told []check.Completion
	for _, w := range writes {
		if w.Completed {
			instance, step, _ := strings.Cut(w.Lease, "/")
			told = append(told, check.Completion{Instance: instance, Step: step, Token: w.Token})
		}
		if w.Refused {
			r.FencedWrites++
		}
	}
	var void []check.Fact
	if r.FencedWrites == 0 {
		void = []check.Fact{{Guarantee: "S2", What: "the register refused no write: the run shows nothing about fencing"}}
	}
	for _, e := range events {
		if e.Type == "step.completed" {
			r.Advances++
		}
	}
	r.check("a late write was refused", "S2", void)
	r.check("workers' completions are in the feed", "S1", check.Completions(told, events))
	if len(told) == 0 {
		r.fail("no worker was told that it completed anything")
	}
}

// undone counts the instances that ended behind compensations, those that ended well behind a failure, and the signals that steps got.
func (r *report) undone(events []check.Event) {
	compensates, fails := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		switch e.Type {
		case "instance.compensating":
			compensates[e.Instance] = true
		case "instance.failed", "instance.cancelled":
			if compensates[e.Instance] {
				r.Undone++
			}
		case "step.resumed":
			r.Resumed++
		case "signal.delivered":
			r.Signals++
		case "step.failed":
			fails[e.Instance] = true
		case "instance.completed":
			if fails[e.Instance] {
				r.WentOn++
			}
		}
	}
	var noUndo, noSignal, noFailure []check.Fact
	if r.WentOn == 0 {
		noFailure = []check.Fact{{Guarantee: "S1", What: "no instance went on behind a failure: the run shows nothing about what needs one"}}
	}
	if r.Undone == 0 {
		noUndo = []check.Fact{{Guarantee: "saga", What: "no instance was undone: the run shows nothing about compensation"}}
	}
	if r.Signals == 0 {
		noSignal = []check.Fact{{Guarantee: "S5", What: "no step got a signal: the run shows nothing about signals"}}
	}
	r.check("an instance was undone", "saga", noUndo)
	r.check("a signal was applied", "S5", noSignal)
	r.check("an instance went on behind a failure", "S1", noFailure)
}

// held: a run in which no instance held a lock shows nothing about that.
func (r *report) held(events []check.Event) {
	var none []check.Fact
	if !slices.ContainsFunc(events, func(e check.Event) bool { return e.Type == "lock.held" }) {
		none = []check.Fact{{Guarantee: "locks", What: "no instance held a lock: the run shows nothing about held locks"}}
	}
	r.check("an instance held a lock", "locks", none)
}

// limited: a run in which no limit was reached shows nothing about limits.
func (r *report) limited(events []check.Event) {
	void := []check.Fact{{Guarantee: "limits", What: "all limits had room at all times: the run shows nothing about them"}}
	if slices.ContainsFunc(events, func(e check.Event) bool { return e.Type == "limit.taken" && e.Count == e.Limit }) {
		void = nil
	}
	r.check("a limit was reached", "limits", void)
}

// waited counts the timers that fired, the races that another than the first of them won, and what was approved.
func (r *report) waited(events []check.Event) {
	for _, e := range events {
		workflow, _, _ := strings.Cut(e.Instance, "-")
		switch e.Type {
		case "timer.fired":
			r.Timers++
		case "step.approved":
			r.Approvals++
		case "step.completed":
			for _, race := range offers[workflow].Races {
				if slices.Index(race, e.Step) > 0 {
					r.Races++
				}
			}
		}
	}
	for _, x := range []struct {
		count       int
		name, lacks string
	}{
		{r.Timers, "a timer fired", "no timer fired: the run shows nothing about timers"},
		{r.Races, "a race was won by another", "no race was won by another than the first of it: the run shows nothing about races"},
		{r.Approvals, "a step was approved", "no step was approved: the run shows nothing about approvals"},
	} {
		var void []check.Fact
		if x.count == 0 {
			void = []check.Fact{{Guarantee: "S1", What: x.lacks}}
		}
		r.check(x.name, "S1", void)
	}
}

// watcher follows the feed through one node, and goes on where it was when its stream ends.
type watcher struct {
	last  int64
	facts []check.Fact
}

func (r *report) watch(ctx context.Context, c *client.Client, at int, now func() time.Duration) {
	w := &watcher{}
	r.mu.Lock()
	r.seen = append(r.seen, w)
	r.mu.Unlock()
	for ctx.Err() == nil {
		some, cancel := context.WithTimeout(ctx, time.Duration(1+at)*time.Second) // reconnects are the point
		for e, err := range c.Watch(some, client.WatchOptions{After: w.last}) {
			if err != nil {
				break
			}
			if e.Position != w.last+1 && len(w.facts) < 5 {
				w.facts = append(w.facts, check.Fact{Guarantee: "L7", What: fmt.Sprintf("after position %d a watch was sent %d", w.last, e.Position)})
			}
			w.last = e.Position
			if e.Type == "lockstep.session.expired.v1" {
				r.expired(e.Data.GetSessionId(), e.Data.GetName(), now())
			}
		}
		cancel()
	}
}

func (r *report) watched() (facts []check.Fact) {
	for _, w := range r.seen {
		facts = append(facts, w.facts...)
		if w.last == 0 {
			facts = append(facts, check.Fact{Guarantee: "L7", What: "a watch was sent nothing"})
		}
	}
	return facts
}

// verdict is pass when every check passed and every fault that was asked for was seen.
func (r *report) verdict() {
	var unseen []check.Fact
	for name, t := range r.Faults {
		if t.Observed == 0 {
			unseen = append(unseen, check.Fact{Guarantee: "harness", What: name + " was asked for and never seen to have an effect"})
		}
	}
	r.check("every fault was met", "harness", unseen)
	r.Times = r.Samples.times()
	r.Minutes = time.Since(r.began).Minutes()
	r.Verdict = pass
	for _, verdict := range r.Checks {
		if verdict != pass {
			r.Verdict = failed
		}
	}
}

// print is for people.
func (r *report) print(to io.Writer) {
	t := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "seed %d\t%d nodes\t%.1f minutes\t%d operations: %d ok, %d refused, %d unknown\n", r.Seed, r.Nodes, r.Minutes, r.Ops, r.OK, r.Refused, r.Unknown)
	fmt.Fprintf(t, "\t%d changes of leader\t%d worker pauses\t%d late writes refused, %d instances undone, %d compensations tried again by hand, %d went on behind failures, %d signals applied, %d events\n",
		r.LeaderChanges, r.WorkerPauses, r.FencedWrites, r.Undone, r.Resumed, r.WentOn, r.Signals, r.Events)
	fmt.Fprintf(t, "\t%d timers fired\t%d races won by another than the first\t%d approvals\n", r.Timers, r.Races, r.Approvals)
	fmt.Fprintf(t, "\t%d signals by key kept, %d taken\t%d found one or started it\t%d broadcast to several\n", r.Kept, r.Taken, r.Correlated, r.Broadcast)
	fmt.Fprintf(t, "\t%d starts waited for their id\t%d cancelled for one that took it\n", r.Lined, r.Replaced)
	fmt.Fprintf(t, "\t%d instances were forked\t%d steps were copied\n", r.Forked, r.Copied)
	fmt.Fprintf(t, "\t%d finished instances removed\t%d times the exporter was killed, %d of them when it had written\n", r.Removed, r.ExporterKilled, r.ExporterTorn)
	fmt.Fprintf(t, "\t%d times an operator paused an instance\t%d steps were ended or skipped by hand, %d of them while leased\n", r.Halted, r.ByHand, r.Unhanded)
	fmt.Fprintf(t, "\t%d times an instance was set back\t%d steps were leased then\n", r.Resets, r.ResetLeased)
	fmt.Fprintf(t, "\t%d bulk operations came to all\t%d instances they came to\t%d were cancelled\n", r.Bulks, r.Bulked, r.Unbulked)
	fmt.Fprintf(t, "\t%d instances had not ended, and were explained\t%d incidents\n", r.Live, r.Standing)
	fmt.Fprintf(t, "\t%d asks of a reporter\tunder %d tokens of the sweep\n", r.Asked, r.Sweepers)
	fmt.Fprintf(t, "\t%d observations, %d plans applied, and %d refused as stale\t%d steps ended as they were seen\n", r.Observed, r.Plans, r.Stale, r.Adopted)
	fmt.Fprintf(t, "\t%d times of schedules fired\t%d came while an earlier one's instance ran\t%d missed\n\n", r.Fired, r.Overlapped, r.Missed)
	fmt.Fprintln(t, "FAULT\tINJECTED\tOBSERVED\t")
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(t, "%s\t%d\t%d\t\n", name, r.Faults[name].Injected, r.Faults[name].Observed)
	}
	for _, name := range slices.Sorted(maps.Keys(r.NotRun)) {
		fmt.Fprintf(t, "%s\tNOT RUN\t%s\t\n", name, r.NotRun[name])
	}
	fmt.Fprintln(t, "\nCHECK\tVERDICT\t\t")
	for _, name := range slices.Sorted(maps.Keys(r.Checks)) {
		fmt.Fprintf(t, "%s\t%s\t\t\n", name, r.Checks[name])
	}
	_ = t.Flush() // a terminal
	for _, f := range r.Facts {
		fmt.Fprintf(to, "  %s: %s\n", f.Guarantee, f.What)
	}
	fmt.Fprintln(to)
	printTimes(to, r.Times)
	fmt.Fprintf(to, "\nverdict: %s; everything is in %s\n", r.Verdict, r.config.Out)
}
