package check

import (
	"strings"
	"testing"
	"time"
)

var testNeeds = map[string][]string{"named/b": {"a"}}

// sound is a feed that keeps the rules.
func sound() []Event {
	return []Event{
		{Position: 1, Type: "instance.started", Instance: "named-1"},
		{Position: 2, Type: "step.leased", Instance: "named-1", Step: "a", Token: 1},
		{Position: 3, Type: "step.lapsed", Instance: "named-1", Step: "a", Token: 1},
		{Position: 4, Type: "step.leased", Instance: "named-1", Step: "a", Token: 2},
		{Position: 5, Type: "lock.granted", Instance: "named-1", Step: "a", Token: 2, Lock: "l"},
		{Position: 6, Type: "step.completed", Instance: "named-1", Step: "a", Token: 2},
		{Position: 7, Type: "lock.released", Token: 2, Lock: "l"},
		{Position: 8, Type: "lock.granted", Token: 3, Lock: "l"},
		{Position: 9, Type: "lock.granted", Token: 4, Lock: "p", Take: 1},
		{Position: 10, Type: "lock.granted", Token: 5, Lock: "p", Take: 1},
		{Position: 11, Type: "lock.granted", Token: 6, Lock: "s", Shared: true},
		{Position: 12, Type: "lock.granted", Token: 7, Lock: "s", Shared: true},
		{Position: 13, Type: "step.leased", Instance: "named-1", Step: "b", Token: 8},
		{Position: 14, Type: "step.completed", Instance: "named-1", Step: "b", Token: 8},
	}
}

var testLimits = map[string]int64{"p": 2}

// Each rule, broken in a feed that is else sound, is found.
func TestABrokenFeedIsFound(t *testing.T) {
	if facts := Feed(sound(), testNeeds, testLimits); len(facts) > 0 {
		t.Fatalf("the sound feed is refused: %v", facts)
	}
	for name, x := range map[string]struct {
		change func([]Event) []Event
		want   string
	}{
		"a gap": {func(e []Event) []Event { return append(e[:3:3], e[4:]...) }, "L7: event 4 of the feed has position 5"},
		"completed again": {func(e []Event) []Event {
			return append(e, Event{Position: 15, Type: "step.completed", Instance: "named-1", Step: "a", Token: 2})
		}, "S1: position 15: a of named-1 is completed again"},
		"an old token":           {func(e []Event) []Event { e[5].Token = 1; return e }, "S2: position 6: a of named-1 is completed under token 1"},
		"tokens go back":         {func(e []Event) []Event { e[12].Token, e[13].Token = 2, 2; return e }, "S1: position 13: token 2 is granted after 7"},
		"out of order":           {func(e []Event) []Event { e[5].Step, e[13].Step = "b", "a"; e[3].Step, e[12].Step = "b", "a"; return e }, "completed before a, which it needs"},
		"leased when done":       {func(e []Event) []Event { e[12].Step = "a"; return e }, "is leased after its completion"},
		"an exclusive lock, two": {func(e []Event) []Event { e[6].Lock = "other"; return e }, "S2: position 8: lock l is granted under token 3 while token 2 holds it"},
		"too many permits":       {func(e []Event) []Event { e[9].Take = 2; return e }, "S2: position 10: lock p has 3 of 2 permits taken"},
		"shared with exclusive":  {func(e []Event) []Event { e[11].Shared = false; return e }, "S2: position 12: lock s"},
	} {
		t.Run(name, func(t *testing.T) { wants(t, Feed(x.change(sound()), testNeeds, testLimits), x.want) })
	}
}

