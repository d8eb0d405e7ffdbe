package check

import (
	"strings"
	"testing"
)

func TestBarriers(t *testing.T) {
	waits := func(id string, parties int64) Event {
		return Event{Type: "step.waiting", Instance: id, Step: "m", Code: "BARRIER", Name: "b", Count: parties}
	}
	passed := func(parties int64) Event { return Event{Type: "barrier.passed", Name: "b", Count: parties} }
	done := func(id string) Event { return of(id, "step.completed", "m") }
	two := []Event{waits("i", 2), waits("j", 2)}
	with := func(more ...Event) []Event { return calledFeed(append(append([]Event{}, two...), more...)...) }
	for name, x := range map[string]struct {
		events []Event
		want   string
	}{
		"they pass":                  {with(passed(2), done("i"), done("j")), ""},
		"again":                      {with(passed(2), done("i"), done("j"), waits("k", 2), waits("l", 2), passed(2), done("k"), done("l")), ""},
		"one waits":                  {calledFeed(waits("i", 2)), ""},
		"one leaves":                 {calledFeed(waits("i", 2), of("i", "step.failed", "m", "TIMEOUT_TOTAL"), waits("j", 2)), ""},
		"another takes its place":    {calledFeed(waits("i", 2), of("i", "step.cancelled", "m"), waits("j", 2), waits("k", 2), passed(2), done("j"), done("k")), ""},
		"all wait":                   {with(), "2 parties wait"},
		"too early":                  {calledFeed(waits("i", 2), passed(2), done("i")), "1 are there"},
		"fewer than they say":        {calledFeed(waits("i", 2), passed(1), done("i")), "waits for 2"},
		"without the barrier":        {with(done("i")), "is false"},
		"one is left":                {with(passed(2), done("i"), waits("k", 2), waits("l", 2), passed(2)), "1 of those that passed before"},
		"one of them fails":          {with(passed(2), done("i"), of("j", "step.failed", "m", "X")), "is true"},
		"who came later goes before": {with(waits("k", 2), passed(2), done("i"), done("k")), "is false"},
	} {
		got := ""
		for _, f := range Barriers(x.events) {
			got += f.What + "; "
		}
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: found %q; want %q", name, got, x.want)
		}
	}
}
