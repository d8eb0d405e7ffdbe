package check

import (
	"strings"
	"testing"
)

func TestResets(t *testing.T) {
	needs := map[string][]string{"w/a": nil, "w/b": {"a"}, "w/c": {"b"}, "w/d": {"a"}}
	run := func(kind string, steps ...string) (events []Event) {
		for _, name := range steps {
			events = append(events, Event{Type: kind, Instance: "w-1", Step: name})
		}
		return events
	}
	done := func(steps ...string) []Event { return run("step.completed", steps...) }
	reset := func(name string, index int32, count int64) []Event {
		return []Event{{Type: "instance.reset", Instance: "w-1", Name: name, Index: index, Count: count}}
	}
	cancelled := func(name string) []Event {
		return []Event{{Type: "step.cancelled", Instance: "w-1", Step: name, Code: "RESET"}}
	}
	ends := []Event{{Type: "instance.completed", Instance: "w-1"}}
	for name, x := range map[string]struct {
		events [][]Event
		want   string
	}{
		"it goes on":            {[][]Event{done("a", "b"), reset("b", 1, 2), cancelled("c"), run("step.ready", "b#1"), done("b#1"), run("step.ready", "c#1"), done("c#1", "d"), ends}, ""},
		"twice":                 {[][]Event{done("a"), reset("b", 1, 2), reset("a", 2, 4), done("a#2", "b#2", "c#2", "d#2"), ends}, ""},
		"a late result":         {[][]Event{done("a"), reset("b", 1, 2), run("step.late", "b")}, ""},
		"another workflow":      {[][]Event{{{Type: "instance.completed", Instance: "v-1"}}}, ""},
		"too few":               {[][]Event{done("a"), reset("a", 1, 3)}, "what is behind it are 4"},
		"leased behind that":    {[][]Event{done("a"), reset("b", 1, 2), run("step.leased", "b")}, "the newest activation is b#1"},
		"completed behind that": {[][]Event{done("a"), reset("b", 1, 2), done("b")}, "the newest activation is b#1"},
		"without its need":      {[][]Event{done("a", "b"), reset("b", 1, 2), run("step.ready", "c#1")}, "before b#1, which it needs"},
		"begun by nobody":       {[][]Event{done("a", "b#1")}, "the newest activation is b"},
		"completed too early":   {[][]Event{done("a", "b", "c", "d"), reset("c", 1, 1), ends}, "its step c#1 is not"},
	} {
		var events []Event
		for _, part := range x.events {
			events = append(events, part...)
		}
		got := ""
		for _, f := range Resets(events, needs) {
			got += f.What + "; "
		}
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: found %q; want %q", name, got, x.want)
		}
	}
}
