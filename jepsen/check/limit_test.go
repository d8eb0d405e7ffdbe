package check

import (
	"strings"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	const s = time.Second
	lease := func(token int64, from, until time.Duration) *Op {
		return &Op{Kind: "lease", Token: token, Outcome: OK, Invoke: from, Return: until}
	}
	leased := func(tokens ...int64) (events []Event) {
		for _, token := range tokens {
			events = append(events, Event{Type: "step.leased", Instance: "named-1", Step: "b", Token: token},
				Event{Type: "limit.taken", LimitKey: "k", Limit: 2, Per: 10 * s, Count: 2, Token: token})
		}
		return events
	}
	for name, x := range map[string]struct {
		ops    []*Op
		events []Event
		want   string
	}{
		"apart":                  {[]*Op{lease(1, 0, s), lease(2, 5*s, 6*s), lease(3, 10*s, 11*s)}, leased(1, 2, 3), ""},
		"too near":               {[]*Op{lease(1, 2*s, 3*s), lease(2, 5*s, 6*s), lease(3, 10*s, 11*s)}, leased(1, 2, 3), "3 leases of limit k, under tokens 1 to 3, were within 9s"},
		"it may have been apart": {[]*Op{lease(1, 0, 9*s), lease(3, 4*s, 10*s)}, leased(1, 2, 3), ""},
		"an older one tells":     {[]*Op{lease(1, 3*s, 4*s), lease(5, 10*s, 11*s)}, leased(2, 3, 4), "within 8s"},
		"the holder went on":     {[]*Op{lease(1, 3*s, 4*s), lease(3, 4*s, 40*s), {Kind: "complete", Token: 3, Invoke: 8 * s, Return: 9 * s, Outcome: Unknown}}, leased(1, 2, 3), "within 5s"},
		"nobody says":            {nil, leased(1, 2, 3), ""},
		"without its slot":       {nil, []Event{{Type: "step.leased", Instance: "named-1", Step: "b", Token: 1}, {Type: "step.completed", Instance: "named-1", Step: "b", Token: 1}}, "without 1 of its slots"},
		"for no lease":           {nil, []Event{{Type: "limit.taken", LimitKey: "k", Limit: 2, Token: 1}}, "no lease needs it"},
		"for another":            {nil, []Event{{Type: "step.leased", Instance: "named-1", Step: "b", Token: 1}, {Type: "limit.taken", LimitKey: "k", Limit: 2, Token: 2}}, "no lease needs it"},
		"more than there are":    {nil, []Event{{Type: "step.leased", Instance: "named-1", Step: "b", Token: 1}, {Type: "limit.taken", LimitKey: "k", Limit: 2, Count: 3, Token: 1}}, "which has 2"},
		"another step":           {nil, []Event{{Type: "step.leased", Instance: "named-1", Step: "a", Token: 1}}, ""},
	} {
		got := ""
		for _, f := range Limits(x.ops, x.events, map[string]int{"named/b": 1}) {
			got += f.What + "; "
		}
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: found %q; want %q", name, got, x.want)
		}
	}
}
