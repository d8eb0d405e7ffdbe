package check

import (
	"slices"
	"strings"
)

// Lines checks the starts of ids, by the first word of an instance's name: of those of an id one lives at a time. What waits begins nothing, and
// starts when that has ended, in the order in which it came; nothing starts past it, and nobody waits for nobody. The one that has the id is
// cancelled for another only when that waits, and then nothing else does.
func Lines(events []Event, word string) []Fact {
	c := lines{live: map[string]string{}, queued: map[string][]string{}, over: map[string]bool{}}
	for _, e := range events {
		if e.Instance != "" && first(e.Instance) == word {
			c.see(e)
		}
	}
	for id, waiting := range c.queued {
		if len(waiting) > 0 && c.live[id] == "" {
			c.f.add("liveness", "%s wait for the id %s at the end, and nobody has it", strings.Join(waiting, ", "), id)
		}
	}
	return c.f.list
}

type lines struct {
	f      faults
	live   map[string]string   // by id, who has it
	queued map[string][]string // and who waits for it
	over   map[string]bool     // instances
}

func (c *lines) see(e Event) {
	id, _, _ := strings.Cut(e.Instance, "~")
	waits := slices.Index(c.queued[id], e.Instance)
	switch e.Type {
	case "instance.queued":
		if c.live[id] == "" || waits >= 0 || c.over[e.Instance] || c.live[id] == e.Instance {
			c.f.add("S5", "position %d: %s waits for the id of %q, which has it", e.Position, e.Instance, c.live[id])
		}
		c.queued[id] = append(c.queued[id], e.Instance)
	case "instance.started":
		c.start(e, id, waits)
	case "instance.cancelling":
		if e.Code == "REPLACED" && c.live[id] == e.Instance && len(c.queued[id]) != 1 {
			c.f.add("S4", "position %d: %s is to be replaced, and %v wait", e.Position, e.Instance, c.queued[id])
		}
	case "instance.completed", "instance.failed", "instance.cancelled":
		if c.over[e.Instance] = true; waits >= 0 {
			c.queued[id] = slices.Delete(c.queued[id], waits, waits+1)
		} else if c.live[id] == e.Instance {
			c.live[id] = ""
		}
	case "step.ready", "step.leased", "step.completed":
		if waits >= 0 {
			c.f.add("S1", "position %d: %s of %s, which waits for its id", e.Position, e.Type, e.Instance)
		}
	}
}

func (c *lines) start(e Event, id string, waits int) {
	switch {
	case c.over[e.Instance] || c.live[id] != "":
		c.f.add("S5", "position %d: %s starts while %q has its id", e.Position, e.Instance, c.live[id])
	case waits != 0 && len(c.queued[id]) > 0:
		c.f.add("S5", "position %d: %s starts before %s, which waited for the id", e.Position, e.Instance, c.queued[id][0])
	}
	if waits >= 0 {
		c.queued[id] = slices.Delete(c.queued[id], waits, waits+1)
	}
	c.live[id] = e.Instance
}
