package require

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// ended records how a test would have ended.
type ended struct {
	testing.TB
	how string
}

func (e *ended) Helper() {}
func (e *ended) Fatalf(format string, args ...any) {
	e.how = "failed: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (e *ended) Skip(args ...any) {
	e.how = "skipped: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func ending(test func(testing.TB)) string {
	e := &ended{how: "ran on"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(e)
	}()
	<-done
	return e.how
}

// What is missing is skipped aloud, and fails where it is required: the whole name, not a part of one.
func TestMissingIsSkippedAloudOrFails(t *testing.T) {
	t.Setenv("LOCKSTEP_SKIPS", "")
	const skipped, failed = "skipped: NETNS: NOT RUN: none", "failed: NETNS: NOT RUN: none; LOCKSTEP_REQUIRE wants it, and scripts/deps installs it"
	for required, want := range map[string]string{"": skipped, "netns": failed, "race,netns": failed, "race,netns2": skipped} {
		t.Setenv("LOCKSTEP_REQUIRE", required)
		if how := ending(func(t testing.TB) { Missing(t, "netns", "none") }); how != want {
			t.Errorf("with %q: %s", required, how)
		}
	}
	skips := filepath.Join(t.TempDir(), "skips")
	t.Setenv("LOCKSTEP_SKIPS", skips)
	t.Setenv("LOCKSTEP_REQUIRE", "")
	if how := ending(func(t testing.TB) { Program(t, "no-such-program") }); how != "skipped: NO-SUCH-PROGRAM: NOT RUN: no no-such-program in PATH" {
		t.Error(how)
	}
	if how := ending(func(t testing.TB) { Program(t, "go") }); how != "ran on" {
		t.Error(how)
	}
	if told, err := os.ReadFile(skips); err != nil || string(told) != "NO-SUCH-PROGRAM: NOT RUN: no no-such-program in PATH\n" {
		t.Errorf("told %q, %v", told, err)
	}
}

// A network namespace is made, where that is possible, and nothing is left of it.
func TestNetns(t *testing.T) {
	ip := Netns(t)
	out, err := exec.Command(ip, "netns", "list").CombinedOutput()
	if err != nil || strings.Contains(string(out), fmt.Sprint("lockstep-probe-", os.Getpid())) {
		t.Errorf("left: %s, %v", out, err)
	}
}

func TestNetnsIsMissed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("LOCKSTEP_REQUIRE", "netns")
	if how := ending(func(t testing.TB) { Netns(t) }); !strings.HasPrefix(how, "failed: NETNS: NOT RUN: no ip in PATH") {
		t.Error(how)
	}
}
