package core

import (
	"testing"
	"time"
)

func TestFailover(t *testing.T) {
	f := NewFailover([]string{"a", "b", "c"})
	for _, step := range []struct{ failed, leader, want string }{
		{"", "", "a"},
		{"a", "", "b"},
		{"a", "", "b"},  // another call that failed at a: b is not to blame
		{"b", "a", "a"}, // told who leads
		{"a", "x", "x"}, // a leader that we were not told of
		{"x", "", "b"},  // it is gone: back to the list, where we were
		{"b", "b", "c"}, // it says that it leads, and yet failed
		{"c", "", "a"},
	} {
		if step.failed != "" {
			f.Failed(step.failed, step.leader)
		}
		if got := f.Server(); got != step.want {
			t.Errorf("after %q failed naming %q: %q, want %q", step.failed, step.leader, got, step.want)
		}
	}
}

func TestFailoverIsTold(t *testing.T) {
	f := NewFailover([]string{"a", "b"})
	for _, leader := range []string{"b", "x", "a"} {
		if f.Led(leader); f.Server() != leader {
			t.Errorf("told that %q leads: %q", leader, f.Server())
		}
	}
	f.Failed("a", "")
	if f.Led("a"); f.Server() != "b" {
		t.Errorf("told that a leads, which has just failed: %q", f.Server())
	}
	f.Failed("b", "")
	if f.Led("a"); f.Server() != "a" {
		t.Errorf("told that a leads, and b failed since: %q", f.Server())
	}
}

func TestCall(t *testing.T) {
	for _, c := range []struct {
		name    string
		safe    bool
		failure Failure
		again   bool
	}{
		{"an answer is final", true, Final, false},
		{"nothing was done", false, Unreached, true},
		{"nothing was done, the leader is known", false, Misdirected, true},
		{"nothing was done, shed", false, Overloaded, true},
		{"unknown, and done twice would harm", false, Unknown, false},
		{"unknown, and done twice is the same", true, Unknown, true},
	} {
		call := Call{Safe: c.safe, Servers: 3}
		if _, again := call.Failed(c.failure, 0); again != c.again {
			t.Errorf("%s: again is %t", c.name, again)
		}
	}
}

// Each server is asked at once; after all of them there is a pause, longer each time, and capped.
func TestCallPauses(t *testing.T) {
	call := Call{Servers: 2, MaxDelay: 50 * time.Millisecond}
	for try, want := range []time.Duration{0, 20, 0, 40, 0, 50, 0, 50} {
		if after, again := call.Failed(Unreached, 0); !again || after != want*time.Millisecond {
			t.Errorf("try %d: after %s, want %dms", try, after, want)
		}
	}
	overloaded := Call{Servers: 2}
	if after, _ := overloaded.Failed(Overloaded, 0.5); after != 15*time.Millisecond {
		t.Errorf("overloaded: after %s: half the jitter takes off a quarter of 20ms", after)
	}
}

func TestBackoffEnds(t *testing.T) {
	for tries := range 100 {
		if d := Backoff(tries, time.Millisecond, time.Second, 0.999); d <= 0 || d > time.Second {
			t.Fatalf("backoff %d is %s", tries, d)
		}
	}
}
