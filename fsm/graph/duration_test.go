package graph

import (
	"math"
	"testing"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		text      string
		ns        int64
		canonical string
	}{
		{"30s", 30e9, "30s"}, {"500ms", 5e8, "500ms"}, {"60s", 60e9, "1m"}, {"1h30m", 5400e9, "90m"}, {"7d", 7 * day, "7d"},
		{"24h", day, "1d"}, {"1d1ms", day + 1e6, "86400001ms"}, {"0s", 0, "0s"}, {"0d", 0, "0s"}, {"007s", 7e9, "7s"},
		{"9223372036854ms", 9223372036854e6, "9223372036854ms"},
	} {
		ns, ok := parseDuration(c.text)
		if !ok || ns != c.ns || formatDuration(ns) != c.canonical {
			t.Errorf("%s: %d %v, %s", c.text, ns, ok, formatDuration(ns))
		}
	}
	for _, text := range []string{"", "1", "s", "1.5s", "-1s", "1 s", "1s1m", "1s1s", "1us", "1S", "9223372036855ms", "106752d", "99999999999999999999s", "1s\x00"} {
		if ns, ok := parseDuration(text); ok {
			t.Errorf("%q is %d", text, ns)
		}
	}
	if _, ok := parseDuration("106751d23h47m16s854ms"); !ok {
		t.Errorf("the largest duration, %d, is refused", int64(math.MaxInt64))
	}
}
