package model

import "testing"

// comer begins an instance that waits at a barrier.
func comer(id string, parties int32) Entry {
	flow := map[int32]string{2: "two", 3: "three"}[parties]
	return one(Command{Kind: Start, Workflow: flow, Instance: id, Answer: Answer{State: Running}},
		Fact{Kind: "instance.started", Workflow: flow, Instance: id}, Fact{Kind: "step.waiting", Instance: id, Step: "m", Name: "b", Code: "BARRIER", Count: parties})
}

func passes(ids ...string) (facts []Fact) {
	facts = append(facts, Fact{Kind: "barrier.passed", Name: "b", Count: int32(len(ids))})
	for _, id := range ids {
		facts = append(facts, Fact{Kind: "step.completed", Instance: id, Step: "m"})
	}
	for _, id := range ids {
		facts = append(facts, Fact{Kind: "instance.completed", Instance: id})
	}
	return facts
}

func meeting(t *testing.T) *told {
	h := tell(t,
		Workflow{Name: "two", Steps: []Step{{Name: "m", Barrier: &Barrier{Name: "b", Parties: 2}, Total: 60 * second}}},
		Workflow{Name: "three", Steps: []Step{{Name: "m", Barrier: &Barrier{Name: "b", Parties: 3}, Total: 60 * second}}})
	h.good(comer("i", 3))
	return h
}

func TestBarriers(t *testing.T) {
	meeting(t).bad("S1", "3 parties pass barrier b, where 1 wait", ticks(passes("i", "j", "k")...))
	meeting(t).bad("S1", "with 1 parties", ticks(passes("i")...))
	meeting(t).bad("S1", "without what it waits for", ticks(Fact{Kind: "step.completed", Instance: "i", Step: "m"}))

	h := meeting(t)
	h.good(comer("j", 3))
	h.bad("liveness", "3 parties wait at barrier b", comer("k", 3))

	h = meeting(t)
	h.good(comer("j", 3))
	h.good(comer("k", 3).and(passes("i", "j", "k")...))
	h.good(comer("i2", 3))

	h = meeting(t)
	h.good(comer("j", 3))
	all := passes("i", "j", "k")
	h.bad("liveness", "waits for what is there", comer("k", 3).and(all[0], all[1], all[2], all[4], all[5]))

	failed := []Fact{{Kind: "step.failed", Instance: "j", Step: "m", Code: "PARTIES_DIFFER"}, {Kind: "instance.failing", Instance: "j", Code: "PARTIES_DIFFER"}, {Kind: "instance.failed", Instance: "j", Code: "PARTIES_DIFFER"}}
	meeting(t).good(comer("j", 2).and(failed...))
	meeting(t).bad("liveness", "where others wait for 3", comer("j", 2))
	meeting(t).bad("S1", "lapses while", comer("j", 3).and(failed...))
}

// Who has left is no party, and another may say another number.
func TestAPartyLeaves(t *testing.T) {
	gone := func() []Fact {
		return []Fact{{Kind: "step.failed", Instance: "i", Step: "m", Code: "TIMEOUT_TOTAL"}, {Kind: "instance.failing", Instance: "i", Code: "TIMEOUT_TOTAL"}, {Kind: "instance.failed", Instance: "i", Code: "TIMEOUT_TOTAL"}}
	}
	meeting(t).bad("S6", "before its time", ticks(gone()...))
	h := meeting(t)
	h.elapsed = 60 * second
	h.good(ticks(gone()...))
	h.good(comer("j", 2))
	h.good(comer("k", 2).and(passes("j", "k")...))
}
