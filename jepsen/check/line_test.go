package check

import (
	"strings"
	"testing"
)

func waitsFor(instance string) Event { return Event{Type: "instance.queued", Instance: instance} }

func stopsFor(instance string) []Event {
	return []Event{{Type: "instance.cancelling", Instance: instance, Code: "REPLACED"}, {Type: "instance.cancelled", Instance: instance, Code: "REPLACED"}}
}

func TestLines(t *testing.T) {
	begun := []Event{starts("t-1"), waitsFor("t-1~2"), waitsFor("t-1~3")}
	with := func(more ...Event) []Event { return append(append([]Event{}, begun...), more...) }
	for name, x := range map[string]struct {
		events []Event
		want   string
	}{
		"one after the other":         {with(ended("t-1"), starts("t-1~2"), ended("t-1~2"), starts("t-1~3"), ended("t-1~3"), starts("t-1~4")), ""},
		"two ids":                     {with(starts("t-2"), waitsFor("t-2~9")), ""},
		"another workflow's":          {[]Event{starts("u-1"), starts("u-1~2")}, ""},
		"cancelled while it waits":    {with(ended("t-1~2"), ended("t-1"), starts("t-1~3")), ""},
		"two live":                    {with(starts("t-1~2")), `t-1~2 starts while "t-1" has its id`},
		"past the first":              {with(ended("t-1"), starts("t-1~3")), "starts before t-1~2"},
		"past all":                    {with(ended("t-1"), starts("t-1~4")), "starts before t-1~2"},
		"nobody starts":               {with(ended("t-1")), "nobody has it"},
		"behind nobody":               {[]Event{waitsFor("t-1")}, `waits for the id of ""`},
		"twice":                       {with(waitsFor("t-1~2")), "t-1~2 waits for the id"},
		"again when it has ended":     {with(ended("t-1~2"), waitsFor("t-1~2")), "t-1~2 waits for the id"},
		"begun while it waits":        {with(Event{Type: "step.ready", Instance: "t-1~2"}), "step.ready of t-1~2, which waits"},
		"replaced":                    {append([]Event{starts("t-1"), waitsFor("t-1~2")}, append(stopsFor("t-1"), starts("t-1~2"))...), ""},
		"replaced for nobody":         {append([]Event{starts("t-1")}, stopsFor("t-1")...), "is to be replaced, and [] wait"},
		"replaced while others waits": {with(stopsFor("t-1")...), "is to be replaced, and [t-1~2 t-1~3] wait"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Lines(x.events, "t")
			if x.want == "" && len(got) > 0 || x.want != "" && (len(got) == 0 || !strings.Contains(got[0].What, x.want)) {
				t.Errorf("found %v; want %q", got, x.want)
			}
		})
	}
}

// What was queued is what an acknowledged start has left, whether or not it is started ever.
func TestAQueuedStartIsInTheFeed(t *testing.T) {
	op := &Op{Kind: "start", Instance: "t-1~2", Outcome: OK}
	if got := Answers([]*Op{op}, []Event{{Position: 1, Type: "instance.queued", Instance: "t-1~2"}}); len(got) > 0 {
		t.Errorf("found %v", got)
	}
	if got := Answers([]*Op{op}, []Event{{Position: 1, Type: "instance.queued", Instance: "t-1~3"}}); len(got) == 0 {
		t.Error("an acknowledged start is not missed")
	}
}
