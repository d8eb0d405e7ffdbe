package sim

import (
	"fmt"
	"strings"

	"github.com/lockstep-dev/lockstep/jepsen/model"
)

// drawLocks draws what a step needs: of two exclusive locks, one that is also shared, and one with three places.
func drawLocks(d draws) []model.Want {
	var out []model.Want
	if !d.one(3) {
		return nil
	}
	for _, name := range []string{"x0", "x1"} {
		if d.one(3) {
			out = append(out, model.Want{Lock: name, Take: 1})
		}
	}
	if d.one(3) {
		out = append(out, model.Want{Lock: "s0", Shared: !d.one(4), Take: 1})
	}
	if d.one(3) {
		out = append(out, model.Want{Lock: "p0", Limit: 3, Take: int32(1 + d.IntN(2))})
	}
	return out
}

func writeLocks(b *strings.Builder, indent string, locks []model.Want) {
	if len(locks) > 0 {
		b.WriteString(indent + "locks:\n")
	}
	for _, l := range locks {
		switch {
		case l.Limit > 0:
			fmt.Fprintf(b, "%s  - {name: %s, limit: %d, take: %d}\n", indent, l.Lock, l.Limit, l.Take)
		case l.Hold != model.HoldStep:
			fmt.Fprintf(b, "%s  - {name: %s, shared: %v, hold: %s}\n", indent, l.Lock, l.Shared, [...]string{"step", "scope", "instance"}[l.Hold])
		case l.Shared:
			fmt.Fprintf(b, "%s  - {name: %s, shared: true}\n", indent, l.Lock)
		default:
			fmt.Fprintf(b, "%s  - %s\n", indent, l.Lock)
		}
	}
}
