package sim

import (
	"testing"
	"time"
)

// A tick overtakes what its leader had received before the entry, and nothing that came later: not even when the leader was
// stopped in between, for a pause takes a part of a sample along on either side.
func TestWhatATickOvertakes(t *testing.T) {
	const s = time.Second
	e := &entry{by: 1, term: 3, proposed: 10 * s, asleep: 4 * s, pauses: 1}
	for name, x := range map[string]struct {
		got  received
		want bool
	}{
		"received before":                    {received{by: 1, term: 3, at: 9 * s, asleep: 4 * s, pauses: 1}, true},
		"by another":                         {received{by: 2, term: 3, at: 9 * s, asleep: 4 * s, pauses: 1}, false},
		"in a term before":                   {received{by: 1, term: 2, at: 9 * s, asleep: 4 * s, pauses: 1}, false},
		"just before the leader was stopped": {received{by: 1, term: 3, at: 9*s - 40*time.Millisecond, asleep: 3 * s, pauses: 0}, false},
		"long before it was stopped":         {received{by: 1, term: 3, at: 8 * s, asleep: 3 * s, pauses: 0}, true},
		"when it went on, behind the entry":  {received{by: 1, term: 3, at: 11*s + 10*time.Millisecond, asleep: 5 * s, pauses: 2}, false},
	} {
		if got := new(times).overtakes(e, x.got); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
