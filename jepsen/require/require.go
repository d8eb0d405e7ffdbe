// Package require is for tests that need what a machine may not have. Such a test is skipped aloud, with a line that
// can be searched for; with LOCKSTEP_REQUIRE=postgres,netns,... in the environment, which CI sets, it fails instead.
package require

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Missing ends a test that lacks something: what is its name in LOCKSTEP_REQUIRE, why tells what was looked for.
func Missing(t testing.TB, what, why string) {
	t.Helper()
	line := strings.ToUpper(what) + ": NOT RUN: " + why
	if slices.Contains(strings.Split(os.Getenv("LOCKSTEP_REQUIRE"), ","), what) {
		t.Fatalf("%s; LOCKSTEP_REQUIRE wants it, and scripts/deps installs it", line)
	}
	t.Skip(line)
}

// Program finds a program in PATH. Without it the test ends as with Missing, under the program's name.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name, "no "+name+" in PATH")
	}
	return path
}
