package check

import "testing"

func TestHolds(t *testing.T) {
	granted := func(instance string, token int64) Event {
		return Event{Type: "lock.granted", Instance: instance, Lock: "x", Token: token}
	}
	held, freed := granted("i", 1), granted("i", 1)
	held.Type, freed.Type = "lock.held", "lock.freed"
	over := Event{Type: "instance.failed", Instance: "i"}
	shared := func(e Event) Event { e.Shared = true; return e }
	for name, x := range map[string]struct {
		events []Event
		broken int
	}{
		"one after the other":    {[]Event{granted("i", 1), held, granted("i", 2), over, freed, granted("j", 3)}, 0},
		"another in between":     {[]Event{granted("i", 1), held, granted("j", 2), over, freed}, 1},
		"a session in between":   {[]Event{granted("i", 1), held, granted("", 2), over, freed}, 1},
		"a share beside a share": {[]Event{shared(granted("i", 1)), shared(held), shared(granted("j", 2)), over, freed}, 0},
		"all beside a share":     {[]Event{shared(granted("i", 1)), shared(held), granted("j", 2), over, freed}, 1},
		"freed too early":        {[]Event{granted("i", 1), held, freed, over}, 1},
		"never freed":            {[]Event{granted("i", 1), held, over}, 1},
		"not granted":            {[]Event{granted("i", 2), held}, 1},
		"freed and not held":     {[]Event{granted("i", 1), over, freed}, 1},
		"held to the end":        {[]Event{granted("i", 1), held}, 0},
	} {
		if got := Holds(x.events); len(got) != x.broken {
			t.Errorf("%s: %v", name, got)
		}
	}
}
