package main

import (
	"slices"
	"testing"
	"time"
)

func TestTimesOfManyRunsAreJudgedTogether(t *testing.T) {
	one, other := samples{}, samples{}
	for i := range 99 {
		one.add(failOver+"kill-leader", time.Duration(i)*time.Millisecond)
	}
	other.add(failOver+"kill-leader", 9*time.Second)
	other.add(back, time.Second)
	one.merge(other)
	times := one.times()
	want := []timed{
		{What: back, N: 1, P50: 1000, P99: 1000, Max: 1000},
		{What: failOver + "kill-leader", Guarantee: "L1", N: 100, P50: 50, P99: 9000, Max: 9000, Bound: "p50 of 1000 ms, p99 of 2000 ms: MISSED"},
	}
	if !slices.Equal(times, want) {
		t.Errorf("times %+v, want %+v", times, want)
	}
	if got := one.pair(failOver); got != "50/9000" {
		t.Errorf("the pair is %s", got)
	}
}

// What a write takes beside the install of a snapshot is judged by what it took before.
func TestASnapshotsInstallIsJudgedByWhatWasBefore(t *testing.T) {
	for beside99, want := range map[int64]string{18: "p99 of 20 ms: kept", 21: "p99 of 20 ms: MISSED"} {
		s := samples{rest: {5, 10}, beside: {beside99}}
		if got := s.times()[1]; got.What != beside || got.Guarantee != "L5" || got.Bound != want {
			t.Errorf("%d ms: %+v, want %s", beside99, got, want)
		}
	}
}

// A quantile of a handful says nothing, and neither is it a promise how soon there is a leader after other faults.
func TestWhatIsNotJudged(t *testing.T) {
	s := samples{}
	for _, what := range [...]string{"kill-leader", "mute-leader", "kill-leader, with others"} {
		s.add(failOver+what, 9*time.Second)
	}
	for _, got := range s.times() {
		want := ""
		if got.What == failOver+"kill-leader" {
			want = "p50 of 1000 ms, p99 of 2000 ms: too few to judge"
		}
		if got.Bound != want {
			t.Errorf("%s: %q, want %q", got.What, got.Bound, want)
		}
	}
}
