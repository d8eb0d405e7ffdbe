package model

import "testing"

// crowd has i, j and k run, started in this order, and a bulk operation that is to pause them.
func crowd(t *testing.T) *told {
	h := tell(t, flow(Step{Name: "a", Queue: "q", Attempts: 1}))
	for n, id := range []string{"k", "j", "i"} {
		h.wall = int64(n+1) * second
		h.good(one(Command{Kind: Start, Workflow: "w", Instance: id, Answer: Answer{State: Running}},
			Fact{Kind: "instance.started", Workflow: "w", Instance: id}, Fact{Kind: "step.ready", Instance: id, Step: "a"}))
	}
	h.good(one(Command{Kind: Bulk, Bulk: "b", Plans: BulkPlan{Act: Halt, Filter: Filter{Workflow: "w"}}}, Fact{Kind: "bulk.started", Bulk: "b"}))
	return h
}

// slice is a slice of it, that ends at an instance which was started then.
func slice(last string, at int64, counts [3]int64, facts ...Fact) Entry {
	facts = append(facts, Fact{Kind: "bulk.advanced", Bulk: "b", Other: last, Due: at * second, Count: int32(counts[0]), Changed: counts[1], Refused: counts[2]})
	return one(Command{Kind: Advance, Answer: Answer{Bulk: "b"}}, facts...)
}

// applied are the facts of an instance that it pauses.
func applied(id string) []Fact {
	return []Fact{{Kind: "instance.paused", Instance: id, Bulk: "b"}, {Kind: "bulk.applied", Bulk: "b", Other: id, Changed: 1}}
}

func bulkEnd(matched int32) Fact {
	return Fact{Kind: "bulk.completed", Bulk: "b", Count: matched, Changed: int64(matched)}
}

// A bulk operation comes to each once, in the order of starts, and to all; what it does to each is as by a command of its own.
func TestABulkOperationComesToEachOnce(t *testing.T) {
	h := crowd(t)
	h.good(slice("j", 2, [3]int64{2, 2, 0}, append(applied("k"), applied("j")...)...))
	end := slice("i", 3, [3]int64{1, 1, 0}, applied("i")...)
	end.Facts = append(end.Facts, bulkEnd(3))
	end.Facts[len(end.Facts)-1].Ordinal = 1
	h.good(end)
	if matched, changed, refused, runs := h.s.BulkCame("b"); matched != 3 || changed != 3 || refused != 0 || runs {
		t.Errorf("it came to %d, %d, %d, and runs: %v", matched, changed, refused, runs)
	}

	crowd(t).bad("S4", "did not come to k", slice("j", 2, [3]int64{1, 1, 0}, applied("j")...))
	crowd(t).bad("S4", "did not come to j", slice("j", 2, [3]int64{1, 1, 0}, applied("k")...))
	crowd(t).bad("S4", "tells bulk operation \"\"", slice("k", 1, [3]int64{1, 1, 0}, Fact{Kind: "instance.paused", Instance: "k"}, Fact{Kind: "bulk.applied", Bulk: "b", Other: "k", Changed: 1}))
	crowd(t).bad("S4", "a slice", slice("k", 1, [3]int64{2, 1, 0}, applied("k")...))
	crowd(t).bad("S4", "paused: false", slice("k", 1, [3]int64{1, 1, 0}, Fact{Kind: "bulk.applied", Bulk: "b", Other: "k", Changed: 1}))
	crowd(t).bad("S2", "ALREADY_ENDED", slice("k", 1, [3]int64{1, 0, 1}, Fact{Kind: "bulk.applied", Bulk: "b", Other: "k", Refused: 1, Code: "ALREADY_ENDED"}))
	crowd(t).bad("S4", "goes on", one(Command{Kind: Advance}))

	h = crowd(t)
	h.good(slice("k", 1, [3]int64{1, 1, 0}, applied("k")...))
	h.bad("S4", "comes to k", slice("k", 1, [3]int64{1, 0, 0}, Fact{Kind: "bulk.applied", Bulk: "b", Other: "k"}))

	h = crowd(t)
	h.wall = 4 * second
	h.good(one(Command{Kind: Start, Workflow: "w", Instance: "l", Answer: Answer{State: Running}},
		Fact{Kind: "instance.started", Workflow: "w", Instance: "l"}, Fact{Kind: "step.ready", Instance: "l", Step: "a"}))
	h.bad("S4", "comes to l", slice("l", 4, [3]int64{1, 1, 0}, applied("l")...))

	h = crowd(t)
	h.good(slice("k", 1, [3]int64{1, 1, 0}, applied("k")...))
	e := slice("k", 1, [3]int64{})
	e.Facts[0] = bulkEnd(1)
	e.Facts[0].Ordinal = 1
	h.bad("S4", "did not come to", e)
}
