package check

// Signals checks that a signal is applied once, however often it was told: an instance receives it once, and one step gets it, which
// waits for its name; and that a step that waits is completed by a signal alone. waits are the names that steps wait for, by
// the first word of an instance's name and the step.
func Signals(events []Event, waits map[string]string) []Fact {
	var f faults
	type signal struct{ instance, id string }
	received, delivered, heard := map[signal]string{}, map[signal]bool{}, map[step]bool{}
	for _, e := range events {
		told, run := signal{e.Instance, e.Signal}, step{e.Instance, e.Step}
		name, wait := waits[first(e.Instance)+"/"+e.Step]
		switch e.Type {
		case "signal.received":
			if _, again := received[told]; again {
				f.add("S5", "position %d: %s receives signal %s again", e.Position, e.Instance, e.Signal)
			}
			received[told] = e.Name
		case "signal.delivered":
			switch {
			case received[told] == "":
				f.add("S5", "position %d: %s of %s gets signal %s, which the instance did not receive", e.Position, e.Step, e.Instance, e.Signal)
			case delivered[told]:
				f.add("S5", "position %d: %s of %s gets signal %s, which was delivered before", e.Position, e.Step, e.Instance, e.Signal)
			case name != received[told]:
				f.add("S5", "position %d: %s of %s gets signal %s, whose name is %s, and waits for %q", e.Position, e.Step, e.Instance, e.Signal, received[told], name)
			case heard[run]:
				f.add("S5", "position %d: %s of %s gets signal %s, and had one", e.Position, e.Step, e.Instance, e.Signal)
			}
			delivered[told], heard[run] = true, true
		case "step.completed":
			if wait && !heard[run] {
				f.add("S5", "position %d: %s of %s is completed without a signal", e.Position, e.Step, e.Instance)
			}
		}
	}
	return f.list
}
