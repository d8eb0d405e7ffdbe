package check

// Calls checks what one instance does to another: what a step calls is started once, by that step; the step ends behind it, and as it
// did; an instance is undone, and ends, behind all that it called; a step that waits for another instance, or for a step of one, is
// completed behind that; and nobody waits for what is over. The workloads' calls are not detached, nor abandoned.
func Calls(events []Event) []Fact {
	c := calls{waits: map[step]*dependent{}, started: map[string]step{}, ends: map[step]Event{}, called: map[string][]string{}}
	for _, e := range events {
		c.see(e)
	}
	for _, run := range c.order {
		w := c.waits[run]
		if end, over := c.ends[w.on]; over && !w.over {
			c.f.add("liveness", "%s of %s waits for %s%s, which has %s at position %d", run.step, run.instance, w.on.instance, slash(w.on.step), end.Type, end.Position)
		}
	}
	return c.f.list
}

type calls struct {
	f       faults
	waits   map[step]*dependent // by run
	order   []step
	started map[string]step     // children: by whom
	called  map[string][]string // by instance, its children
	ends    map[step]Event      // of runs, and of instances, whose step is empty
}

// dependent is a run that waits for another instance, or for a step of it.
type dependent struct {
	on      step
	calls   bool
	failing bool
	over    bool
}

func (c *calls) see(e Event) {
	run := step{e.Instance, e.Step}
	switch e.Type {
	case "step.waiting":
		if e.Other != "" {
			c.waits[run] = &dependent{on: step{e.Other, e.OtherStep}, calls: e.Code == "CALL"}
			c.order = append(c.order, run)
		}
	case "instance.started":
		if e.Other != "" {
			c.start(e)
		}
	case "step.failing":
		if w := c.waits[run]; w != nil {
			w.failing = true
		}
	case "step.completed", "step.failed", "step.cancelled", "step.skipped":
		if w := c.waits[run]; w != nil {
			c.end(e, w)
		}
		c.ends[run] = e
	case "instance.compensating", "instance.completed", "instance.failed", "instance.cancelled":
		for _, child := range c.called[e.Instance] {
			if _, over := c.ends[step{instance: child}]; !over {
				c.f.add("saga", "position %d: %s of %s, and %s, which it called, has not ended", e.Position, e.Type, e.Instance, child)
			}
		}
		if e.Type != "instance.compensating" {
			c.ends[run] = e
		}
	}
}

func (c *calls) start(e Event) {
	by := step{e.Other, e.OtherStep}
	if w := c.waits[by]; w == nil || !w.calls || w.over || w.on.instance != e.Instance {
		c.f.add("S1", "position %d: %s is started by %s of %s, which does not call it", e.Position, e.Instance, e.OtherStep, e.Other)
	}
	if _, twice := c.started[e.Instance]; twice {
		c.f.add("S1", "position %d: %s is started again", e.Position, e.Instance)
	}
	c.started[e.Instance] = by
	c.called[e.Other] = append(c.called[e.Other], e.Instance)
}

// end sees the end of a run that waits: it is that of what it waits for, unless its time or its instance ended it.
func (c *calls) end(e Event, w *dependent) {
	w.over = true
	other, over := c.ends[w.on]
	well := over && (other.Type == "instance.completed" || other.Type == "step.completed")
	_, started := c.started[w.on.instance]
	wrong := false
	switch {
	case e.Type == "step.completed":
		wrong = !well
	case w.calls && started && (!over || well): // it has not ended, or ended well
		wrong = true
	case e.Type == "step.failed" && over && !w.failing && e.Code != "AWAIT_CYCLE" && e.Code != "TIMEOUT_TOTAL":
		wrong = well || other.Code != e.Code && e.Code != "CANCELLED"
	}
	if wrong {
		c.f.add("S1", "position %d: %s of %s, %s as %q, and %s%s, for which it waits, has %q as %q", e.Position, e.Step, e.Instance, e.Type, e.Code, w.on.instance, slash(w.on.step), other.Type, other.Code)
	}
}
