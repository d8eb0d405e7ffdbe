package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/lockstep-dev/lockstep/fsm/table"
)

// A limit has a row while a slot of it is taken: so many bytes for each item of its log, of which there are exactSlots and two more at most. Those
// who wait have their own rows.

// logged: there is something that its row says.
func (l *limit) logged() bool { return len(l.log) > 0 || l.retryAt > 0 }

func (m *Machine) dirtyLimit(l *limit) {
	if !l.dirt.dirty {
		l.dirt.dirty = true
		m.dirty.limits = append(m.dirty.limits, l)
		m.dirtyBytes += 64 + len(l.key) + 8*len(l.log)
	}
}

func (m *Machine) flushLimits(b *table.Batch) {
	for _, l := range m.dirty.limits {
		l.dirt.dirty = false
		k := m.room.key(tableLimit, l.ns.rec.Namespace, l.key)
		switch other := l.ns.limits[l.key]; {
		case other != l && other != nil: // it came again
			other.dirt.stored = other.dirt.stored || l.dirt.stored
			if !other.dirt.dirty && !other.logged() && other.dirt.stored {
				b.Delete(k)
				other.dirt.stored = false
			}
		case other == l && l.logged():
			b.Put(k, m.room.copy(l.appendLog(nil)))
			l.dirt.stored = true
		case l.dirt.stored:
			b.Delete(k)
			l.dirt.stored = false
		}
	}
}

// appendLog is the row of a limit.
func (l *limit) appendLog(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(l.limit))
	b = binary.AppendUvarint(b, uint64(l.per))
	b = binary.AppendUvarint(b, uint64(l.retryAt))
	var at int64
	for _, s := range l.log {
		b = binary.AppendUvarint(b, uint64(s.from-at))
		b = binary.AppendUvarint(b, uint64(s.to-s.from))
		b = binary.AppendUvarint(b, uint64(s.n))
		at = s.to
	}
	return b
}

// cutLog reads it.
func (l *limit) cutLog(b []byte) bool {
	ok := true
	number := func() int64 {
		n, size := binary.Uvarint(b)
		if ok = ok && size > 0; !ok {
			b = nil
			return 0
		}
		b = b[size:]
		return int64(n)
	}
	l.limit, l.per, l.retryAt = int32(number()), number(), number()
	var at int64
	for len(b) > 0 {
		var s slots
		s.from = at + number()
		s.to = s.from + number()
		s.n = int32(number())
		at = s.to
		l.log = append(l.log, s)
		l.used += s.n
	}
	return ok
}

// loadLimits reads the logs of limits, behind the runs that need them.
func (m *Machine) loadLimits(ns *namespace) error {
	prefix := key(tableLimit, ns.rec.Namespace)
	var failed error
	err := m.engine.Scan(prefix, table.End(prefix), func(k, value []byte) bool {
		name, _, ok := table.CutString(k[len(prefix):])
		if !ok || !ns.limit(name).cutLog(value) {
			failed = fmt.Errorf("row %x of a limit is damaged", k)
			return false
		}
		l := ns.limit(name)
		l.dirt.stored = true
		m.touchLimit(l)
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}

// settleLimits has limits that were loaded be due when they were.
func (m *Machine) settleLimits() {
	for _, l := range m.limits {
		l.touched = false
		m.dueLimit(l)
	}
	m.limits = m.limits[:0]
}

// appendLimitRow adds what a limit's row says now, as the machine has it.
func (ns *namespace) appendLimitRow(b []byte, key string) []byte {
	if l := ns.limits[key]; l != nil {
		return l.appendLog(b)
	}
	return b
}
