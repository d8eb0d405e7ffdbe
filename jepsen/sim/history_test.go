package sim

import (
	"strings"
	"testing"
)

// three returns a world of three nodes, and its history, in which one entry of term 2 is committed.
func three() (*world, *entry) {
	w := &world{}
	w.history = newHistory(w)
	for i := range 3 {
		w.nodes = append(w.nodes, &node{id: i, w: w, process: &process{up: true}, disk: &disk{w: w, kept: kept{vote: -1}}})
	}
	e := &entry{index: 1, term: 2}
	w.history.committed(w.nodes[0], e)
	return w, e
}

// What is acknowledged is on a majority's disks: in the log that they keep, or in a snapshot.
func TestToldIsKeptByAMajority(t *testing.T) {
	has := func(e *entry) kept { return kept{log: log{entries: []*entry{e}}} }
	for name, x := range map[string]struct {
		with func(e *entry) []kept
		want bool
	}{
		"one log":                {func(e *entry) []kept { return []kept{has(e)} }, false},
		"two logs":               {func(e *entry) []kept { return []kept{has(e), has(e)} }, true},
		"one of another term":    {func(e *entry) []kept { return []kept{has(e), has(&entry{index: 1, term: 1})} }, false},
		"a log and a snapshot":   {func(e *entry) []kept { return []kept{has(e), {snapshot: &snapshot{index: 1}}} }, true},
		"a log that was cut":     {func(e *entry) []kept { return []kept{has(e), {log: log{base: 3}}} }, true},
		"a snapshot from before": {func(e *entry) []kept { return []kept{has(e), {snapshot: &snapshot{}}} }, false},
	} {
		w, e := three()
		for i, k := range x.with(e) {
			w.nodes[i].disk.kept = k
		}
		w.history.tells(w.nodes[0], 1)
		if v := w.report.Violation; (v == nil) != x.want || v != nil && v.Guarantee != "S3" {
			t.Errorf("%s: %v", name, v)
		}
	}
}

// Who is told that a command was not done never finds it in the log, whichever comes first.
func TestDeniedIsNotLogged(t *testing.T) {
	w, _ := three()
	c := &serverCall{n: w.nodes[0]}
	w.history.denied(c)
	c.logged = 1
	w.history.denied(c)
	if v := w.report.Violation; v != nil {
		t.Fatalf("logged and not denied: %v", v)
	}
	c.denied = true
	w.history.denied(c)
	if v := w.report.Violation; v == nil || v.Guarantee != "S5" || !strings.Contains(v.What, "entry 1") {
		t.Errorf("denied and logged: %v", v)
	}
}
