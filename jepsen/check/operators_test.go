package check

import (
	"strings"
	"testing"
)

func TestOperators(t *testing.T) {
	of := func(kind, step string, token int64, code string) Event {
		return Event{Type: kind, Instance: "hand-1-0", Step: step, Token: token, Code: code}
	}
	pause, resume := of("instance.paused", "", 0, ""), of("instance.resumed", "", 0, "")
	leased, done := of("step.leased", "a", 3, ""), of("step.completed", "a", 4, "")
	byHand, skipped := of("step.resolved", "a", 4, ""), of("step.skipped", "a", 0, "SKIPPED_BY_HAND")
	told := &Op{Kind: "resolve", Instance: "hand-1-0", Step: "a", Token: 4, Outcome: OK}
	for _, x := range []struct {
		says   string
		events []Event
	}{
		{"", []Event{leased, pause, byHand, done, resume}},
		{"the feed has token 0", []Event{leased}},
		{"the feed has token 3", []Event{leased, of("step.completed", "a", 3, "")}},
		{"which is paused", []Event{pause, leased, byHand, done}},
		{"which is paused", []Event{pause, of("step.waiting", "b", 0, ""), byHand, done}},
		{"which is paused", []Event{pause, of("step.skipped", "b", 0, ""), byHand, done}},
		{"so already", []Event{pause, pause, byHand, done}},
		{"so already", []Event{resume, byHand, done}},
		{"behind its end by hand", []Event{byHand, leased, done}},
		{"behind its end by hand", []Event{byHand, done, of("step.resolved", "b", 3, "E"), of("step.failed", "b", 3, "F")}},
		{"", []Event{byHand, done, of("step.resolved", "b", 3, "E"), of("step.failed", "b", 3, "E")}},
		{"", []Event{byHand, done, of("step.skipped", "b", 0, "SKIPPED_BY_HAND")}},
		{"while token 3 holds it", []Event{leased, skipped, byHand, done}},
		{"was skipped by hand", []Event{skipped, leased, byHand, done}},
	} {
		var all []string
		for _, fact := range Operators([]*Op{told}, x.events) {
			all = append(all, fact.What)
		}
		if got := strings.Join(all, "; "); x.says == "" && got != "" || !strings.Contains(got, x.says) {
			t.Errorf("%v: %q; want %q", x.events, got, x.says)
		}
	}
}

// What an operator was told is done is told in the feed, with the reason; what was so before is not told again.
func TestWhatOperatorsDidIsTold(t *testing.T) {
	events := []Event{{Position: 1, Type: "instance.paused", Instance: "hand-1-0", Reason: "one"}, {Position: 2, Type: "step.skipped", Instance: "hand-1-0", Step: "a", Code: "SKIPPED_BY_HAND", Reason: "two"}}
	pause := &Op{Kind: "halt", Instance: "hand-1-0", Reason: "one", Outcome: OK, Invoke: 1, Return: 2}
	skip := &Op{Kind: "skip", Instance: "hand-1-0", Step: "a", Reason: "two", Outcome: OK, Invoke: 3, Return: 4}
	again := &Op{Kind: "halt", Instance: "hand-1-0", Outcome: OK, Invoke: 5, Return: 6}
	lost := &Op{Kind: "update", Instance: "hand-1-0", Step: "a", Reason: "three", Outcome: OK, Invoke: 5, Return: 6}
	before := &Op{Kind: "skip", Instance: "hand-1-0", Step: "a", Reason: "two", Outcome: OK, Invoke: -2, Return: -1}
	if facts := Answers([]*Op{pause, skip, again}, events); len(facts) != 0 {
		t.Errorf("%v", facts)
	}
	if facts := Answers([]*Op{lost}, events); len(facts) != 1 || facts[0].Guarantee != "S3" {
		t.Errorf("%v", facts)
	}
	if facts := Answers([]*Op{pause, before}, events); len(facts) != 1 || facts[0].Guarantee != "S4" {
		t.Errorf("%v", facts)
	}
}
