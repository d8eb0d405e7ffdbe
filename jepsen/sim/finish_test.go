package sim

import "testing"

func TestDifferNamesTheFirstRow(t *testing.T) {
	list := func(texts ...string) (rows []stored) {
		for _, text := range texts {
			rows = append(rows, stored{[]byte(text[:1]), []byte(text[1:])})
		}
		return rows
	}
	for _, c := range []struct {
		a, b []stored
		want string
	}{
		{list(), list(), ""},
		{list("a1", "b2"), list("a1", "b2"), ""},
		{list("a1", "b2", "c3"), list("a1", "b9", "c9"), "b"},
		{list("a1", "b2", "c3"), list("a1", "c3"), "b"},
		{list("a1", "b2"), list("a1", "b2", "c3"), "c"},
		{list("b2"), list("a1"), "a"},
		{list("a1"), list("a"), "a"},
	} {
		for _, got := range []string{differ(c.a, c.b), differ(c.b, c.a)} {
			if got != c.want {
				t.Errorf("%q and %q differ at %q, not %q", c.a, c.b, got, c.want)
			}
		}
	}
}