func wants(t *testing.T, facts []Fact, want string) {
	t.Helper()
	var all []string
	for _, f := range facts {
		all = append(all, f.Guarantee+": "+f.What)
	}
	if !strings.Contains(strings.Join(all, "\n"), want) {
		t.Errorf("want %q, got %q", want, all)
	}
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// told are answers that fit the sound feed.
func told() []*Op {
	return []*Op{
		{Kind: "start", Instance: "named-1", Outcome: OK, Invoke: ms(0), Return: ms(1)},
		{Kind: "lease", Instance: "named-1", Step: "a", Token: 2, Outcome: OK, Invoke: ms(2), Return: ms(5)},
		{Kind: "complete", Instance: "named-1", Step: "a", Token: 1, Outcome: Refused, Code: "FENCED", Invoke: ms(4), Return: ms(6)},
		{Kind: "read", Instance: "named-1", Outcome: OK, Invoke: ms(4), Return: ms(7)},
		{Kind: "complete", Instance: "named-1", Step: "a", Token: 2, Outcome: OK, Invoke: ms(6), Return: ms(8)},
		{Kind: "read", Instance: "named-1", Seen: []string{"a"}, Outcome: OK, Invoke: ms(9), Return: ms(10)},
		{Kind: "complete", Instance: "named-1", Step: "b", Token: 8, Outcome: Unknown, Invoke: ms(9), Return: ms(90)},
		{Kind: "read", Instance: "named-1", Seen: []string{"a", "b"}, Outcome: OK, Invoke: ms(20), Return: ms(21)},
	}
}

func TestABrokenAnswerIsFound(t *testing.T) {
	if facts := Answers(told(), sound()); len(facts) > 0 {
		t.Fatalf("sound answers are refused: %v", facts)
	}
	for name, x := range map[string]struct {
		change func(ops []*Op)
		want   string
	}{
		"acknowledged and lost":        {func(ops []*Op) { ops[4].Token = 9 }, "S3: complete of named-1/a was acknowledged at 8ms and is not in the feed"},
		"refused and done":             {func(ops []*Op) { ops[4].Outcome, ops[4].Code = Refused, "FENCED" }, "S5: completion of named-1/a under token 2 was refused"},
		"happened before it was asked": {func(ops []*Op) { ops[1].Invoke, ops[1].Return = ms(30), ms(31); ops[4].Invoke = ms(3) }, "S4: lease of named-1/a, asked at 30ms, happened at 4, before complete"},
		"a stale read":                 {func(ops []*Op) { ops[5].Seen = nil }, "S4: a read of named-1, asked at 9ms, did not see the completion of a"},
		"a read that goes back":        {func(ops []*Op) { ops[5].Seen = []string{"a", "b"}; ops[7].Seen = []string{"a"} }, "did not see b completed, which one answered at 10ms had seen"},
		"a read of what was not":       {func(ops []*Op) { ops[7].Seen = []string{"a", "b", "c"} }, "saw c completed, which the feed does not have"},
	} {
		t.Run(name, func(t *testing.T) {
			ops := told()
			x.change(ops)
			wants(t, Answers(ops, sound()), x.want)
		})
	}
}

func TestACompletionThatIsNotThereIsFound(t *testing.T) {
	if facts := Completions([]Completion{{"named-1", "a", 2}, {"named-1", "b", 8}}, sound()); len(facts) > 0 {
		t.Fatalf("sound completions are refused: %v", facts)
	}
	wants(t, Completions([]Completion{{"named-1", "a", 2}, {"named-1", "a", 1}}, sound()), "S1: a worker was told that its completion of named-1/a under token 1 is accepted; the feed has one under token 2")
}

// What was answered about a lock is explained by one order of the calls, or it is not.
func TestLocksMustFitAnOrder(t *testing.T) {
	acquire := func(token int64, outcome string, from, to int) *Op {
		return &Op{Kind: "acquire", Lock: "l", Token: token, Outcome: outcome, Invoke: ms(from), Return: ms(to)}
	}
	unlock := func(token int64, outcome string, from, to int) *Op {
		return &Op{Kind: "unlock", Lock: "l", Token: token, Outcome: outcome, Invoke: ms(from), Return: ms(to)}
	}
	look := func(token int64, from, to int) *Op {
		return &Op{Kind: "look", Lock: "l", Token: token, Outcome: OK, Invoke: ms(from), Return: ms(to)}
	}
	for name, x := range map[string]struct {
		ops []*Op
		ok  bool
	}{
		"hand over":                    {[]*Op{acquire(1, OK, 0, 1), acquire(0, Refused, 2, 3), look(1, 3, 4), unlock(1, OK, 4, 5), look(0, 6, 7), acquire(2, OK, 8, 9)}, true},
		"two at once":                  {[]*Op{acquire(1, OK, 0, 1), acquire(2, OK, 2, 3)}, false},
		"overlapping, one order fits":  {[]*Op{acquire(1, OK, 0, 9), acquire(2, OK, 0, 9), unlock(1, OK, 1, 8)}, true},
		"refused though free":          {[]*Op{acquire(0, Refused, 0, 1)}, false},
		"tokens go back":               {[]*Op{acquire(5, OK, 0, 1), unlock(5, OK, 2, 3), acquire(4, OK, 4, 5)}, false},
		"a stale look":                 {[]*Op{acquire(1, OK, 0, 1), unlock(1, OK, 2, 3), look(1, 4, 5)}, false},
		"an unlock that may have been": {[]*Op{acquire(1, OK, 0, 1), unlock(1, Unknown, 2, 3), acquire(2, OK, 4, 5)}, true},
		"unlocked twice":               {[]*Op{acquire(1, OK, 0, 1), unlock(1, Unknown, 2, 3), unlock(1, OK, 4, 5), look(0, 6, 7)}, true},
		"refused, done by a lost try":  {[]*Op{acquire(1, OK, 0, 1), unlock(1, Refused, 2, 3), acquire(2, OK, 4, 5)}, true},
		"refused, and still held":      {[]*Op{acquire(1, OK, 0, 1), unlock(1, Refused, 2, 3), look(1, 4, 5)}, false},
		"a grant that nobody learned":  {[]*Op{acquire(0, Unknown, 0, 1), acquire(0, Refused, 2, 3), look(7, 3, 4), acquire(9, OK, 20, 21)}, true},
		"held and unlocked by other":   {[]*Op{acquire(1, OK, 0, 1), unlock(2, OK, 2, 3)}, false},
	} {
		if facts := Locks(x.ops, 10*time.Second); (len(facts) == 0) != x.ok {
			t.Errorf("%s: %v", name, facts)
		}
	}
}
