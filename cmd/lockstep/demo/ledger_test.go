package demo

import "testing"

// The reader of the ledger sees what is wrong: each kind planted.
func TestTheReaderSees(t *testing.T) {
	needs := func(_, step string) []string {
		if step == "b" {
			return []string{"a"}
		}
		return nil
	}
	a, b := Effect{Instance: "i", Step: "a", Lease: "i/a", Token: 1}, Effect{Instance: "i", Step: "b", Lease: "i/b", Token: 2}
	late := Effect{Instance: "i", Step: "a", Lease: "i/a", Token: 1, Refused: true}
	for name, x := range map[string]struct {
		effects   []Effect
		completed map[string]bool
		want      judgement
	}{
		"all is well":                    {[]Effect{a, b}, map[string]bool{"i/a": true, "i/b": true}, judgement{}},
		"order is violated":              {[]Effect{b, a}, nil, judgement{order: 1}},
		"a refused effect is none":       {[]Effect{late, b}, nil, judgement{fenced: 1, order: 1}},
		"a completion without an effect": {[]Effect{a}, map[string]bool{"i/b": true}, judgement{unfinished: 1}},
	} {
		if got := judge(x.effects, needs, x.completed); got != x.want {
			t.Errorf("%s: %+v, want %+v", name, got, x.want)
		}
	}
}
