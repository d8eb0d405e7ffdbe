package check

import "slices"

// Stale checks what stale reads saw against the age that they said (the API's promise of lockstep-stale-ms): everything
// that was acknowledged before the read was asked, less that age, and nothing that never happened.
func Stale(ops []*Op, events []Event) []Fact {
	var f faults
	happened := map[step]bool{}
	for _, e := range events {
		if e.Type == "step.completed" {
			happened[step{e.Instance, e.Step}] = true
		}
	}
	completed := map[string][]*Op{}
	for _, op := range ops {
		if op.Kind == "complete" && op.Outcome == OK {
			completed[op.Instance] = append(completed[op.Instance], op)
		}
	}
	for _, read := range ops {
		if read.Kind != "stale" || read.Outcome != OK {
			continue
		}
		for _, seen := range read.Seen {
			if !happened[step{read.Instance, seen}] {
				f.add("S3", "a stale read of %s at %s saw %s completed, which the feed does not have", read.Instance, read.Return, seen)
			}
		}
		for _, c := range completed[read.Instance] {
			if c.Return < read.Invoke-read.Age && !slices.Contains(read.Seen, c.Step) {
				f.add("stale reads", "a read of %s, asked at %s, said that it is %s old at most, and did not see the completion of %s that was acknowledged at %s, %s before it was asked",
					read.Instance, read.Invoke, read.Age, c.Step, c.Return, read.Invoke-c.Return)
			}
		}
	}
	return f.list
}
