package model

import (
	"fmt"
	"testing"
)

// What is looked for is all that a filter says; what is stuck lives, and has not had a fact for so long.
func TestMatching(t *testing.T) {
	a, b := &Workflow{Name: "a"}, &Workflow{Name: "b"}
	one, two := &version{number: 1}, &version{number: 2}
	k := Key{"k", "v"}
	s := &State{Wall: 100, instances: map[string]*instance{
		"i0": {id: "i0", flow: a, version: one, state: Running, changedAt: 90, keys: []Key{k}},
		"i1": {id: "i1", flow: a, version: two, state: Running, changedAt: 91},
		"i2": {id: "i2", flow: b, version: one, state: Completed, changedAt: 1, keys: []Key{{"j", "v"}, k}},
		"i3": {id: "i3", flow: b, state: InQueue, changedAt: 90},
	}}
	for _, c := range []struct {
		f      Filter
		want   string
		unsure bool
	}{
		{Filter{}, "[i0 i1 i2 i3]", false},
		{Filter{State: Running}, "[i0 i1]", false},
		{Filter{Workflow: "b"}, "[i2 i3]", false},
		{Filter{Workflow: "b", Version: 1}, "[i2]", true},
		{Filter{Workflow: "a", Version: 2, State: Running}, "[i1]", false},
		{Filter{Key: k}, "[i0 i2]", false},
		{Filter{StuckFor: 10}, "[i0 i3]", false},
		{Filter{StuckFor: 11}, "[]", false},
	} {
		if got, unsure := s.Matching(c.f); fmt.Sprint(got) != c.want || unsure != c.unsure {
			t.Errorf("%+v matches %v, unsure: %v; want %s", c.f, got, unsure, c.want)
		}
	}
}

func TestWhatNeedsAPerson(t *testing.T) {
	h := tell(t, flow(Step{Name: "a", When: &When{Above: 3, Unsound: true}}))
	h.good(began(3, incident("a", "CONDITION_INVALID")))
	if got := h.s.Troubled(true, true); len(got) != 1 || got[0] != "i/a" {
		t.Errorf("%v", got)
	}
	h = tell(t, flow(Step{Name: "a"}))
	h.session(1)
	h.good(start("w", "i", "a"))
	h.good(leased(1, "i", "a", 7, 1, 0))
	h.good(one(Command{Kind: Fail, Instance: "i", Step: "a", Token: 7, Code: "E", Answer: Answer{State: Failed}},
		Fact{Kind: "step.failed", Instance: "i", Step: "a", Token: 7, Attempt: 1, Used: 1, Code: "E"}, Fact{Kind: "instance.failing", Instance: "i", Code: "E"}, Fact{Kind: "instance.failed", Instance: "i", Code: "E"}))
	if got := h.s.Troubled(false, false); len(got) != 1 || got[0] != "i" || len(h.s.Troubled(true, true)) != 0 {
		t.Errorf("%v", got)
	}
}
