// Package require is for tests that need what a machine may not have. Such a test is skipped aloud, with a line that
// can be searched for; with LOCKSTEP_REQUIRE=postgres,netns,... in the environment, which CI sets, it fails instead.
//
// go test keeps the lines of skipped tests to itself unless it is verbose: so they are added to the file that
// LOCKSTEP_SKIPS names, too, which scripts/check prints at its end.
package require

import (
	"fmt"
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
	if path := os.Getenv("LOCKSTEP_SKIPS"); path != "" {
		if err := add(path, line); err != nil {
			t.Fatalf("%s, which is not to be told by LOCKSTEP_SKIPS: %v", line, err)
		}
	}
	t.Skip(line)
}

func add(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, line)
	return err
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

// Netns finds the program that makes network namespaces, and makes one to see that this process may. Without either
// the test ends as with Missing.
func Netns(t testing.TB) (ip string) {
	t.Helper()
	ip, err := exec.LookPath("ip")
	if err != nil {
		Missing(t, "netns", "no ip in PATH")
	}
	name := fmt.Sprint("lockstep-probe-", os.Getpid())
	if out, err := exec.Command(ip, "netns", "add", name).CombinedOutput(); err != nil {
		Missing(t, "netns", fmt.Sprintf("this process may make no network namespace: %v: %s", err, strings.TrimSpace(string(out))))
	}
	if out, err := exec.Command(ip, "netns", "delete", name).CombinedOutput(); err != nil {
		t.Fatalf("delete network namespace %s: %v: %s", name, err, out)
	}
	return ip
}
