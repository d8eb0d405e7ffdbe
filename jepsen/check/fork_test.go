package check

import (
	"strings"
	"testing"
)

func TestForks(t *testing.T) {
	needs := map[string][]string{"w/a": nil, "w/b": {"a"}, "w/c": {"b", "a"}, "w/d": nil}
	sagas := map[string]Saga{"w": {Undo: []string{"a"}}}
	done := func(id, name string) Event { return of(id, "step.completed", name) }
	begins := func(id, from, name string, count int64) Event {
		return Event{Type: "instance.started", Instance: id, Forked: from, Name: name, Count: count}
	}
	copied := func(id, from, name, as string) Event {
		return Event{Type: "step.copied", Instance: id, Step: name, Other: from, Name: as}
	}
	told := func(from, id string) Event { return Event{Type: "instance.forked", Instance: from, Other: id} }
	stops := Event{Type: "instance.cancelling", Instance: "w-1"}
	fork := []Event{begins("w-2", "w-1", "c", 2), copied("w-2", "w-1", "a", "COMPLETED"), copied("w-2", "w-1", "b", "COMPLETED")}
	was := []Event{done("w-1", "a"), done("w-1", "b")}
	with := func(parts ...[]Event) (all []Event) {
		for _, part := range parts {
			all = append(all, part...)
		}
		return calledFeed(all...)
	}
	one := func(e ...Event) []Event { return e }
	for name, x := range map[string]struct {
		events []Event
		want   string
	}{
		"it goes on":                {with(was, fork, one(told("w-1", "w-2"), of("w-2", "step.leased", "c"), done("w-2", "c"), of("w-2", "step.leased", "d"))), ""},
		"one of a fork":             {with(was, fork, one(told("w-1", "w-2"), Event{Type: "instance.cancelling", Instance: "w-2"}, begins("w-3", "w-2", "b", 1), copied("w-3", "w-2", "a", "COMPLETED"), told("w-2", "w-3"))), ""},
		"of nothing":                {with(one(begins("w-2", "w-1", "d", 0), told("w-1", "w-2"))), ""},
		"the other stops later":     {with(was, fork, one(told("w-1", "w-2"), stops)), ""},
		"nobody tells":              {with(was, fork), "does not tell it"},
		"told of none":              {with(was, one(told("w-1", "w-2"))), "that is none"},
		"too few":                   {with(was, fork[:2], one(told("w-1", "w-2"))), "lacks b"},
		"another count":             {with(was, one(begins("w-2", "w-1", "c", 1)), fork[1:], one(told("w-1", "w-2"))), "before c are 2"},
		"not ended":                 {with(was[:1], fork, one(told("w-1", "w-2"))), "in w-1 it is "},
		"otherwise ended":           {with(was[:1], one(of("w-1", "step.skipped", "b")), fork, one(told("w-1", "w-2"))), "in w-1 it is SKIPPED"},
		"undone":                    {with(was, one(stops), fork, one(told("w-1", "w-2"))), "which undoes it"},
		"not before":                {with(was, one(done("w-1", "d")), fork, one(copied("w-2", "w-1", "d", "COMPLETED"), told("w-1", "w-2"))), "is not to be"},
		"twice":                     {with(was, fork, fork[1:2], one(told("w-1", "w-2"))), "is not to be"},
		"leased":                    {with(was, fork, one(told("w-1", "w-2"), of("w-2", "step.leased", "a"))), "has step.leased"},
		"begun before all is there": {with(was, fork[:2], one(of("w-2", "step.ready", "d")), fork[2:], one(told("w-1", "w-2"))), "not all is"},
		"undone by the fork":        {with(was, fork, one(told("w-1", "w-2"), of("w-2", "step.ready", "a.compensate"))), "and was copied"},
	} {
		got := ""
		for _, f := range Forks(x.events, needs, sagas) {
			got += f.What + "; "
		}
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: found %q; want %q", name, got, x.want)
		}
	}
}

// What was copied is done to those that need it, and is done once.
func TestTheFeedKnowsCopies(t *testing.T) {
	needs := map[string][]string{"w/a": nil, "w/b": {"a"}}
	copied := Event{Type: "step.copied", Instance: "w-2", Step: "a", Name: "COMPLETED"}
	done := func(token int64) []Event {
		return []Event{{Type: "step.leased", Instance: "w-2", Step: "b", Token: token}, {Type: "step.completed", Instance: "w-2", Step: "b", Token: token}}
	}
	if got := Feed(calledFeed(append([]Event{copied}, done(1)...)...), needs, nil); len(got) > 0 {
		t.Errorf("found %v", got)
	}
	if got := Feed(calledFeed(done(1)...), needs, nil); len(got) != 1 {
		t.Errorf("without the copy it found %v", got)
	}
	if got := Feed(calledFeed(copied, Event{Type: "step.leased", Instance: "w-2", Step: "a", Token: 1}), needs, nil); len(got) != 1 {
		t.Errorf("of a copy that is leased it found %v", got)
	}
}
