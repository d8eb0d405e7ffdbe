package check

import (
	"strings"
	"testing"
)

// What a bulk operation leaves out, does twice, or does to others, is found, and so is what it tells wrong.
func TestBulks(t *testing.T) {
	feed := func(lines ...string) (events []Event) {
		for n, line := range lines {
			w := strings.Fields(line)
			e := Event{Position: int64(n + 1), Type: w[0]}
			switch {
			case w[0] == "bulk.applied":
				e.Bulk, e.Other, e.Changed = "b", w[1], 1
			case w[0] == "bulk.completed":
				e.Bulk, e.Count, e.Changed = "b", int64(len(w[1])), int64(len(w[1]))
			case strings.HasPrefix(w[0], "bulk."):
				e.Bulk = "b"
			default:
				if e.Instance = w[1]; len(w) > 2 {
					e.Bulk = w[2]
				}
			}
			events = append(events, e)
		}
		return events
	}
	for name, c := range map[string]struct {
		want  string
		lines []string
	}{
		"all is well":    {"", []string{"instance.started c1", "instance.started c2", "instance.started d1", "bulk.started", "instance.started c3", "instance.paused c1 b", "bulk.applied c1", "bulk.applied c2", "bulk.completed xx"}},
		"one left out":   {"did not come to c2", []string{"instance.started c1", "instance.started c2", "bulk.started", "bulk.applied c1", "bulk.completed x"}},
		"one twice":      {"to which it came at 3", []string{"instance.started c1", "bulk.started", "bulk.applied c1", "bulk.applied c1", "bulk.completed xx"}},
		"one behind it":  {"which started at 2", []string{"bulk.started", "instance.started c1", "bulk.applied c1", "bulk.completed x"}},
		"another":        {"comes to d1", []string{"instance.started d1", "bulk.started", "bulk.applied d1", "bulk.completed x"}},
		"told wrong":     {"it came to 1", []string{"instance.started c1", "bulk.started", "bulk.applied c1", "bulk.completed xx"}},
		"without an end": {"does not end", []string{"bulk.started"}},
		"behind its end": {"does not run", []string{"instance.started c1", "bulk.started", "bulk.applied c1", "bulk.completed x", "instance.paused c1 b"}},
		"ended before":   {"", []string{"instance.started c1", "instance.cancelled c1", "bulk.started", "bulk.completed "}},
		"cancelled":      {"", []string{"instance.started c1", "bulk.started", "bulk.cancelled"}},
	} {
		if name == "ended before" {
			c.lines[3] = "bulk.cancelled"
		}
		facts := Bulks(feed(c.lines...), func(string) string { return "c" })
		var said []string
		for _, f := range facts {
			said = append(said, f.What)
		}
		if got := strings.Join(said, "; "); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q; want %q", name, got, c.want)
		}
	}
}
