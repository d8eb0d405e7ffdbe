package check

import (
	"strings"
	"testing"
)

func calledFeed(events ...Event) []Event {
	for i := range events {
		events[i].Position = int64(i) + 1
	}
	return events
}

func of(instance, kind string, rest ...string) Event {
	e := Event{Type: kind, Instance: instance}
	for i, field := range []*string{&e.Step, &e.Code, &e.Other, &e.OtherStep} {
		if i < len(rest) {
			*field = rest[i]
		}
	}
	return e
}

func TestCalls(t *testing.T) {
	calls := []Event{of("p", "step.waiting", "s", "CALL", "p:s"), of("p:s", "instance.started", "", "", "p", "s")}
	with := func(more ...Event) []Event { return calledFeed(append(append([]Event{}, calls...), more...)...) }
	awaits := of("q", "step.waiting", "w", "INSTANCE", "p:s", "a")
	for name, x := range map[string]struct {
		events []Event
		want   string
	}{
		"a child completes": {with(of("p:s", "instance.completed"), of("p", "step.completed", "s"), of("p", "instance.completed")), ""},
		"a child fails":     {with(of("p:s", "instance.failed", "", "X"), of("p", "step.failed", "s", "X"), of("p", "instance.failed", "", "X")), ""},
		"too slow": {with(of("p", "step.failing", "s", "TIMEOUT_TOTAL"), of("p:s", "instance.cancelled"), of("p", "step.failed", "s", "TIMEOUT_TOTAL"),
			of("p", "instance.compensating")), ""},
		"it is cancelled":            {with(of("p", "instance.cancelling"), of("p:s", "instance.cancelled"), of("p", "step.cancelled", "s"), of("p", "instance.cancelled")), ""},
		"a step is waited for":       {with(awaits, of("p:s", "step.completed", "a"), of("q", "step.completed", "w"), of("p:s", "instance.completed"), of("p", "step.completed", "s")), ""},
		"what it waits for fails":    {with(awaits, of("p:s", "step.failed", "a", "X"), of("q", "step.failed", "w", "X")), ""},
		"a wait takes too long":      {with(awaits, of("q", "step.failed", "w", "TIMEOUT_TOTAL")), ""},
		"not called":                 {calledFeed(of("p:s", "instance.started", "", "", "p", "s")), "does not call it"},
		"started twice":              {with(calls[1]), "started again"},
		"its failure is taken":       {with(of("p:s", "instance.failed", "", "X"), of("p", "step.completed", "s")), `has "instance.failed"`},
		"another failure":            {with(of("p:s", "instance.failed", "", "X"), of("p", "step.failed", "s", "Y")), `as "Y"`},
		"completed before its child": {with(of("p", "step.completed", "s")), `has ""`},
		"a child is left":            {with(of("p", "instance.cancelling"), of("p", "step.cancelled", "s")), `has ""`},
		"undone before its child":    {with(of("p", "instance.failing"), of("p", "instance.compensating")), "has not ended"},
		"completed before its step":  {with(awaits, of("q", "step.completed", "w")), `has ""`},
		"nobody is told":             {with(awaits, of("p:s", "step.completed", "a")), "waits for p:s/a"},
		"its parent is not told":     {with(of("p:s", "instance.completed")), "waits for p:s"},
	} {
		got := ""
		for _, f := range Calls(x.events) {
			got += f.What + "; "
		}
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: found %q; want %q", name, got, x.want)
		}
	}
}
