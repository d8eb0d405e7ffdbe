package results

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// repository is a small one, with code and an empty table.
func repository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, "fsm/lock.go", "package fsm\n")
	write(t, root, "cluster/node.go", "package cluster\n")
	write(t, root, "client/core/core.go", "package core\n")
	write(t, root, "jepsen/RESULTS.md", "# What was run\n\n| "+strings.Join(Columns, " | ")+" |\n"+strings.Repeat("|---", len(Columns))+"|\n")
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "x"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	return root
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func built(t *testing.T, root string) Built {
	t.Helper()
	b, err := Building(root)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseBuilt(b.String()); err != nil || again != b {
		t.Fatalf("%s is read as %s, %v", b, again, err)
	}
	return b
}

func only(t *testing.T, root string) *Total {
	t.Helper()
	all, err := Totals(root)
	if err != nil || len(all) != 1 {
		t.Fatalf("totals: %v, %v", all, err)
	}
	return all[0]
}

func TestRowsAddUpUntilTheCodeIsAnother(t *testing.T) {
	root := repository(t)
	for _, verdict := range []string{Pass, "fail: S1"} {
		row := Row{"layer": "processes", "command": "`a | b`", "operations": "20", "leader changes": "3", "wall": "1m30s", "verdict": verdict}
		if err := Append(root, built(t, root), row); err != nil {
			t.Fatal(err)
		}
	}
	want := Total{Layer: "processes", Rows: 2, Failed: 1, Operations: 40, Leaders: 6, Wall: 3 * time.Minute}
	if got := only(t, root); *got != want {
		t.Errorf("totals %+v, want %+v", *got, want)
	}
	if err := Append(root, built(t, root), Row{"layer": "processes", "operations": "7", "verdict": Void + "why; it said fail: S1"}); err != nil {
		t.Fatal(err)
	}
	want.Rows, want.Void = 3, 1
	if got := only(t, root); *got != want {
		t.Errorf("with a void row: totals %+v, want %+v", *got, want)
	}
	write(t, root, "fsm/lock_test.go", "package fsm\n")
	if got := only(t, root); got.Void != 1 {
		t.Error("a test made rows void")
	}
	write(t, root, "fsm/lock.go", "package fsm // another\n")
	if got := only(t, root); got.Void != 3 || got.Operations != 0 {
		t.Errorf("totals of other code %+v", *got)
	}
}

func TestARowSaysWhatItWasRunOn(t *testing.T) {
	root := repository(t)
	write(t, root, "cluster/node.go", "package cluster // not committed\n")
	if err := Append(root, built(t, root), Row{"layer": "simulation", "verdict": Pass}); err != nil {
		t.Fatal(err)
	}
	rows, err := Read(root)
	if err != nil || len(rows) != 1 {
		t.Fatalf("rows %v, %v", rows, err)
	}
	if !strings.HasSuffix(rows[0]["commit"], "+changes") || rows[0]["operations"] != none {
		t.Errorf("row %v", rows[0])
	}
	if Append(root, Built{}, Row{"no such column": "1"}) == nil || Append(root, Built{}, Row{"code": "1"}) == nil {
		t.Error("a column was taken that is not to be filled in")
	}
}

func TestTheTableOfThisRepositoryCanBeRead(t *testing.T) {
	if _, err := Totals("../.."); err != nil {
		t.Error(err)
	}
}

func TestRowsOfRunsBesideEachOtherAreWhole(t *testing.T) {
	root := repository(t)
	b := built(t, root)
	var runs sync.WaitGroup
	for n := range 8 {
		runs.Go(func() {
			for range 20 {
				if err := Append(root, b, Row{"layer": fmt.Sprint("lane ", n), "verdict": strings.Repeat("x", 9000)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	runs.Wait()
	rows, err := Read(root)
	if err != nil || len(rows) != 160 {
		t.Fatalf("%d rows, want 160: %v", len(rows), err)
	}
	count := map[string]int{}
	for _, r := range rows {
		count[r["layer"]]++
	}
	for layer, n := range count {
		if n != 20 || len(count) != 8 {
			t.Errorf("%d rows of %s, want 20 of each of 8", n, layer)
		}
	}
}
