package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/cmd/lockstep/demo"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	"github.com/lockstep-dev/lockstep/jepsen/require"
)

// The demo of a build that holds the bugs is well without one, and sees the planted one by what it counts anyway: the
// ledger's answers beside the history.
func TestTheDemoSeesAPlantedBug(t *testing.T) {
	if testing.Short() {
		t.Skip("SABOTAGE: NOT RUN: it builds the program once more, and -short was given")
	}
	binary := filepath.Join(t.TempDir(), "lockstep")
	if out, err := exec.CommandContext(t.Context(), require.Program(t, "go"), "build", "-trimpath", "-tags", "sabotage", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Parallel() // from here on it waits; the build kept the cores busy
	shown := func(args ...string) (r demo.Result, code int) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, append([]string{"demo", "--json"}, args...)...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s\n%s%s", cmd.ProcessState, err, &stdout, &stderr)
		}
		return r, cmd.ProcessState.ExitCode()
	}
	if r, code := shown(); !r.OK || code != exitOK || r.FencedCompletions < 1 {
		t.Errorf("nothing planted: status %d: %+v", code, r)
	}
	r, code := shown("--plant", string(plant.SkipTokenCheck))
	if r.OK || code != exitFailed || r.DuplicateCompletions < 1 || !slices.Contains(r.Problems, demo.CompletedTwice) {
		t.Errorf("a completion is accepted whatever its token, and that was not seen: status %d: %+v", code, r)
	}
}

// A build without the bugs, and a name that is none, are refused before anything starts.
func TestPlantIsRefused(t *testing.T) {
	bugs := map[string]string{"nonsense": `no bug "nonsense"`}
	if !plant.Built {
		bugs[string(plant.SkipTokenCheck)] = "build with -tags sabotage"
	}
	for bug, says := range bugs {
		for _, args := range [][]string{{"demo"}, {"server", "--data", filepath.Join(t.TempDir(), "none")}} {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append(args, "--plant", bug), &bytes.Buffer{}, &stdout, &stderr)
			if code != exitUsage || !strings.Contains(stderr.String(), says) || stdout.Len() > 0 {
				t.Errorf("%v --plant %s: status %d: %s%s", args, bug, code, &stdout, &stderr)
			}
		}
	}
}
