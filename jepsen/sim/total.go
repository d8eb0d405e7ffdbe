package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// Total adds reports up.
type Total struct {
	Seeds, Ops, Advances, Late, Leaders, Crashes, Snapshots, Installs, Fenced        int
	Expiries, Reads, Compared, Walked, Watched, Reconnects, WorkerPauses, Violations int
	Simulated                                                                        time.Duration
	Faults                                                                           map[string]*Fault
	Seen                                                                             map[model.Class]int
}

// Add adds a report.
func (t *Total) Add(r *Report) {
	t.Seeds++
	t.Ops += r.Ops
	t.Advances += r.Advances
	t.Late += r.Late
	t.Leaders += r.Leaders
	t.Crashes += r.Crashes
	t.Snapshots += r.Snapshots
	t.Installs += r.Installs
	t.Fenced += r.Fenced
	t.Expiries += r.Expiries
	t.Reads += r.Reads
	t.Compared += r.Compared
	t.Walked += r.Walked
	t.Watched += r.Watched
	t.Reconnects += r.Reconnects
	t.Simulated += r.Simulated
	if r.Violation != nil {
		t.Violations++
	}
	if t.Faults == nil {
		t.Faults = map[string]*Fault{}
	}
	if t.Seen == nil {
		t.Seen = map[model.Class]int{}
	}
	for class, n := range r.Seen {
		t.Seen[class] += n
	}
	for name, f := range r.Faults {
		sum := t.Faults[name]
		if sum == nil {
			sum = &Fault{}
			t.Faults[name] = sum
		}
		sum.Injected += f.Injected
		sum.Observed += f.Observed
	}
	if f := t.Faults["pause-worker"]; f != nil {
		t.WorkerPauses = f.Observed
	}
}

// Void says what happened too rarely for the runs to show anything; empty when nothing did. Few seeds may lack a kind of
// fault, and so are judged by what every seed has.
func (t *Total) Void() []string {
	var out []string
	least := func(what string, got, want int) {
		if got < want {
			out = append(out, fmt.Sprintf("%d %s, at least %d are needed", got, what, want))
		}
	}
	least("advances", t.Advances, t.Ops/50)
	least("leader changes", t.Leaders, max(t.Seeds, t.Ops/1500))
	if t.Seeds < 10 {
		return out
	}
	least("late writes refused by the register", t.Fenced, t.Seeds/10+1)
	least("late completions", t.Late, t.Seeds/50)
	least("expiries", t.Expiries, t.Seeds/2)
	least("snapshots installed", t.Installs, 1)
	least("reconnects of watches", t.Reconnects, t.Seeds)
	least("reads compared", t.Compared, t.Seeds)
	least("lists walked", t.Walked, t.Seeds/4)
	for _, class := range model.Classes() {
		if t.Seen[class] == 0 && t.Simulated > 30*time.Minute {
			out = append(out, "nothing was seen of: "+string(class))
		}
	}
	for _, k := range faultKinds {
		f := t.Faults[k.name]
		if f == nil && t.Simulated > 30*time.Minute || f != nil && f.Injected > 16 && f.Observed == 0 {
			out = append(out, "no fault "+k.name+" had an effect")
		}
	}
	return out
}

// Coverage lists how often each class of things happened, one a line.
func (t *Total) Coverage() string {
	var b strings.Builder
	for _, class := range model.Classes() {
		fmt.Fprintf(&b, "  %9d  %s\n", t.Seen[class], class)
	}
	return b.String()
}

// String is one line.
func (t *Total) String() string {
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(t.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d/%d", name, t.Faults[name].Observed, t.Faults[name].Injected))
	}
	return fmt.Sprintf("seeds=%d ops=%d advances=%d late=%d leaders=%d workerPauses=%d crashes=%d snapshots=%d installs=%d fenced=%d expiries=%d reads=%d compared=%d walked=%d watched=%d reconnects=%d simulated=%s violations=%d faults(observed/injected): %s",
		t.Seeds, t.Ops, t.Advances, t.Late, t.Leaders, t.WorkerPauses, t.Crashes, t.Snapshots, t.Installs, t.Fenced, t.Expiries, t.Reads,
		t.Compared, t.Walked, t.Watched, t.Reconnects, t.Simulated.Round(time.Second), t.Violations, strings.Join(faults, ", "))
}
