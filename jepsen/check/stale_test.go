package check

import (
	"testing"
	"time"
)

func TestAStaleReadIsAsOldAsItSays(t *testing.T) {
	done := &Op{Kind: "complete", Instance: "i", Step: "a", Outcome: OK, Return: 100}
	events := []Event{{Type: "step.completed", Instance: "i", Step: "a"}}
	for _, x := range []struct {
		name        string
		invoke, age time.Duration
		seen        []string
		bad         int
	}{
		{"sees it", 150, 10, []string{"a"}, 0},
		{"is old enough not to", 150, 60, nil, 0},
		{"is not", 150, 40, nil, 1},
		{"sees what never happened", 150, 60, []string{"b"}, 1},
	} {
		read := &Op{Kind: "stale", Instance: "i", Outcome: OK, Invoke: x.invoke, Return: x.invoke + 1, Age: x.age, Seen: x.seen}
		if facts := Stale([]*Op{done, read}, events); len(facts) != x.bad {
			t.Errorf("%s: %v, want %d", x.name, facts, x.bad)
		}
	}
}

func TestAnInstanceIsNotCompletedBeforeItsSteps(t *testing.T) {
	feed := []Event{
		{Position: 1, Type: "step.leased", Instance: "w-1", Step: "a", Token: 1}, {Position: 2, Type: "step.completed", Instance: "w-1", Step: "a", Token: 1},
		{Position: 3, Type: "instance.completed", Instance: "w-1"},
	}
	if facts := Feed(feed, map[string][]string{"w/a": nil}, nil); len(facts) != 0 {
		t.Errorf("%v", facts)
	}
	if facts := Feed(feed, map[string][]string{"w/a": nil, "w/b": {"a"}}, nil); len(facts) != 1 {
		t.Errorf("%v", facts)
	}
}
