package fsm

import (
	"fmt"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const (
	keysTold   = 20   // how many keys of a queue are told
	keysLooked = 1000 // and how many are looked at for that, or runs of a key
)

// first is the run that is the first in order, of the keys whose turn comes first.
func (f *fairness) first() (first readyRun, ok bool) {
	looked := 0
	f.line.Ascend(func(l *lane) bool {
		if !ok || l.head.less(first) {
			first, ok = l.head, true
		}
		looked++
		return looked < keysLooked
	})
	return first, ok
}

// tellKeys tells of the keys that take turns in a queue, the next first.
func (m *Machine) tellKeys(q *queue, item *v1.Queue) {
	if q.fair == nil {
		return
	}
	item.KeyCount = int64(q.fair.line.Len())
	q.fair.line.Ascend(func(l *lane) bool {
		item.Keys = append(item.Keys, &v1.QueueKey{Key: l.key, Ready: int64(l.ready), Oldest: durationpb.New(elapsed(l.head.order, m.group.Uptime))})
		return len(item.Keys) < keysTold
	})
}

// explainTurn tells a run's place among those of its key, and its key's among the others.
func (m *Machine) explainTurn(i *instance, at at, q *queue, e *v1.Explanation) {
	r, k := i.run(at), i.key(at)
	item := readyRun{r.Order, r.OrderSeq, &k}
	count := func(readyRun) bool {
		e.Place++
		return e.Place < keysLooked
	}
	if e.Place = 1; r.Fair == nil {
		q.ready.AscendLessThan(item, count)
	} else {
		q.fair.runs.AscendRange(keyedRun{key: *r.Fair}, keyedRun{*r.Fair, item}, func(o keyedRun) bool { return count(o.readyRun) })
	}
	if l := q.lane(e.FairnessKey); l != nil && l.ready > 0 {
		e.KeyPlace = 1
		q.fair.line.AscendLessThan(l, func(*lane) bool {
			e.KeyPlace++
			return e.KeyPlace < keysLooked
		})
	}
}

// sayPlace says where in its queue a run that is ready stands.
func sayPlace(q *queue, e *v1.Explanation) string {
	of := fmt.Sprintf("of key %q", e.FairnessKey)
	if e.FairnessKey == "" {
		of = "of those without a key"
	}
	switch {
	case q == nil || q.fair == nil:
		return fmt.Sprintf("number %d", e.Place)
	case e.KeyPlace == 0:
		return fmt.Sprintf("number %d %s", e.Place, of)
	}
	return fmt.Sprintf("number %d %s, whose turn is number %d of %d,", e.Place, of, e.KeyPlace, q.fair.line.Len())
}
