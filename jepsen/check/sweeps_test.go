package check

import "testing"

// Who has lost the lock of the sweep, or never had it, records nothing.
func TestSweeps(t *testing.T) {
	granted := func(token int64) Event { return Event{Type: "lock.granted", Lock: SweepLock, Token: token} }
	released := func(token int64) Event { return Event{Type: "lock.released", Lock: SweepLock, Token: token} }
	asked := func(token int64) Event { return Event{Type: "reporter.asked", Token: token} }
	for _, x := range []struct {
		events []Event
		faults int
	}{
		{[]Event{granted(1), asked(1), asked(1), released(1), granted(3), asked(3)}, 0},
		{[]Event{asked(1)}, 1},
		{[]Event{granted(1), released(1), asked(1)}, 1},
		{[]Event{granted(1), released(1), granted(3), asked(1), {Type: "lock.granted", Lock: "x", Token: 4}, asked(3)}, 1},
	} {
		if got := Sweeps(x.events); len(got) != x.faults {
			t.Errorf("%v: %v", x.events, got)
		}
	}
}
