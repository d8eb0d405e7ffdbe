package join

import (
	"strings"
	"testing"
)

func TestDecide(t *testing.T) {
	abc := []string{"a", "b", "c"}
	fresh := func(id string, expect int, sees ...string) Standing {
		return Standing{NodeID: id, Expect: expect, Sees: sees}
	}
	member := Standing{NodeID: "m", Expect: 3, HasState: true}
	for name, x := range map[string]struct {
		self   Standing
		others []Standing
		silent []string
		want   Verdict
		says   string
	}{
		"alone, expecting one":         {fresh("a", 1, "a"), nil, nil, Found, ""},
		"two of three":                 {fresh("a", 3, "a", "b"), []Standing{fresh("b", 3, "a", "b")}, nil, Wait, "2 of 3 expected new nodes are here (a, b)"},
		"all three":                    {fresh("a", 3, abc...), []Standing{fresh("b", 3, abc...), fresh("c", 3, abc...)}, nil, Found, ""},
		"one did not answer":           {fresh("a", 3, abc...), []Standing{fresh("b", 3, abc...)}, []string{"c"}, Wait, "no answer from c"},
		"one answer is missing":        {fresh("a", 3, abc...), []Standing{fresh("b", 3, abc...)}, nil, Wait, "1 of 2 other nodes answered"},
		"one sees others":              {fresh("a", 3, abc...), []Standing{fresh("b", 3, abc...), fresh("c", 3, "a", "c", "d")}, nil, Wait, "node c sees a, c, d, and this node a, b, c"},
		"one sees fewer":               {fresh("a", 3, abc...), []Standing{fresh("b", 3, abc...), fresh("c", 3, "a", "c")}, nil, Wait, "node c sees a, c"},
		"one is part of a cluster":     {fresh("a", 3, abc...), []Standing{fresh("b", 3, abc...), member}, nil, Join, ""},
		"a member, and one is silent":  {fresh("a", 3, abc...), []Standing{member}, []string{"b"}, Join, ""},
		"a member, and it founds none": {fresh("a", 0, "a", "m"), []Standing{member}, nil, Join, ""},
		"different clusters":           {fresh("a", 3, abc...), []Standing{fresh("b", 3, abc...), fresh("c", 5, abc...)}, nil, Wait, "node c expects a cluster of 5, this node one of 3"},
		"different, and too few":       {fresh("a", 3, "a", "c"), []Standing{fresh("c", 2, "a", "c")}, nil, Wait, "node c expects a cluster of 2"},
		"too many":                     {fresh("a", 2, abc...), []Standing{fresh("b", 2, abc...), fresh("c", 2, abc...)}, nil, Wait, "3 new nodes are here, and a cluster of 2 is expected"},
		"it founds nothing":            {fresh("a", 0, "a"), nil, nil, Wait, "no cluster is seen"},
		"another founds nothing":       {fresh("a", 2, "a", "b"), []Standing{fresh("b", 0, "a", "b")}, nil, Wait, "node b is not to found a cluster"},
	} {
		got, err := Decide(x.self, x.others, x.silent)
		if got != x.want || (err != nil) != (x.says != "") || err != nil && !strings.HasPrefix(err.Error(), x.says) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
