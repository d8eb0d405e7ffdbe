// Package results keeps what was run, and what came of it, in one table of jepsen/RESULTS.md: one row a run, appended by
// the script that ran it, whatever the layer. A row tells the code that it is about by a hash of it, so that it is void
// as soon as that code is another, and stays what it is when commits are rebased.
package results

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Columns of the table, in order. A row says what it knows of; the rest is "-".
var Columns = []string{
	"date", "commit", "code", "layer", "command", "operations", "advances", "leader changes", "worker pauses", "late writes refused",
	"simulated", "CPU", "wall", "faults observed", "next leader p50/p99 ms", "back p50/p99 ms", "verdict",
}

// filled are the columns that Append fills in itself.
var filled = []string{"date", "commit", "code"}

// under is the code that a row is void without: what is in it decides what a run shows.
var under = []string{"fsm", "cluster", "client/core"}

const none = "-"

// Row is one run, by column.
type Row map[string]string

// Built is what was built to be run: the newest commit, with "+changes" when it was built from something else, and the
// hash of the code. A run tells what it was built from, whatever the tree is when it ends.
type Built struct{ Commit, Code string }

// Building returns it for the repository at root, as it is now.
func Building(root string) (b Built, err error) {
	if b.Code, err = Code(root); err == nil {
		b.Commit, err = commit(root)
	}
	return b, err
}

func (b Built) String() string { return b.Commit + "/" + b.Code }

// ParseBuilt reads what String writes.
func ParseBuilt(text string) (Built, error) {
	commit, code, ok := strings.Cut(text, "/")
	if !ok || commit == "" || code == "" {
		return Built{}, fmt.Errorf("%q is not COMMIT/CODE", text)
	}
	return Built{commit, code}, nil
}

// Append adds a row to the table of the repository at root. Several processes may, at the same time.
func Append(root string, b Built, r Row) error {
	for name := range r {
		if !slices.Contains(Columns, name) || slices.Contains(filled, name) {
			return fmt.Errorf("a result has no column %q to fill in; they are %q", name, Columns)
		}
	}
	f, err := os.OpenFile(file(root), os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil { // until it is closed
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	cells := []string{time.Now().UTC().Format(time.DateOnly), b.Commit, b.Code}
	for _, name := range Columns[len(filled):] {
		cells = append(cells, strings.NewReplacer("|", "/", "\n", " ").Replace(orNone(r[name])))
	}
	_, err = fmt.Fprintf(f, "| %s |\n", strings.Join(cells, " | "))
	return err
}

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

func file(root string) string { return filepath.Join(root, "jepsen", "RESULTS.md") }

// Code is a hash of the source that the rows are about, without its tests.
func Code(root string) (string, error) {
	sum := sha256.New()
	for _, dir := range under {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			fmt.Fprintf(sum, "%s %d\n%s", filepath.ToSlash(name), len(b), b)
			return err
		})
		if err != nil {
			return "", fmt.Errorf("hash the code: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

// commit is the newest one; "+changes" says that what was run is not what it has.
func commit(root string) (string, error) {
	out, err := exec.Command("git", "-C", root, "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "", fmt.Errorf("name the commit: %w", err)
	}
	changed, err := exec.Command("git", "-C", root, "status", "--porcelain", "--", ":!jepsen/RESULTS.md", ":!*.md").Output()
	if err != nil {
		return "", fmt.Errorf("look for changes: %w", err)
	}
	name := strings.TrimSpace(string(out))
	if len(changed) > 0 {
		name += "+changes"
	}
	return name, nil
}

// Read returns all rows of the table, in order.
func Read(root string) (rows []Row, err error) {
	b, err := os.ReadFile(file(root))
	if err != nil {
		return nil, err
	}
	head := "| " + strings.Join(Columns, " | ") + " |"
	_, table, found := strings.Cut(string(b), head+"\n")
	if !found {
		return nil, fmt.Errorf("RESULTS.md has no table %q", head)
	}
	for n, line := range strings.Split(table, "\n") {
		if !strings.HasPrefix(line, "| ") {
			continue // the line under the head, and what is behind the table
		}
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | ")
		if len(cells) != len(Columns) {
			return nil, fmt.Errorf("row %d of the table has %d cells, not %d: %s", n, len(cells), len(Columns), line)
		}
		r := Row{}
		for i, c := range cells {
			r[Columns[i]] = c
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// Total is what the rows of a layer come to, those that are void left out. Failed is how many of them did not pass: a promise was
// broken, or a fault was asked for that met nobody. The row says which.
type Total struct {
	Layer                                 string
	Rows, Void, Failed                    int
	Operations, Advances, Leaders, Pauses int
	Late                                  int
	Simulated, CPU, Wall                  time.Duration
}

// Totals adds up the table, by layer, for the code as it is.
func Totals(root string) (out []*Total, err error) {
	code, err := Code(root)
	if err != nil {
		return nil, err
	}
	rows, err := Read(root)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		at := slices.IndexFunc(out, func(t *Total) bool { return t.Layer == r["layer"] })
		if at < 0 {
			at, out = len(out), append(out, &Total{Layer: r["layer"]})
		}
		if err := out[at].add(r, code); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *Total) add(r Row, code string) error {
	if t.Rows++; r["code"] != code || strings.HasPrefix(r["verdict"], Void) {
		t.Void++
		return nil
	}
	var errs []error
	count := func(to *int, column string) {
		if r[column] != none {
			n, err := strconv.Atoi(r[column])
			*to += n
			errs = append(errs, err)
		}
	}
	last := func(to *time.Duration, column string) {
		if r[column] != none {
			d, err := time.ParseDuration(r[column])
			*to += d
			errs = append(errs, err)
		}
	}
	count(&t.Operations, "operations")
	count(&t.Advances, "advances")
	count(&t.Leaders, "leader changes")
	count(&t.Pauses, "worker pauses")
	count(&t.Late, "late writes refused")
	last(&t.Simulated, "simulated")
	last(&t.CPU, "CPU")
	last(&t.Wall, "wall")
	if r["verdict"] != Pass {
		t.Failed++
	}
	return errors.Join(errs...)
}

// Pass is the verdict of a run that found nothing; another says what it found.
const Pass = "pass"

// Void begins the verdict of a row that somebody took out, for a fault of the harness that FOUND.md has: it says why, and what
// the run had said. Such a row counts for nothing, neither for the code nor against it.
const Void = "void: "
