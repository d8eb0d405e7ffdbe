package check

import (
	"strings"
	"testing"
)

func TestAwaitKeys(t *testing.T) {
	waits := Event{Type: "step.waiting", Instance: "i", Step: "w", Code: "KEY", Key: "lot=1", OtherStep: "open", Count: 2}
	opens := func(id string) []Event {
		return []Event{of(id, "step.completed", "open"), {Type: "instance.keyed", Instance: id, Step: "open", Key: "lot=1"}}
	}
	goes := func(ids ...string) Event {
		return Event{Type: "step.completed", Instance: "i", Step: "w", Instances: ids}
	}
	feed := func(groups ...[]Event) (all []Event) {
		for _, g := range groups {
			all = append(all, g...)
		}
		return calledFeed(all...)
	}
	one := func(e Event) []Event { return []Event{e} }
	for name, x := range map[string]struct {
		events []Event
		want   string
	}{
		"it goes on":            {feed(one(waits), opens("a"), opens("b"), one(goes("a", "b"))), ""},
		"they were there":       {feed(opens("a"), opens("b"), one(waits), one(goes("a", "b"))), ""},
		"it gives up":           {feed(one(waits), opens("a"), one(of("i", "step.failed", "w", "TIMEOUT_TOTAL")), opens("b")), ""},
		"itself does not count": {feed(one(waits), opens("i"), opens("a")), ""},
		"it is left":            {feed(one(waits), opens("a"), opens("b")), "waits for 2 with the key lot=1"},
		"too early":             {feed(one(waits), opens("a"), one(goes("a", "b")), opens("b")), "1 have completed"},
		"one counts twice":      {feed(one(waits), opens("a"), opens("b"), one(goes("a", "a"))), "goes on with [a a]"},
		"with itself":           {feed(one(waits), opens("a"), opens("b"), opens("i"), one(goes("a", "i"))), "goes on with [a i]"},
		"too few":               {feed(one(waits), opens("a"), opens("b"), one(goes("a"))), "goes on with [a]"},
		"one without the key":   {feed(one(waits), opens("a"), opens("b"), one(of("c", "step.completed", "open")), one(goes("a", "c"))), "goes on with [a c]"},
	} {
		got := ""
		for _, f := range AwaitKeys(x.events) {
			got += f.What + "; "
		}
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: found %q; want %q", name, got, x.want)
		}
	}
}
