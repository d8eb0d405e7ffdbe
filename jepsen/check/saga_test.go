package check

import "testing"

var (
	// a diamond, and a step behind it without a compensation
	sagaNeeds = map[string][]string{"saga/a": nil, "saga/b": {"a"}, "saga/c": {"a"}, "saga/plain": {"b"}, "saga/d": {"plain", "c"}, "saga/e": {"d"}, "row/a": nil, "row/b": nil, "row/c": {"a"}}
	testSagas = map[string]Saga{"saga": {Undo: []string{"a", "b", "c", "d", "e"}, Attempts: 3}, "row": {Undo: []string{"a", "b", "c"}, Sequential: true, Attempts: 3}}
)

// tell makes a feed of "kind step" by kind and step, of an instance.
func tell(instance string, all ...[2]string) (events []Event) {
	for at, e := range all {
		events = append(events, Event{Position: int64(at) + 1, Type: e[0], Instance: instance, Step: e[1]})
	}
	return events
}

// runs are the events of steps that are leased and completed, one after the other.
func runs(steps ...string) (out [][2]string) {
	for _, s := range steps {
		out = append(out, [2]string{"step.leased", s}, [2]string{"step.completed", s})
	}
	return out
}

func stops(how string, more ...[2]string) [][2]string {
	return append([][2]string{{"instance." + how}, {"instance.compensating"}}, more...)
}

func history(parts ...[][2]string) (out [][2]string) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

var (
	done    = runs("a", "b", "c", "plain", "d")
	begun   = [][2]string{{"step.leased", "e"}, {"step.failed", "e"}}
	failing = stops("failing", [2]string{"step.ready", "d.compensate"})
	end     = [][2]string{{"instance.failed"}}
	usedUp  = [][2]string{{"step.lapsed", "a.compensate"}, {"step.retried", "a.compensate"}, {"step.incident", "a.compensate"}}
)

func TestSagasAsTheyShouldBe(t *testing.T) {
	for name, x := range map[string]struct {
		instance string
		all      [][2]string
	}{
		"it fails":          {"saga-1", history(done, begun, failing, runs("d.compensate", "c.compensate", "b.compensate", "a.compensate"), end)},
		"branches overlap":  {"saga-1", history(done, begun, failing, runs("d.compensate"), [][2]string{{"step.leased", "b.compensate"}}, runs("c.compensate"), [][2]string{{"step.completed", "b.compensate"}}, runs("a.compensate"), end)},
		"nothing completed": {"saga-1", [][2]string{{"step.leased", "a"}, {"step.failed", "a"}, {"instance.failing"}, {"instance.failed"}}},
		"it ends well":      {"saga-1", history(done, runs("e"), [][2]string{{"instance.completed"}})},
		"completed while it stops": {"saga-1", history([][2]string{{"step.leased", "a"}, {"instance.cancelling"}, {"step.completed", "a"}, {"instance.compensating"}}, runs("a.compensate"),
			[][2]string{{"instance.cancelled"}})},
		"a lease of a compensation lapses": {"saga-1", history(runs("a"), stops("cancelling", [2]string{"step.leased", "a.compensate"}, [2]string{"step.lapsed", "a.compensate"}), runs("a.compensate"),
			[][2]string{{"step.late", "a.compensate"}, {"instance.cancelled"}})},
		"skipped by hand":   {"saga-1", history(runs("a"), stops("failing", usedUp...), [][2]string{{"step.skipped", "a.compensate"}}, end)},
		"tried again":       {"saga-1", history(runs("a"), stops("failing", usedUp...), [][2]string{{"step.resumed", "a.compensate"}}, runs("a.compensate"), end)},
		"tried again twice": {"saga-1", history(runs("a"), stops("failing", usedUp...), [][2]string{{"step.resumed", "a.compensate"}}, usedUp, [][2]string{{"step.resumed", "a.compensate"}}, runs("a.compensate"), end)},
		"in sequence":       {"row-1", history(runs("b", "a", "c"), stops("cancelling"), runs("c.compensate", "a.compensate", "b.compensate"), [][2]string{{"instance.cancelled"}})},
		"another's":         {"named-1", history(runs("a.compensate"), end)},
	} {
		if facts := Sagas(tell(x.instance, x.all...), sagaNeeds, testSagas); len(facts) > 0 {
			t.Errorf("%s: %v", name, facts)
		}
	}
}

