package check

// byHand says that an event tells of what an operator did.
func (e *Event) byHand() bool {
	switch e.Type {
	case "instance.paused", "instance.resumed", "step.resumed", "step.resolved", "step.updated":
		return true
	}
	return e.Type == "step.skipped" && e.Code == "SKIPPED_BY_HAND"
}

// Operators checks what follows from what operators do. Of an instance that is paused nothing is leased, nothing begins to wait, and nothing
// is skipped by itself, until it is resumed. What is completed by hand is so at once, under the token that the operator is told, and what is
// to fail fails; what is skipped by hand is held by nobody; and nothing happens to a run behind that.
func Operators(ops []*Op, events []Event) []Fact {
	var f faults
	o := operators{f: &f, paused: map[string]bool{}, last: map[step]Event{}}
	accepted := map[step]int64{}
	for _, e := range events {
		o.see(e)
		if e.Type == "step.completed" {
			accepted[step{e.Instance, e.Step}] = e.Token
		}
	}
	for _, op := range ops {
		if got := accepted[step{op.Instance, op.Step}]; op.Kind == "resolve" && op.Outcome == OK && op.Token != 0 && got != op.Token {
			f.add("S1", "an operator was told that %s/%s is completed by hand under token %d; the feed has token %d", op.Instance, op.Step, op.Token, got)
		}
	}
	return f.list
}

type operators struct {
	f      *faults
	paused map[string]bool
	last   map[step]Event // of each run
}

func (o *operators) see(e Event) {
	switch e.Type {
	case "instance.paused", "instance.resumed":
		if pauses := e.Type == "instance.paused"; o.paused[e.Instance] == pauses {
			o.f.add("S4", "position %d: %s of %s, which is so already", e.Position, e.Type, e.Instance)
		}
		o.paused[e.Instance] = e.Type == "instance.paused"
	}
	if e.Step == "" {
		return
	}
	run := step{e.Instance, e.Step}
	last := o.last[run]
	if o.paused[e.Instance] && (e.Type == "step.leased" || e.Type == "step.waiting" || e.Type == "step.skipped" && e.Code == "") {
		o.f.add("S1", "position %d: %s of %s of %s, which is paused", e.Position, e.Type, e.Step, e.Instance)
	}
	switch {
	case last.Type == "step.resolved" && last.Code == "" && (e.Type != "step.completed" || e.Token != last.Token),
		last.Type == "step.resolved" && last.Code != "" && (e.Type != "step.failed" || e.Code != last.Code):
		o.f.add("S1", "position %d: %s(%s) of %s of %s under token %d behind its end by hand at %d", e.Position, e.Type, e.Code, e.Step, e.Instance, e.Token, last.Position)
	case last.byHand() && last.Type == "step.skipped" && e.Type != "step.late":
		o.f.add("S1", "position %d: %s of %s of %s, which was skipped by hand at %d", e.Position, e.Type, e.Step, e.Instance, last.Position)
	case e.byHand() && e.Type == "step.skipped" && (last.Type == "step.leased" || last.Type == "step.progressed"):
		o.f.add("S1", "position %d: %s of %s is skipped by hand while token %d holds it", e.Position, e.Step, e.Instance, last.Token)
	}
	o.last[run] = e
}
