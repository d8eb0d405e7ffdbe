package fsm

import (
	"errors"
	"fmt"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// Events and payloads are only ever added, under numbers that grow, so they do not wait for the flush: they are written ahead of
// it whenever spillBytes of them are there, and memory holds no more. Until the flush the engine has more of them than the record
// of their namespace tells. A crash leaves them behind; what made them is in the log, so who opens the engine removes them.

const spillBytes = 1 << 20

// aheadLevel is the cluster level from which on payloads have numbers, and things are written ahead: an older version, which may come
// back below it, would take them for the state.
const aheadLevel = 8

// Appended are the first bytes of the keys that are written ahead: rows are only appended under them.
func Appended() []byte { return []byte{tableBlock, tableNumbered} }

// Relieve writes what waits in memory, if it is much: everything, when that is at least limit bytes, else what can be written ahead.
// When it is called never influences a reply or the digest.
func (m *Machine) Relieve(limit int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.dirtyBytes+m.added >= limit:
		return m.flush()
	case m.added >= spillBytes:
		return m.spill()
	}
	return nil
}

// Spill writes ahead of the flush what can be.
func (m *Machine) Spill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.spill()
}

func (m *Machine) spill() error {
	switch {
	case m.group.Level < aheadLevel:
		return nil
	case len(m.dirty.dropped) > 0:
		return m.flush() // which removes all rows of a namespace: none that is newer may be there yet
	}
	b := &m.batch
	b.Reset()
	m.gatherAdded(b)
	if err := m.engine.Write(b); err != nil {
		return fmt.Errorf("write ahead at entry %d: %w", m.group.Index, err)
	}
	b.Reset()
	return nil
}

// gatherAdded adds the rows of what is only ever added.
func (m *Machine) gatherAdded(b *table.Batch) {
	for _, ns := range m.dirty.namespaces {
		ns.feed.flush(b, &m.room, ns.rec.Namespace)
	}
	for _, ns := range m.dirty.namespaces {
		ns.payloads.flush(b, &m.room, ns.rec.Namespace)
	}
	m.added = 0
}

// dropAhead removes what was written ahead of a flush that never came.
func (m *Machine) dropAhead() error {
	b := &table.Batch{}
	err := errors.Join(
		m.dropBehind(b, tableBlock, func(rec *logv1.Namespace) int64 { return rec.Position }),
		m.dropBehind(b, tableNumbered, func(rec *logv1.Namespace) int64 { return rec.Payload }),
	)
	if err != nil || b.Len() == 0 {
		return err
	}
	return m.engine.Write(b)
}

// dropBehind removes the rows of a table that are behind the newest of their namespace, and those of no namespace.
func (m *Machine) dropBehind(b *table.Batch, tbl byte, newest func(*logv1.Namespace) int64) error {
	from := []byte{tbl}
	for _, name := range m.names {
		rows := key(tbl, name)
		if err := m.dropRange(b, from, rows); err != nil {
			return err
		}
		from = table.AppendUint64(rows, uint64(newest(m.namespaces[name].rec))+1)
	}
	return m.dropRange(b, from, table.End([]byte{tbl}))
}

// dropRange removes the keys of a range, if there are any: most engines were flushed before they were closed.
func (m *Machine) dropRange(b *table.Batch, from, to []byte) error {
	return m.engine.Scan(from, to, func(_, _ []byte) bool {
		b.DeleteRange(from, to)
		return false
	})
}