func TestABrokenSagaIsFound(t *testing.T) {
	for name, x := range map[string]struct {
		instance string
		all      [][2]string
		want     string
	}{
		"a step is left out": {"saga-1", history(done, begun, failing, runs("d.compensate", "c.compensate", "b.compensate"), end), "saga: position 22: saga-1 has ended, and its step a is not undone"},
		"nothing is undone":  {"saga-1", history(runs("a"), [][2]string{{"instance.failing"}, {"instance.failed"}}), "its step a is not undone"},
		"what was not completed": {"saga-1", history(done, begun, stops("failing"), runs("e.compensate", "d.compensate", "c.compensate", "b.compensate", "a.compensate"), end),
			"saga: position 15: e of saga-1 is undone, and was not completed"},
		"before it compensates": {"saga-1", history(runs("a"), [][2]string{{"instance.failing"}}, runs("a.compensate")), "saga: position 4: a of saga-1 is undone, and the instance does not compensate"},
		"while it runs":         {"saga-1", history(runs("a"), runs("a.compensate")), "the instance does not compensate"},
		"one branch is enough":  {"saga-1", history(done, begun, failing, runs("d.compensate", "c.compensate", "a.compensate")), "a of saga-1 is undone before b, which came behind it"},
		"ready too early":       {"saga-1", history(done, begun, failing, [][2]string{{"step.ready", "c.compensate"}}), "c of saga-1 is undone before d"},
		"leased is not undone":  {"saga-1", history(runs("a", "b"), stops("failing", [2]string{"step.leased", "b.compensate"}, [2]string{"step.leased", "a.compensate"})), "a of saga-1 is undone before b"},
		"past a plain step":     {"saga-1", history(done, begun, failing, [][2]string{{"step.ready", "b.compensate"}}), "b of saga-1 is undone before d"},
		"undone twice":          {"saga-1", history(runs("a"), stops("failing"), runs("a.compensate", "a.compensate")), "saga: position 8: a of saga-1 is undone again"},
		"skipped and undone":    {"saga-1", history(runs("a"), stops("failing", [2]string{"step.skipped", "a.compensate"}), runs("a.compensate")), "a of saga-1 is undone again"},
		"leased while it stops": {"saga-1", history(runs("a"), [][2]string{{"instance.cancelling"}, {"step.leased", "b"}}), "b of saga-1 is leased, and the instance stops"},
		"completed behind it":   {"saga-1", history(runs("a"), [][2]string{{"step.leased", "b"}}, stops("failing"), [][2]string{{"step.completed", "b"}}), "b of saga-1 is completed, and the instance compensates already"},
		"it ends well after all": {"saga-1", history(runs("a"), stops("failing"), runs("a.compensate"), [][2]string{{"instance.completed"}}),
			"saga-1 is completed, and was stopped"},
		"stands still too early":   {"saga-1", history(runs("a"), stops("failing", usedUp[1:]...)), "what undoes a of saga-1 stands still behind 2 of 3 attempts"},
		"stands still too late":    {"saga-1", history(runs("a"), stops("failing", [2]string{"step.lapsed", "a.compensate"}), usedUp), "what undoes a of saga-1 stands still behind 4 of 3 attempts"},
		"tried again for nothing":  {"saga-1", history(runs("a"), stops("failing", [2]string{"step.lapsed", "a.compensate"}, [2]string{"step.resumed", "a.compensate"})), "what undoes a of saga-1 is tried again by hand, and did not stand still"},
		"begun twice":              {"saga-1", history(runs("a"), stops("failing"), [][2]string{{"instance.compensating"}}), "saga-1 compensates again"},
		"in the order of begin":    {"row-1", history(runs("b", "a", "c"), stops("failing"), runs("c.compensate", "b.compensate")), "b of row-1 is undone before a"},
		"two at a time":            {"row-1", history(runs("b", "a"), stops("failing", [2]string{"step.leased", "a.compensate"}, [2]string{"step.leased", "b.compensate"})), "b of row-1 is undone before a"},
		"two ready, by the graph":  {"row-1", history(runs("b", "a"), stops("failing", [2]string{"step.ready", "a.compensate"}, [2]string{"step.ready", "b.compensate"})), "b of row-1 is undone before a"},
		"the oldest first, as ran": {"row-1", history(runs("a", "c"), stops("failing"), runs("a.compensate")), "a of row-1 is undone before c"},
	} {
		t.Run(name, func(t *testing.T) {
			wants(t, Sagas(tell(x.instance, x.all...), sagaNeeds, testSagas), x.want)
		})
	}
}

// A compensation is a run like any other: what holds for the tokens and completions of steps holds for it.
func TestACompensationIsARunLikeAnyOther(t *testing.T) {
	feed := func(completed int64) []Event {
		events := tell("named-1", [][2]string{{"step.leased", "a"}, {"step.completed", "a"}, {"instance.compensating"},
			{"step.leased", "a.compensate"}, {"step.leased", "a.compensate"}, {"step.completed", "a.compensate"}}...)
		for at, token := range []int64{1, 1, 0, 2, 3, completed} {
			events[at].Token = token
		}
		return events
	}
	if facts := Feed(feed(3), testNeeds, nil); len(facts) > 0 {
		t.Errorf("a sound feed is refused: %v", facts)
	}
	wants(t, Feed(feed(2), testNeeds, nil), "S2: position 6: a.compensate of named-1 is completed under token 2; its newest lease has 3")
	wants(t, Feed(append(feed(3), Event{Position: 7, Type: "step.completed", Instance: "named-1", Step: "a.compensate", Token: 3}), testNeeds, nil), "S1: position 7: a.compensate of named-1 is completed again")
	if facts := Completions([]Completion{{"named-1", "a.compensate", 3}, {"named-1", "a", 1}}, feed(3)); len(facts) > 0 {
		t.Errorf("sound completions are refused: %v", facts)
	}
	wants(t, Completions([]Completion{{"named-1", "a.compensate", 2}}, feed(3)), "its completion of named-1/a.compensate under token 2")
}
