package check

import (
	"cmp"
	"slices"
)

// Leases checks that no lock is granted to another while the session that holds it lives, counting from when it was
// asked for, unless it was asked to give the lock back (S6): no clock and no pause ends a lease early.
func Leases(ops []*Op) []Fact {
	var f faults
	grants, asked := map[string][]*Op{}, map[string]map[int64]*Op{}
	for _, op := range ops {
		switch {
		case op.Kind == "acquire" && op.Outcome == OK:
			grants[op.Lock] = append(grants[op.Lock], op)
		case op.Kind == "unlock":
			if asked[op.Lock] == nil {
				asked[op.Lock] = map[int64]*Op{}
			}
			if first := asked[op.Lock][op.Token]; first == nil || op.Invoke < first.Invoke {
				asked[op.Lock][op.Token] = op
			}
		}
	}
	for lock, list := range grants {
		slices.SortFunc(list, func(a, b *Op) int { return cmp.Compare(a.Token, b.Token) })
		for i, next := range list[min(1, len(list)):] {
			held := list[i]
			if back := asked[lock][held.Token]; next.Return < held.Until && (back == nil || back.Invoke > next.Return) {
				f.add("S6", "lock %s was granted under token %d by %s, while token %d held it until %s at least", lock, next.Token, next.Return, held.Token, held.Until)
			}
		}
	}
	return f.list
}
