package main

import (
	"testing"
	"time"
)

// What was asked from a time on is found, also when nothing was asked before it.
func TestThePulseKnowsWhatCameNext(t *testing.T) {
	const s = time.Second
	p := &pulse{}
	if got := p.next(0); got != 0 {
		t.Errorf("with no beat: %s", got)
	}
	p.list = []beat{{2 * s, 3 * s}, {4 * s, 9 * s}, {10 * s, 11 * s}}
	for after, want := range map[time.Duration]time.Duration{0: 3 * s, 2 * s: 3 * s, 3 * s: 9 * s, 5 * s: 11 * s, 11 * s: 0} {
		if got := p.next(after); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
	if got := p.longest(3*s, 12*s); got != 6*s {
		t.Errorf("the longest silence was %s", got)
	}
}
