package graph

import (
	"math"
	"strconv"
)

// unit is a unit of duration in nanoseconds.
type unit struct {
	name string
	size int64
}

// units from the largest to the smallest.
func units() [5]unit {
	const second = int64(1e9)
	return [5]unit{{"d", 86400 * second}, {"h", 3600 * second}, {"m", 60 * second}, {"s", second}, {"ms", second / 1000}}
}

// parseDuration reads amounts with units, the larger unit first, each at most once: 90s, 1h30m, 7d. It
// reports nanoseconds.
func parseDuration(s string) (int64, bool) {
	var total int64
	above := int64(math.MaxInt64)
	for s != "" {
		n, rest, ok := leadingInt(s)
		if !ok {
			return 0, false
		}
		u, rest, ok := leadingUnit(rest)
		if !ok || u.size >= above || n > (math.MaxInt64-total)/u.size {
			return 0, false
		}
		total += n * u.size
		above, s = u.size, rest
	}
	return total, above != math.MaxInt64
}

func leadingInt(s string) (int64, string, bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	n, err := strconv.ParseInt(s[:i], 10, 64)
	return n, s[i:], err == nil
}

func leadingUnit(s string) (unit, string, bool) {
	i := 0
	for i < len(s) && s[i] >= 'a' && s[i] <= 'z' {
		i++
	}
	for _, u := range units() {
		if u.name == s[:i] {
			return u, s[i:], true
		}
	}
	return unit{}, s, false
}

// formatDuration is the canonical spelling: one amount of the largest unit that divides it.
func formatDuration(ns int64) string {
	if ns == 0 {
		return "0s"
	}
	for _, u := range units() {
		if ns%u.size == 0 {
			return strconv.FormatInt(ns/u.size, 10) + u.name
		}
	}
	return "0s" // unreachable: parseDuration yields whole milliseconds
}
