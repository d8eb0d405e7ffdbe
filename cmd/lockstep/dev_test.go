package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/require"
)

// devNode is a development node in a process of its own, that ends with the test.
type devNode struct {
	t       *testing.T
	address string
	said    chan string // every line, of both streams
}

// startDev starts a node, and waits until it is up.
func startDev(t *testing.T, more ...string) *devNode {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, append([]string{"dev", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--until-stdin-ends"}, more...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &devNode{t: t, said: make(chan string, 1000)}
	lines := bufio.NewScanner(read)
	go func() {
		defer close(n.said)
		for lines.Scan() {
			n.said <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close() // it ends by that
		if err := cmd.Wait(); err != nil {
			t.Errorf("the node ended with %v", err)
		}
		_ = write.Close() // never fails
		for range n.said {
		}
	})
	n.address, _, _ = strings.Cut(strings.TrimPrefix(n.line("Lockstep is up at http://"), "Lockstep is up at http://"), ",")
	return n
}

// line waits for the next line that has a text in it.
func (n *devNode) line(with string) string {
	n.t.Helper()
	var before []string
	for limit := time.After(30 * time.Second); ; {
		select {
		case line, more := <-n.said:
			if strings.Contains(line, with) {
				return line
			}
			if before = append(before, line); more {
				continue
			}
		case <-limit:
		}
		n.t.Fatalf("the node did not say %q, but:\n%s", with, strings.Join(before, "\n"))
	}
}

// What a node says on its start can be pasted: the lines for the command line, and those for curl.
func TestDevPrintsLinesThatRun(t *testing.T) {
	t.Parallel()
	bash := require.Program(t, "bash")
	require.Program(t, "curl")
	n := startDev(t)
	n.line("In another terminal:")
	var lines []string
	for last := ""; !strings.Contains(last, "Explain"); {
		last = n.line("")
		if strings.HasPrefix(last, "  ") { // the rest is prose
			lines = append(lines, last)
		}
	}
	bin := commandDir(t)
	cmd := exec.CommandContext(t.Context(), bash, "-c", "set -e\ntrap 'kill %1' EXIT\n"+strings.Join(lines, "\n"))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "no_proxy=*", "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	for _, want := range []string{"wrote worker.sh", "hello version 1", "hello-1  hello version 1  COMPLETED", `"workflow":"by-curl"`, `{"explanations":[{"code":`} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("%v, and %q is not in:\n%s", err, want, out)
		}
	}
}

// commandDir is a directory for PATH, in which the binary has its name.
func commandDir(t *testing.T) string {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "lockstep")); err != nil {
		t.Fatal(err)
	}
	return bin
}

// A definition is registered again whenever its file changes. What is wrong with it is said with its place, and the
// version before stays.
func TestDevRegistersWhatChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil { // as editors do
			t.Fatal(err)
		}
	}
	write("workflow: w\nsteps:\n  a: {queue: q}\n")
	n := startDev(t, "--workflow", path)
	n.line(path + ": w version 1")
	c := &cli{servers: []string{n.address}}
	latest := func(version, steps int32) {
		t.Helper()
		if w, err := c.getWorkflow(t.Context(), "w", 0); err != nil || w.Version != version || w.Steps != steps {
			t.Errorf("registered is %v, %v, not version %d with %d steps", w, err, version, steps)
		}
	}
	latest(1, 1)
	write("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [a]}\n")
	n.line(path + ": w version 2")
	latest(2, 2)
	write("workflow: w\nsteps:\n  a: {queue: q}\n  b: {needs: [nobody]}\n")
	if said := n.line(path + `: 4:15: steps.b.needs[0]: there is no step "nobody"`); !strings.HasSuffix(said, "; w version 2 stays") {
		t.Errorf("said %q", said)
	}
	write("workflow: w\nsteps:\n  a: {queue: [}\n")
	n.line(path + ": 3:")
	latest(2, 2)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	n.line("waiting for the workflow")
	write("workflow: w\nsteps:\n  c: {queue: q}\n")
	n.line(path + ": w version 3")
	latest(3, 1)
	write("workflow: w\nsteps:\n  a: {queue: q}\n") // what it was at first
	n.line(path + ": w version 1")
}
