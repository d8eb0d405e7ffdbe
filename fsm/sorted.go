package fsm

import (
	"cmp"
	"slices"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// sortedPairs is the one place that ranges over a map: what a request's map holds, in the order of its keys.
func sortedPairs(m map[string]string) []*logv1.Pair {
	if len(m) == 0 {
		return nil
	}
	pairs := make([]*logv1.Pair, 0, len(m))
	for key, value := range m {
		pairs = append(pairs, &logv1.Pair{Key: key, Value: value})
	}
	slices.SortFunc(pairs, func(a, b *logv1.Pair) int { return cmp.Compare(a.Key, b.Key) })
	return pairs
}

func pairMap(pairs []*logv1.Pair) map[string]string {
	if len(pairs) == 0 {
		return nil
	}
	m := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		m[pair.Key] = pair.Value
	}
	return m
}
