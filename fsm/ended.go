package fsm

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// Instances that have ended stand in the order of their ends, by the position of the event that told it: so what was exported up to a
// position is all that ended until then, and what is over its time is at the beginning. A place is a loose row: nothing of the order is in
// memory, and a start reads none of it. Those that ended below retentionLevel get their places when the cluster has come to it, a slice at a time, in the
// order of their ids; until that is done nothing is removed or exported.

// ending is the place of an instance among those that have ended.
type ending struct {
	position     int64
	id           string
	wall, uptime int64 // of its end; or when it was put behind, for something needed it
}

func endedKey(ns *namespace, position int64, id string) []byte {
	return table.AppendString(table.AppendUint64(key(tableEnded, ns.rec.Namespace), uint64(position)), id)
}

// putEnding gives an instance a place.
func (m *Machine) putEnding(ns *namespace, e ending) {
	m.put(endedKey(ns, e.position, e.id), binary.AppendVarint(binary.AppendVarint(nil, e.wall), e.uptime))
}

// placed is part of an instance's end.
func (t *turn) placed(i *instance) {
	if t.m.level() < retentionLevel {
		return
	}
	i.rec.EndedPosition = t.ns.rec.Position + 1 // of the event that is told
	t.m.putEnding(t.ns, ending{i.rec.EndedPosition, i.rec.InstanceId, t.wall(), t.uptime()})
}

// endings calls fn with the places of a namespace from a position on, until it returns false. fn changes none.
func (m *Machine) endings(ns *namespace, from int64, fn func(ending) bool) {
	prefix := key(tableEnded, ns.rec.Namespace)
	m.scan(table.AppendUint64(key(tableEnded, ns.rec.Namespace), uint64(from)), table.End(prefix), func(k, value []byte) bool {
		e, err := cutEnding(k[len(prefix):], value)
		must(err)
		return fn(e)
	})
}

func cutEnding(k, value []byte) (e ending, err error) {
	position, rest, sound := table.CutUint64(k)
	id, _, whole := table.CutString(rest)
	wall, n := binary.Varint(value)
	if !sound || !whole || n <= 0 {
		return e, fmt.Errorf("the place of an ended instance is damaged: %x", k)
	}
	uptime, n := binary.Varint(value[n:])
	if n <= 0 {
		return e, fmt.Errorf("the place of an ended instance is damaged: %x", k)
	}
	return ending{int64(position), id, wall, uptime}, nil
}

// orderMost is how many instances one entry looks at that may have ended without a place.
const orderMost = 100

// orderEnds gives places to the next of those that ended without one; it says how many were looked at. Of these it is not known at which
// position they ended: it is that of the last event in their histories.
func (t *turn) orderEnds() (looked int32) {
	m, ns := t.m, t.ns
	if !t.flushed { // the cluster has come to the level in this entry
		return 0
	}
	from := append(key(tableInstance, ns.rec.Namespace, ns.rec.OrderedTo), 0)
	if ns.rec.OrderedTo == "" {
		from = key(tableInstance, ns.rec.Namespace)
	}
	more := false
	var heads []*logv1.Instance
	must(m.engine.Scan(from, table.End(key(tableInstance, ns.rec.Namespace)), func(_, value []byte) bool {
		if more = len(heads) == orderMost; more {
			return false
		}
		rec := &logv1.Instance{}
		must(proto.Unmarshal(value, rec))
		heads = append(heads, rec)
		return true
	}))
	for _, rec := range heads {
		ns.rec.OrderedTo = rec.InstanceId
		if !Live(rec.State) && rec.EndedPosition == 0 {
			m.putEnding(ns, ending{position: m.lastPosition(ns, rec.InstanceId), id: rec.InstanceId, wall: rec.EndedWall})
		}
	}
	if ns.rec.Unordered = more; !more {
		ns.rec.OrderedTo = ""
	}
	m.dirtyNamespace(ns)
	return int32(len(heads))
}

// flushOrder flushes before an entry that puts in order what has ended: the engine then has what there was before, on every replica
// the same.
func (t *turn) flushOrder(entry *logv1.Entry) {
	for _, c := range entry.Commands {
		if _, is := c.Body.(*logv1.Command_Retain); !is || t.flushed {
			continue
		}
		if ns, refusal := t.m.namespace(c.Envelope.GetNamespace()); refusal == nil && ns.rec.Unordered {
			if err := t.m.flush(); err != nil {
				panic(fmt.Errorf("fsm: %w", err))
			}
			t.flushed = true
		}
	}
}

// lastPosition is that of the last event of an instance whose history is flushed.
func (m *Machine) lastPosition(ns *namespace, id string) (last int64) {
	prefix := key(tableHistory, ns.rec.Namespace, id)
	must(m.engine.ScanBack(prefix, table.End(prefix), func(k, value []byte) bool {
		must(eachPosition(k, value, func(position int64) bool { last = position; return true }))
		return false
	}))
	return last
}

// unorder says that a namespace may have instances that have ended without a place, as the cluster comes to retentionLevel.
func (m *Machine) unorder(ns *namespace) {
	ns.rec.Unordered = true
	m.dirtyNamespace(ns)
}

// firstEnding is the place that is removed next; none in a namespace of which nothing has ended, or is not in order yet.
func (m *Machine) firstEnding(ns *namespace) (first ending, ok bool) {
	if ns.rec.Unordered {
		return first, false
	}
	m.endings(ns, ns.rec.RemovedTo+1, func(e ending) bool {
		first, ok = e, true
		return false
	})
	return first, ok
}

// whenever is later than every date.
const whenever = math.MaxInt64
