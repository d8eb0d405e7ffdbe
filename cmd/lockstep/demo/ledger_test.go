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
	a, b := Line{Instance: "i", Step: "a", Lease: "i/a", Token: 1}, Line{Instance: "i", Step: "b", Lease: "i/b", Token: 2}
	late := Line{Instance: "i", Step: "a", Lease: "i/a", Token: 1, Refused: true}
	again := Line{Instance: "i", Step: "a", Lease: "i/a", Token: 3}
	answered := func(to Line, answer string) Line {
		to.Refused, to.Answer = false, answer
		return to
	}
	type history = map[string][]int64
	for name, x := range map[string]struct {
		lines     []Line
		completed history
		want      judgement
	}{
		"all is well":                    {[]Line{a, answered(a, accepted), b, answered(b, accepted)}, history{"i/a": {1}, "i/b": {2}}, judgement{}},
		"the same answer again":          {[]Line{a, answered(a, accepted), answered(a, accepted)}, history{"i/a": {1}}, judgement{}},
		"order is violated":              {[]Line{b, a}, nil, judgement{order: 1}},
		"a refused effect is none":       {[]Line{late, b}, nil, judgement{fenced: 1, order: 1}},
		"an answer is no effect":         {[]Line{answered(a, accepted), b}, nil, judgement{order: 1}},
		"a completion without an effect": {[]Line{a}, history{"i/b": {2}}, judgement{unfinished: 1}},
		"late, and refused": {
			[]Line{again, late, answered(late, refused), answered(again, accepted)}, history{"i/a": {3}}, judgement{fenced: 1, late: 1},
		},
		"late, and acknowledged beside the one in the history": {
			[]Line{again, late, answered(late, accepted)}, history{"i/a": {3}}, judgement{fenced: 1, late: 1, duplicates: 1},
		},
		"two acknowledged, and none in the history": {
			[]Line{a, answered(a, accepted), again, answered(again, accepted)}, nil, judgement{duplicates: 1},
		},
		"two in the history": {[]Line{a}, history{"i/a": {1, 3}}, judgement{duplicates: 1}},
	} {
		if got := judge(x.lines, needs, x.completed); got != x.want {
			t.Errorf("%s: %+v, want %+v", name, got, x.want)
		}
	}
}
