package check

import (
	"slices"
	"testing"
)

// A list of three items, two at a time, of two steps each, and a loop of two turns.
var testBodies = map[string]map[string]Body{"fleet": {
	"each": {Needs: map[string][]string{"a": nil, "b": {"a"}}, Undo: []string{"a", "b"}, Items: 3, Width: 2},
	"turn": {Needs: map[string][]string{"ask": nil}, Turns: 2},
}}

// ready are activations as they begin: the first step is ready.
func ready(step string, n ...int) (out [][2]string) {
	for _, k := range n {
		out = append(out, [2]string{"step.ready", inActivation(step, k)})
	}
	return out
}

func doneIn(n int, steps ...string) (out [][2]string) {
	for _, s := range steps {
		out = append(out, runs(inActivation(s, n))...)
	}
	return out
}

func is(kind string, steps ...string) (out [][2]string) {
	if len(steps) == 0 {
		return [][2]string{{kind}}
	}
	for _, s := range steps {
		out = append(out, [2]string{kind, s})
	}
	return out
}

var (
	twoOfThree = history(is("step.waiting", "each"), ready("a", 0, 1), doneIn(0, "a", "b"), ready("a", 2))
	theOthers  = history(doneIn(1, "a", "b"), doneIn(2, "a", "b"))
	itFails    = history(twoOfThree, is("step.failed", "a#1"), is("step.failing", "each"), is("step.cancelled", "b#1", "a#2", "b#2"), is("step.compensating", "each"))
	undoneAll  = history(runs("b.compensate"), runs("a.compensate"))
)

func TestBodiesAsTheyShouldBe(t *testing.T) {
	for name, all := range map[string][][2]string{
		"a list":          history(twoOfThree, theOthers, is("step.completed", "each")),
		"a loop":          history(is("step.waiting", "turn"), ready("ask", 0), doneIn(0, "ask"), ready("ask", 1), doneIn(1, "ask"), is("step.completed", "turn")),
		"an item fails":   history(itFails, undoneAll, is("step.failed", "each")),
		"it is cancelled": history(twoOfThree, is("instance.cancelling"), is("step.cancelled", "each", "a#1", "b#1", "a#2", "b#2"), is("instance.compensating"), undoneAll, is("instance.cancelled")),
	} {
		if facts := Bodies(tell("fleet-1", all...), testBodies); len(facts) > 0 {
			t.Errorf("%s: %v", name, facts)
		}
	}
}

func TestABrokenBodyIsFound(t *testing.T) {
	for name, x := range map[string]struct {
		all  [][2]string
		want string
	}{
		"three at a time":           {history(ready("a", 0, 1, 2)), "S1: position 3: activation 2 of each of fleet-1 begins beside 2 others, and may not"},
		"two turns at a time":       {history(ready("ask", 0, 1)), "activation 1 of turn of fleet-1 begins beside 1 others"},
		"one turn too many":         {history(ready("ask", 0), doneIn(0, "ask"), ready("ask", 1), doneIn(1, "ask"), ready("ask", 2)), "activation 2 of turn of fleet-1 begins behind 2 of 2"},
		"an item is left out":       {history(ready("a", 0, 1), doneIn(0, "a", "b"), doneIn(1, "a", "b"), is("step.completed", "each")), "each of fleet-1 is completed, with 2 of 3 activations"},
		"a number is left out":      {history(ready("a", 1)), "activation 1 of each of fleet-1 begins behind 0 of 3"},
		"completed too early":       {history(twoOfThree, doneIn(1, "a", "b"), is("step.completed", "each")), `each of fleet-1 is completed, and a#2 inside it has ""`},
		"out of order inside":       {history(ready("a", 0), is("step.leased", "b")), `S1: position 2: b of fleet-1 is begun, and a, which it needs there, has ""`},
		"of another activation":     {history(ready("a", 0, 1), doneIn(0, "a"), is("step.leased", "b#1")), "b#1 of fleet-1 is begun, and a, which it needs there"},
		"begun while it fails":      {history(itFails, is("step.leased", "a#2")), "a#2 of fleet-1 is begun inside each, which stops"},
		"begun while all stops":     {history(twoOfThree, is("instance.cancelling"), is("step.leased", "a#2")), "a#2 of fleet-1 is begun inside each, which stops"},
		"not undone":                {history(itFails, runs("b.compensate"), is("step.failed", "each")), "saga: position 17: each of fleet-1 has failed, and a inside it is not undone"},
		"undone out of order":       {history(itFails, runs("a.compensate")), "a of fleet-1 is undone before b, which came behind it"},
		"the earlier item first":    {history(ready("a", 0, 1), doneIn(0, "a", "b"), doneIn(1, "a"), is("step.failed", "b#1"), is("step.failing", "each"), runs("b.compensate")), "b of fleet-1 is undone before a#1, which came behind it"},
		"undone twice":              {history(itFails, undoneAll, runs("a.compensate")), "a of fleet-1 is undone again"},
		"what was not done":         {history(itFails, runs("a.compensate#1")), "a#1 of fleet-1 is undone, and was not completed"},
		"completed though it fails": {history(itFails, undoneAll, is("step.completed", "each")), "each of fleet-1 is completed, with"},
	} {
		t.Run(name, func(t *testing.T) { wants(t, Bodies(tell("fleet-1", slices.Clone(x.all)...), testBodies), x.want) })
	}
}
