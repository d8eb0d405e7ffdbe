package check

import (
	"testing"
	"time"
)

func TestLooksSeeWhatWasAcknowledged(t *testing.T) {
	at := func(kind string, token, invoke, answer int64) *Op {
		return &Op{Kind: kind, Lock: "l", Token: token, Outcome: OK, Invoke: time.Duration(invoke), Return: time.Duration(answer)}
	}
	held, given := at("acquire", 5, 10, 20), at("unlock", 5, 40, 50)
	again := at("acquire", 7, 60, 70)
	lost := at("unlock", 7, 90, 95)
	lost.Outcome = Unknown
	lapses := at("acquire", 7, 60, 70)
	lapses.Lapses = true
	for _, x := range []struct {
		name string
		ops  []*Op
		bad  int
	}{
		{"the holder, while it may be", []*Op{held, given, at("peek", 5, 21, 45), at("peek", 0, 5, 15), at("peek", 0, 30, 41), at("look", 5, 45, 60)}, 0},
		{"a token that was given back", []*Op{held, given, at("peek", 5, 51, 60)}, 1},
		{"an older one than was granted", []*Op{held, given, again, at("look", 5, 71, 75)}, 2},
		{"nobody, although it is held", []*Op{held, given, at("peek", 0, 21, 39)}, 1},
		{"nobody, although another holds it", []*Op{held, given, again, at("peek", 0, 71, 80)}, 1},
		{"nobody, for it may have been given back", []*Op{again, lost, at("peek", 0, 71, 92), at("peek", 7, 96, 97)}, 0},
		{"nobody, for its session may have ended", []*Op{lapses, at("peek", 0, 71, 80)}, 0},
		{"nothing, for it was not answered", []*Op{held, {Kind: "peek", Lock: "l", Outcome: Unknown, Invoke: 21, Return: 22}}, 0},
	} {
		if facts := Peeks(x.ops); len(facts) != x.bad {
			t.Errorf("%s: %v, want %d", x.name, facts, x.bad)
		}
	}
}
