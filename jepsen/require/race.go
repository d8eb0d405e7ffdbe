package require

import "testing"

// WithoutRace skips a test when it is built with the race detector, which has nothing to see in it: one goroutine fills a
// limit of the state machine, or walks it, and takes ten times as long. scripts/check runs the packages of the state
// machine without the detector too, and there such a test is whole.
func WithoutRace(t testing.TB) {
	t.Helper()
	if Race {
		t.Skip("one goroutine: scripts/check runs it without -race")
	}
}
