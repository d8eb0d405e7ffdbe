package check

import (
	"maps"
	"slices"
	"strings"
)

// crowdBulk is what the feed has of a bulk operation.
type crowdBulk struct {
	started, ended int64
	live           map[string]bool // instances that are meant, and had not ended when it started
	came           map[string]int64
	changed        int64
}

// Bulks checks bulk operations off the feed: each is over, and came to each instance at most once, to none that was started behind it, to each
// that is meant and lived, and to no other; what it says of that is so. Those that are meant have ids that begin so.
func Bulks(events []Event, meant func(bulk string) (prefix string)) []Fact {
	var f faults
	bulks, begun, over := map[string]*crowdBulk{}, map[string]int64{}, map[string]bool{}
	for _, e := range events {
		b := bulks[e.Bulk]
		switch e.Type {
		case "instance.started":
			begun[e.Instance] = e.Position
			delete(over, e.Instance)
		case "instance.completed", "instance.failed", "instance.cancelled":
			over[e.Instance] = true
		case "bulk.started":
			if b != nil {
				f.add("S5", "position %d: bulk operation %s, which started at %d, starts", e.Position, e.Bulk, b.started)
			}
			b = &crowdBulk{started: e.Position, live: map[string]bool{}, came: map[string]int64{}}
			for id := range begun {
				if strings.HasPrefix(id, meant(e.Bulk)) && !over[id] {
					b.live[id] = true
				}
			}
			bulks[e.Bulk] = b
		case "bulk.applied":
			switch at := begun[e.Other]; {
			case b == nil || b.ended > 0:
				f.add("S4", "position %d: bulk operation %s, which does not run, comes to %s", e.Position, e.Bulk, e.Other)
				continue
			case b.came[e.Other] > 0:
				f.add("S4", "position %d: bulk operation %s comes to %s, to which it came at %d", e.Position, e.Bulk, e.Other, b.came[e.Other])
			case at == 0 || at > b.started || !strings.HasPrefix(e.Other, meant(e.Bulk)):
				f.add("S4", "position %d: bulk operation %s, which started at %d, comes to %s, which started at %d", e.Position, e.Bulk, b.started, e.Other, at)
			}
			b.came[e.Other] = e.Position
			b.changed += e.Changed
		case "bulk.completed", "bulk.cancelled":
			if b == nil || b.ended > 0 {
				f.add("S4", "position %d: bulk operation %s, which does not run, ends", e.Position, e.Bulk)
				continue
			}
			b.ended = e.Position
			b.whole(&f, e)
		}
		if e.Bulk != "" && (b == nil || b.ended > 0 && e.Position > b.ended) {
			f.add("S4", "position %d: %s of %s by bulk operation %s, which does not run", e.Position, e.Type, e.Instance, e.Bulk)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(bulks)) {
		if bulks[id].ended == 0 {
			f.add("liveness", "bulk operation %s, which started at %d, does not end", id, bulks[id].started)
		}
	}
	return f.list
}

// whole compares what an operation says at its end with what it did.
func (b *crowdBulk) whole(f *faults, e Event) {
	if e.Count != int64(len(b.came)) || e.Changed != b.changed {
		f.add("S4", "position %d: bulk operation %s tells that %d matched and %d were changed; it came to %d, and changed %d", e.Position, e.Bulk, e.Count, e.Changed, len(b.came), b.changed)
	}
	if e.Type == "bulk.cancelled" {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(b.live)) {
		if b.came[id] == 0 {
			f.add("S4", "position %d: bulk operation %s is over, and did not come to %s", e.Position, e.Bulk, id)
		}
	}
}
