package check

import "testing"

// A step whose failure with one code is needed, with another by another step, and in any case by a third.
var testFlows = map[string]map[string][]Need{"bill": {
	"a": nil,
	"b": {{Step: "a", Completed: true}},
	"c": {{Step: "a", Failed: true, Codes: []string{"X"}}},
	"d": {{Step: "a", Completed: true, Failed: true, Codes: []string{"X", "Y"}}},
	"e": {{Step: "b", Completed: true}, {Step: "c", Completed: true}},
}}

// code gives the failures of a feed a code.
func code(code string, events []Event) []Event {
	for i := range events {
		if events[i].Type == "step.failed" {
			events[i].Code = code
		}
	}
	return events
}

var (
	aFails  = [][2]string{{"step.leased", "a"}, {"step.failed", "a"}}
	endWell = [][2]string{{"instance.completed"}}
)

func skipped(steps ...string) (out [][2]string) {
	for _, s := range steps {
		out = append(out, [2]string{"step.skipped", s})
	}
	return out
}

func TestFailuresAsTheyShouldBe(t *testing.T) {
	for name, x := range map[string]struct {
		code string
		all  [][2]string
	}{
		"nothing fails":       {"", history(runs("a"), skipped("c"), runs("b", "d", "e"), endWell)},
		"what is needed":      {"X", history(aFails, skipped("b"), runs("c", "d", "e"), endWell)},
		"by one of two":       {"Y", history(aFails, skipped("b", "c"), skipped("e"), runs("d"), endWell)},
		"what nobody needs":   {"Z", history(aFails, [][2]string{{"instance.failing"}, {"step.cancelled", "b"}, {"instance.failed"}})},
		"behind another":      {"X", history(aFails, skipped("b"), [][2]string{{"step.leased", "c"}, {"step.failed", "c"}, {"instance.failing"}, {"instance.failed"}})},
		"undone behind it":    {"X", history(runs("a"), skipped("c"), [][2]string{{"step.failed", "b"}, {"instance.failing"}, {"instance.compensating"}}, runs("a.compensate"), [][2]string{{"instance.failed"}})},
		"cancelled behind it": {"X", history(aFails, skipped("b"), [][2]string{{"instance.cancelling"}, {"step.cancelled", "c"}, {"instance.cancelled"}})},
	} {
		if facts := Failures(code(x.code, tell("bill-1", x.all...)), testFlows); len(facts) > 0 {
			t.Errorf("%s: %v", name, facts)
		}
	}
}

func TestABrokenFailureIsFound(t *testing.T) {
	for name, x := range map[string]struct {
		code string
		all  [][2]string
		want string
	}{
		"a failure counts as a completion": {"X", history(aFails, runs("b")), "S1: position 3: b of bill-1 is begun, and a, which it needs, has step.failed(X)"},
		"a completion counts as a failure": {"", history(runs("a", "c")), "S1: position 3: c of bill-1 is begun, and a, which it needs, has step.completed()"},
		"with another code":                {"Y", history(aFails, runs("c")), "c of bill-1 is begun, and a, which it needs, has step.failed(Y)"},
		"too early":                        {"", history(runs("b")), "b of bill-1 is begun, and a, which it needs, has ()"},
		"skipped though it can run":        {"X", history(aFails, skipped("c")), "S1: position 3: c of bill-1 is skipped, and nothing that it needs ended otherwise"},
		"skipped too early":                {"X", skipped("b"), "b of bill-1 is skipped, and nothing"},
		"fails by what is needed":          {"X", history(aFails, [][2]string{{"instance.failing"}}), "S1: position 3: bill-1 fails, and no step of it has that nobody needs"},
		"ends well with what is not":       {"Z", history(aFails, skipped("b", "c", "d", "e"), endWell), "bill-1 is completed, and a failed, which no step needs"},
		"ends without a step":              {"X", history(aFails, skipped("b"), runs("c", "e"), endWell), "bill-1 is completed, and its step d has not ended"},
		"begun behind what was skipped":    {"Y", history(aFails, skipped("b", "c"), runs("e")), "e of bill-1 is begun, and all that it needs was skipped"},
		"ends well after all":              {"Z", history(aFails, [][2]string{{"instance.failing"}, {"instance.completed"}}), "bill-1 is completed, and was stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			wants(t, Failures(code(x.code, tell("bill-1", x.all...)), testFlows), x.want)
		})
	}
}
