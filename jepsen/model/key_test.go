package model

import "testing"

var order = Key{"order", "7"}

// byKey is a signal by a key, and what it did.
func byKey(k Key, id string, a Answer, facts ...Fact) Entry {
	return one(Command{Kind: Signal, Key: k, Name: "g", Signal: id, TTL: 5 * second, Answer: a}, facts...)
}

func broadcast(id string, a Answer, facts ...Fact) Entry {
	e := byKey(order, id, a, facts...)
	e.Commands[0].Broadcast = true
	return e
}

func toldOf(how, id, instance string) Fact {
	return Fact{Kind: "signal." + how, Key: order, Name: "g", Code: id, Instance: instance}
}

func receives(i, id string) Fact {
	return Fact{Kind: "signal.received", Instance: i, Name: "g", Code: id}
}

// takes is that an instance is started with a key, takes signals that were kept, and waits for another.
func takes(i string, ids ...string) Entry {
	facts := []Fact{{Kind: "instance.started", Workflow: "w", Instance: i}}
	for _, id := range ids {
		f := receives(i, id)
		f.Key = order
		facts = append(facts, f)
	}
	e := one(Command{Kind: Start, Workflow: "w", Instance: i, Keys: []Key{order}, Answer: Answer{State: Running}}, append(facts, Fact{Kind: "step.ready", Instance: i, Step: "a"})...)
	return e
}

func TestSignalsFindWhoHasTheKey(t *testing.T) {
	has := func(t *testing.T, ids ...string) *told {
		h := tell(t, flow(Step{Name: "a"}, Step{Name: "s", Signal: "g", Needs: []string{"a"}}))
		for _, id := range ids {
			h.good(takes(id))
		}
		return h
	}
	sent := byKey(order, "1", Answer{Instance: "i"}, receives("i", "1"), toldOf("correlated", "1", "i"))
	h := has(t, "i")
	h.good(sent)
	h.good(byKey(order, "1", Answer{Instance: "i", Duplicate: true}))
	h.bad("S5", "told again", byKey(order, "1", Answer{Instance: "i"}, receives("i", "1"), toldOf("correlated", "1", "i")))
	h = has(t, "i")
	h.good(one(Command{Kind: Signal, Instance: "i", Name: "g", Signal: "1"}, receives("i", "1")))
	h.good(byKey(order, "1", Answer{Instance: "i", Duplicate: true}, toldOf("correlated", "1", "i")))
	h.good(byKey(order, "1", Answer{Instance: "i", Duplicate: true}))
	has(t, "i").bad("S4", "finds i", byKey(order, "1", Answer{}, receives("i", "1"), toldOf("correlated", "1", "i")))
	has(t, "i").bad("S4", "finds i", byKey(order, "1", Answer{Instance: "i", Delivered: true}, receives("i", "1"), toldOf("correlated", "1", "i")))
	has(t, "i").bad("S4", "finds i", byKey(order, "1", Answer{Instance: "i"}, receives("i", "1")))
	has(t, "i").bad("S4", "which i has", byKey(order, "1", Answer{}, toldOf("kept", "1", "")))
	has(t).bad("S4", "finds nobody", byKey(order, "1", Answer{}))
	has(t, "i", "j").good(byKey(order, "1", Answer{Code: "KEY_AMBIGUOUS"}))
	has(t, "i", "j").bad("S5", "KEY_AMBIGUOUS", byKey(order, "1", Answer{Instance: "i"}, receives("i", "1"), toldOf("correlated", "1", "i")))
	has(t, "i").good(byKey(Key{"order", "8"}, "1", Answer{}, Fact{Kind: "signal.kept", Key: Key{"order", "8"}, Name: "g", Code: "1"}))
	has(t, "i", "j").good(broadcast("1", Answer{Reached: 2}, receives("i", "1"), receives("j", "1"), toldOf("broadcast", "1", "")))
	has(t, "i", "j").bad("S4", "does not reach j", broadcast("1", Answer{Reached: 2}, receives("i", "1"), toldOf("broadcast", "1", "")))
	has(t, "i", "j").bad("S4", "is to reach 2", broadcast("1", Answer{Reached: 1}, receives("i", "1"), receives("j", "1"), toldOf("broadcast", "1", "")))
	h = has(t, "i", "j")
	h.good(one(Command{Kind: Signal, Instance: "j", Name: "g", Signal: "1"}, receives("j", "1")))
	h.good(broadcast("1", Answer{Reached: 1}, receives("i", "1"), toldOf("broadcast", "1", "")))
}

func TestSignalsAreKeptForWhoComes(t *testing.T) {
	kept := func(t *testing.T) *told {
		h := tell(t, flow(Step{Name: "a"}, Step{Name: "s", Signal: "g", Needs: []string{"a"}}))
		h.good(byKey(order, "1", Answer{}, toldOf("kept", "1", "")))
		h.good(byKey(order, "2", Answer{}, toldOf("kept", "2", "")))
		return h
	}
	h := kept(t)
	h.good(byKey(order, "1", Answer{Duplicate: true}))
	h.good(takes("i", "1", "2"))
	h.good(byKey(order, "1", Answer{Duplicate: true, Instance: "i"}))
	h.good(takes("j"))
	kept(t).bad("S4", "leaves signal 2", takes("i", "1"))
	kept(t).bad("S4", "before the older", takes("i", "2", "1"))
	kept(t).bad("S5", "is received", takes("i", "1", "1"))
	h = kept(t)
	h.good(takes("i", "1", "2"))
	h.bad("S1", "kept under", takes("j", "1"))

	expired := func(id string) Fact { return toldOf("expired", id, "") }
	h = kept(t)
	h.elapsed = 5 * second
	h.good(ticks(expired("1"), expired("2")))
	h.good(takes("i"))
	h = kept(t)
	h.elapsed = 5*second - 1
	h.bad("S6", "expires", ticks(expired("1")))
	h = kept(t)
	h.elapsed = 5 * second
	h.bad("liveness", "beyond its time", ticks(expired("1")))
	h = kept(t)
	h.good(takes("i", "1", "2"))
	h.elapsed = 5 * second
	h.good(ticks())
	h.good(byKey(order, "1", Answer{Instance: "i"}, receives("i", "1"), toldOf("correlated", "1", "i"))) // another one by now
}
