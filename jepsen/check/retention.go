package check

import "time"

// Exported is a finished instance as an export has it.
type Exported struct {
	Instance string
	Position int64 // of the event that told its end
	State    string
	Events   int
}

// Kept is what a namespace says it keeps, and what is left in the end: removal was told to stop before that was read.
type Kept struct {
	Finished time.Duration
	Exported []Exported
	There    map[string]string // the state of each instance that is there
}

// Retention checks a namespace whose finished instances are removed once they are exported: what goes had ended, in the order of ends, was kept
// for long enough, and is in the export with its end; what lives stays, and what was not removed. An id can have been that of several, one after the
// other. It says how many were removed.
func Retention(events []Event, k Kept) (removed int, facts []Fact) {
	c := retention{k: k, now: map[string]*kept{}, exported: map[Exported]bool{}}
	for _, x := range k.Exported {
		if x.Events < 2 {
			c.f.add("retention", "the export has %s, which ended at position %d, with %d events of its history", x.Instance, x.Position, x.Events)
		}
		c.exported[Exported{Instance: x.Instance, Position: x.Position, State: x.State}] = true
	}
	for _, e := range events {
		c.see(e)
	}
	c.left()
	return c.removed, c.f.list
}

// kept is an instance from its start on.
type kept struct {
	id       string
	end      int64 // the position of its end; zero while it lives
	wall     int64 // of that
	state    string
	gone     bool
	position int64 // of its start
}

type retention struct {
	f        faults
	k        Kept
	now      map[string]*kept // by id, the newest
	ended    []*kept          // that are there, in the order of their ends
	exported map[Exported]bool
	removed  int
}

func (c *retention) see(e Event) {
	switch e.Type {
	case "instance.started":
		if s := c.now[e.Instance]; s != nil && !s.gone {
			c.f.add("S5", "position %d: %s is started, and was at %d", e.Position, e.Instance, s.position)
		}
		c.now[e.Instance] = &kept{id: e.Instance, position: e.Position}
	case "instance.completed", "instance.failed", "instance.cancelled":
		s := c.now[e.Instance]
		if s == nil || s.end > 0 {
			c.f.add("S1", "position %d: %s ends, which does not live", e.Position, e.Instance)
			return
		}
		s.end, s.wall, s.state = e.Position, e.Wall, e.Type[len("instance."):]
		c.ended = append(c.ended, s)
	case "retention.removed":
		c.remove(e)
	}
}

func (c *retention) remove(e Event) {
	n := 0
	for ; n < len(c.ended) && c.ended[n].end <= e.Through; n++ {
		s := c.ended[n]
		s.gone = true
		if !c.exported[Exported{Instance: s.id, Position: s.end, State: s.state}] {
			c.f.add("retention", "position %d: %s is removed, which ended at %d as %s, and no export has it so", e.Position, s.id, s.end, s.state)
		}
		if kept := time.Duration(e.Wall - s.wall); kept < c.k.Finished {
			c.f.add("retention", "position %d: %s is removed %s behind its end, and is to be kept for %s", e.Position, s.id, kept, c.k.Finished)
		}
	}
	c.ended = c.ended[n:]
	if c.removed += n; int64(n) != e.Count {
		c.f.add("retention", "position %d: %d instances are removed up to position %d, and %d had ended", e.Position, e.Count, e.Through, n)
	}
}

// left compares what is there in the end.
func (c *retention) left() {
	for id, s := range c.now {
		state, there := c.k.There[id]
		switch {
		case s.gone && there:
			c.f.add("retention", "%s is there, and was removed", id)
		case !s.gone && !there:
			c.f.add("retention", "%s is not there, and was not removed; it has ended: %v", id, s.end > 0)
		case !s.gone && s.end > 0 && state != s.state:
			c.f.add("S3", "%s is %s, and ended as %s", id, state, s.state)
		case !s.gone && s.end == 0 && state != "running":
			c.f.add("S3", "%s is %s, and has not ended", id, state)
		}
	}
	for id := range c.k.There {
		if c.now[id] == nil {
			c.f.add("S3", "%s is there, and was never started", id)
		}
	}
}
