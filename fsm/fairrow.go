package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

// The rows of fairness are one for each lane, which is its tag, and one for the queue's time, which has no key. There are as many as keys
// that wait, and a thousand more of each queue at most. A lane that comes and goes between two flushes has none.

// fairRow is a row that must be written: of a lane, or of the queue's time.
type fairRow struct {
	queue *queue
	lane  *lane
}

func (m *Machine) dirtyLane(q *queue, l *lane) {
	if !l.dirt.dirty {
		l.dirt.dirty = true
		m.dirty.fair = append(m.dirty.fair, fairRow{q, l})
		m.dirtyBytes += 64 + len(l.key)
	}
}

func (m *Machine) dirtyNow(q *queue) {
	if !q.clock.dirty {
		q.clock.dirty = true
		m.dirty.fair = append(m.dirty.fair, fairRow{q, nil})
		m.dirtyBytes += 64
	}
}

func (m *Machine) flushFairness(b *table.Batch) {
	for _, row := range m.dirty.fair {
		if plant.Is(plant.TagsNotStored) {
			break
		}
		q, l := row.queue, row.lane
		switch {
		case l != nil:
			m.flushLane(b, q, l)
		case q.fair != nil && q.fair.now > 0: // rows follow from the state, and not from when it was written
			q.clock = rowDirt{stored: true}
			b.Put(m.room.key(tableFair, q.ns.rec.Namespace, q.name), m.tagValue(q.fair.now))
		default:
			if q.clock.stored {
				b.Delete(m.room.key(tableFair, q.ns.rec.Namespace, q.name))
			}
			q.clock = rowDirt{}
		}
	}
}

func (m *Machine) flushLane(b *table.Batch, q *queue, l *lane) {
	stored := l.dirt.stored
	l.dirt.dirty = false
	switch now := q.lane(l.key); {
	case now == l:
		l.dirt.stored = true
		b.Put(m.room.key(tableFair, q.ns.rec.Namespace, q.name, l.key), m.tagValue(l.tag))
	case now == nil && stored:
		b.Delete(m.room.key(tableFair, q.ns.rec.Namespace, q.name, l.key))
	}
}

// lane is that of a key; nil is none.
func (q *queue) lane(key string) *lane {
	if q.fair == nil {
		return nil
	}
	return q.fair.lanes[key]
}

func (m *Machine) tagValue(tag int64) []byte {
	return binary.AppendUvarint(m.room.take(binary.MaxVarintLen64), uint64(tag))
}

// loadFairness gives lanes their tags, behind the runs that are in them.
func (m *Machine) loadFairness(ns *namespace) error {
	prefix := key(tableFair, ns.rec.Namespace)
	var failed error
	err := m.engine.Scan(prefix, table.End(prefix), func(k, value []byte) bool {
		tag, n := binary.Uvarint(value)
		name, rest, ok := table.CutString(k[len(prefix):])
		if !ok || n != len(value) {
			failed = fmt.Errorf("row %x of fairness is damaged", k)
			return false
		}
		q := ns.queue(name)
		f := q.begin()
		if len(rest) == 0 {
			f.now, q.clock.stored = int64(tag), true
			return true
		}
		key, _, ok := table.CutString(rest)
		if !ok {
			failed = fmt.Errorf("row %x of fairness is damaged", k)
			return false
		}
		q.loadLane(key, int64(tag))
		return true
	})
	m.unsettled.queue, m.unsettled.lane = nil, nil
	if failed != nil {
		return failed
	}
	return err
}

func (q *queue) loadLane(key string, tag int64) {
	f := q.fair
	l := f.lane(key)
	f.out(l)
	l.tag, l.dirt.stored = tag, true
	if key == "" {
		l.ready = q.ready.Len()
	}
	if l.waits = l.ready > 0; l.waits {
		q.link(l)
		return
	}
	f.idle.ReplaceOrInsert(l)
	l.where = laneIdle
}

// appendFairRow adds what a row says now, as the machine has it.
func (ns *namespace) appendFairRow(b []byte, queue string, rest []byte) []byte {
	q := ns.queues[queue]
	key, _, ok := table.CutString(rest)
	switch {
	case q == nil || q.fair == nil:
	case !ok:
		b = binary.AppendUvarint(b, uint64(q.fair.now))
	case q.fair.lanes[key] != nil:
		b = binary.AppendUvarint(b, uint64(q.fair.lanes[key].tag))
	}
	return b
}
