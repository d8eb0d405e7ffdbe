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
	if got := p.took(2500*time.Millisecond, 4*s); len(got) != int(s/beatEvery) || got[0] != s {
		t.Errorf("the first write took %s, and there were %d", got[0], len(got))
	}
	if got := p.took(4*s, 10*s); got[0] != 6*s-beatEvery { // due soon after three seconds, whoever was not answered before
		t.Errorf("the second write took %s", got[0])
	}
	if got := p.longest(3*s, 12*s); got != 6*s {
		t.Errorf("the longest silence was %s", got)
	}
}
