package check

import (
	"strings"
	"testing"
)

func TestPlans(t *testing.T) {
	op := []*Op{{Kind: "apply", Plan: "p", Outcome: OK, Touches: []Touch{{"i", 1}}}}
	for _, x := range []struct {
		words  string
		events []Event
	}{
		{"", []Event{{Position: 1, Instance: "i"}, {Position: 2, Instance: "j"}, {Position: 3, Type: "plan.applied", Plan: "p"}, {Position: 4, Type: "drift.settled", Instance: "i", Plan: "p"}}},
		{"at 2 it had moved", []Event{{Position: 1, Instance: "i"}, {Position: 2, Instance: "i"}, {Position: 3, Type: "plan.applied", Plan: "p"}}},
		{"as it was at 2", []Event{{Position: 1, Instance: "i"}, {Position: 2, Type: "plan.applied", Plan: "p"}, {Position: 3, Type: "plan.applied", Plan: "p"}}},
		{"is settled by plan q", []Event{{Position: 1, Instance: "i"}, {Position: 2, Type: "plan.applied", Plan: "p"}, {Position: 3, Type: "drift.settled", Plan: "q"}}},
	} {
		got := Plans(op, x.events)
		if (x.words == "") != (len(got) == 0) || len(got) > 0 && !strings.Contains(got[0].What, x.words) {
			t.Errorf("%q: %v", x.words, got)
		}
	}
}
