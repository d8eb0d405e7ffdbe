package require

import (
	"fmt"
	"runtime"
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
	const skipped, failed = "skipped: NETNS: NOT RUN: none", "failed: NETNS: NOT RUN: none; LOCKSTEP_REQUIRE wants it, and scripts/deps installs it"
	for required, want := range map[string]string{"": skipped, "netns": failed, "race,netns": failed, "race,netns2": skipped} {
		t.Setenv("LOCKSTEP_REQUIRE", required)
		if how := ending(func(t testing.TB) { Missing(t, "netns", "none") }); how != want {
			t.Errorf("with %q: %s", required, how)
		}
	}
	t.Setenv("LOCKSTEP_REQUIRE", "")
	if how := ending(func(t testing.TB) { Program(t, "no-such-program") }); how != "skipped: NO-SUCH-PROGRAM: NOT RUN: no no-such-program in PATH" {
		t.Error(how)
	}
	if how := ending(func(t testing.TB) { Program(t, "go") }); how != "ran on" {
		t.Error(how)
	}
}
