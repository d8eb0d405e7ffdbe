package check

// Touch is an instance that a plan is about, and the position of its newest event when the plan was made.
type Touch struct {
	Instance string `json:"instance"`
	Position int64  `json:"position"`
}

// Plans checks what follows from plans. Each is applied once; what is settled is so by a plan that was applied, in the same moment; and none
// that was applied is about an instance of which anything was told between when it was made and then.
func Plans(ops []*Op, events []Event) []Fact {
	var f faults
	applied, of := map[string]int64{}, map[string][]int64{}
	var plan string // which is being applied
	for _, e := range events {
		if e.Instance != "" {
			of[e.Instance] = append(of[e.Instance], e.Position)
		}
		switch e.Type {
		case "plan.applied":
			if at := applied[e.Plan]; at > 0 {
				f.add("S5", "position %d: plan %s is applied, as it was at %d", e.Position, e.Plan, at)
			}
			applied[e.Plan], plan = e.Position, e.Plan
		case "drift.settled", "drift.raised":
			if e.Plan != plan {
				f.add("S4", "position %d: drift of %s of %s is settled by plan %s; the one that was applied last is %s", e.Position, e.Step, e.Instance, e.Plan, plan)
			}
		}
	}
	for _, op := range ops {
		at := applied[op.Plan]
		if op.Kind != "apply" || at == 0 {
			continue
		}
		for _, t := range op.Touches {
			for _, position := range of[t.Instance] {
				if position > t.Position && position < at {
					f.add("S4", "plan %s was made when %s was at %d, and is applied at %d; at %d it had moved", op.Plan, t.Instance, t.Position, at, position)
					break
				}
			}
		}
	}
	return f.list
}
