package check

import (
	"testing"
	"time"
)

func TestALeaseIsNotGrantedToAnotherEarly(t *testing.T) {
	grant := func(token, until, answer int64) *Op {
		return &Op{Kind: "acquire", Lock: "l", Token: token, Outcome: OK, Until: time.Duration(until), Return: time.Duration(answer)}
	}
	back := &Op{Kind: "unlock", Lock: "l", Token: 1, Outcome: Unknown, Invoke: 40}
	for _, x := range []struct {
		name string
		ops  []*Op
		bad  int
	}{
		{"after its end", []*Op{grant(2, 300, 101), grant(1, 100, 10)}, 0},
		{"before its end", []*Op{grant(2, 300, 99), grant(1, 100, 10)}, 1},
		{"given back", []*Op{grant(1, 100, 10), back, grant(2, 300, 50)}, 0},
		{"given back, but later", []*Op{grant(1, 100, 10), back, grant(2, 300, 30)}, 1},
	} {
		if facts := Leases(x.ops); len(facts) != x.bad {
			t.Errorf("%s: %v, want %d", x.name, facts, x.bad)
		}
	}
}

func TestTheWallClockOfAFeedDoesNotRunBackwards(t *testing.T) {
	feed := []Event{{Position: 1, Wall: 10}, {Position: 2, Wall: 10}, {Position: 3, Wall: 9}}
	if facts := Feed(feed, nil, nil); len(facts) != 1 || facts[0].Guarantee != "S6" {
		t.Errorf("%v", facts)
	}
	if facts := Feed(feed[:2], nil, nil); len(facts) != 0 {
		t.Errorf("%v", facts)
	}
}
