package model

import "testing"

// lined is a start of the id i, and what it did.
func lined(on, start string, a Answer, facts ...Fact) Entry {
	return one(Command{Kind: Start, Workflow: "w", Instance: "i", Conflict: on, StartID: start, Answer: a}, facts...)
}

func lineUp(id string) Fact {
	return Fact{Kind: "instance.queued", Workflow: "w", Instance: id, Name: "i"}
}

func goesOn(id string) []Fact {
	name := "i"
	if id == name {
		name = ""
	}
	return []Fact{{Kind: "instance.started", Workflow: "w", Instance: id, Name: name}, {Kind: "step.ready", Instance: id, Step: "a"}}
}

func stops(id, code string) []Fact {
	return []Fact{{Kind: "instance.cancelling", Instance: id, Code: code}, {Kind: "step.cancelled", Instance: id, Step: "a"}, {Kind: "instance.cancelled", Instance: id, Code: code}}
}

func together(lists ...[]Fact) (all []Fact) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// queued has i run, and i~2 and i~3 wait.
func queued(t *testing.T) *told {
	h := tell(t, flow(Step{Name: "a"}))
	h.good(lined(QueuesBehind, "1", Answer{Instance: "i", State: Running}, goesOn("i")...))
	h.good(lined(QueuesBehind, "2", Answer{Instance: "i~2", State: InQueue, Place: 1}, lineUp("i~2")))
	h.good(lined(QueuesBehind, "3", Answer{Instance: "i~3", State: InQueue, Place: 2}, lineUp("i~3")))
	return h
}

func cancels(id string, facts ...[]Fact) Entry {
	return one(Command{Kind: Cancel, Instance: id, Answer: Answer{State: Cancelled}}, together(facts...)...)
}

func TestStartsQueue(t *testing.T) {
	h := queued(t)
	h.good(lined(QueuesBehind, "2", Answer{Instance: "i~2", State: InQueue, Place: 1, Existing: true}))
	h.good(cancels("i", stops("i", ""), goesOn("i~2")))
	h.good(lined(QueuesBehind, "2", Answer{Instance: "i~2", State: Running, Existing: true}))
	h.good(cancels("i~3", stops("i~3", "")))
	h.good(cancels("i~2", stops("i~2", "")))
	h.good(lined(QueuesBehind, "4", Answer{Instance: "i~4", State: Running}, goesOn("i~4")...))

	queued(t).bad("liveness", "2 wait for the id i", cancels("i", stops("i", "")))
	queued(t).bad("S5", "the first of those that wait is i~2", cancels("i", stops("i", ""), goesOn("i~3")))
	queued(t).bad("S5", "under an id that i has", lined(QueuesBehind, "4", Answer{Instance: "i~4", State: Running}, goesOn("i~4")...))
	queued(t).bad("S5", "i has its id", ticks(goesOn("i~2")...))
	queued(t).bad("S5", "is queued by", lined(QueuesBehind, "4", Answer{Instance: "i~5", State: InQueue, Place: 3}, lineUp("i~5")))
	queued(t).bad("S4", "at place 3", lined(QueuesBehind, "4", Answer{Instance: "i~4", State: InQueue, Place: 1}, lineUp("i~4")))
	queued(t).bad("S5", "finds i~2", lined(QueuesBehind, "2", Answer{Instance: "i~2", State: InQueue, Place: 1}))
	queued(t).bad("S5", "there is no instance i~4", lined(QueuesBehind, "4", Answer{Instance: "i~4", State: InQueue, Place: 3}))
	queued(t).bad("S1", "becomes ready", ticks(Fact{Kind: "step.ready", Instance: "i~2", Step: "a"}))
	queued(t).bad("S2", "must be done", lined(QueuesBehind, "4", Answer{Code: "OVERLOADED"}))
}

func TestStartsReplace(t *testing.T) {
	takes := func(facts ...[]Fact) Entry {
		return lined(TakesIt, "4", Answer{Instance: "i~4", State: Running}, together(facts...)...)
	}
	line := []Fact{lineUp("i~4")}
	queued(t).good(takes(stops("i~2", "REPLACED"), stops("i~3", "REPLACED"), line, stops("i", "REPLACED"), goesOn("i~4")))
	queued(t).bad("S4", "and 1 others", takes(stops("i~2", "REPLACED"), line))
	queued(t).bad("S1", "instance.cancelling of i", takes(stops("i", "REPLACED")))
	queued(t).bad("S1", "instance.cancelling of i~2", takes(stops("i~2", "")))
	queued(t).bad("S4", "is to take the id of i", lined(TakesIt, "4", Answer{Instance: "i~4", State: InQueue, Place: 1},
		together(stops("i~2", "REPLACED"), stops("i~3", "REPLACED"), line)...))
}

func TestStartsFindOrFail(t *testing.T) {
	h := queued(t)
	h.good(lined(FindsIt, "", Answer{Instance: "i", State: Running, Existing: true}))
	h.good(lined(FindsIt, "9", Answer{Instance: "i", State: Running, Existing: true}))
	h.good(lined(FailsByIt, "", Answer{Code: "INSTANCE_EXISTS"}))
	h.good(lined(FailsByIt, "9", Answer{Code: "INSTANCE_EXISTS"}))
	h.good(lined(FailsByIt, "1", Answer{Instance: "i", State: Running, Existing: true}))
	h.bad("S5", "INSTANCE_EXISTS", lined(FailsByIt, "", Answer{Instance: "i", State: Running, Existing: true}))
	queued(t).bad("S4", "it is i, RUNNING", lined(FindsIt, "", Answer{Instance: "i~2", State: Running, Existing: true}))

	h = tell(t, flow(Step{Name: "a"}))
	h.good(lined(FailsByIt, "", Answer{Instance: "i", State: Running}, goesOn("i")...))
	h.good(cancels("i", stops("i", "")))
	h.good(lined(FailsByIt, "", Answer{Code: "INSTANCE_EXISTS"}))
	h.good(lined(FindsIt, "", Answer{Instance: "i", State: Cancelled, Existing: true}))
	h.good(lined(FailsByIt, "2", Answer{Instance: "i~2", State: Running}, goesOn("i~2")...))
	h.good(lined(FindsIt, "3", Answer{Instance: "i~2", State: Running, Existing: true}))
}
