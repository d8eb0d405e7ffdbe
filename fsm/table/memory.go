package table

import (
	"bytes"
	"slices"
	"sync"

	"github.com/google/btree"
)

// NewMemory returns an engine that keeps its rows in memory. Sync promises nothing: it is for tests, for
// simulation, and for what may be lost.
func NewMemory() Engine {
	return &memory{rows: btree.NewG(degree, func(a, b memoryRow) bool { return bytes.Compare(a.key, b.key) < 0 })}
}

// degree is that of the tree of rows. A write behind a snapshot copies every node on its way: small ones cost less.
const degree = 16

// MemoryOf returns an engine in memory that begins with the rows of a snapshot of one. It costs O(1), and neither changes
// the other: the simulator goes back to a point in time with it.
func MemoryOf(s Snapshot) Engine { return &memory{rows: s.(*memorySnapshot).rows.Clone()} }

type memoryRow struct{ key, value []byte }

type memory struct {
	mu   sync.RWMutex // guards rows, which snapshots share by copy on write
	rows *btree.BTreeG[memoryRow]
}

func (m *memory) Get(key []byte) (value []byte, found bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	row, found := m.rows.Get(memoryRow{key: key})
	return slices.Clone(row.value), found, nil
}

func (m *memory) Scan(lo, hi []byte, fn func(key, value []byte) bool) error {
	view := m.Snapshot()
	defer view.Close()
	return view.Scan(lo, hi, fn)
}

func (m *memory) ScanBack(lo, hi []byte, fn func(key, value []byte) bool) error {
	view := m.Snapshot()
	defer view.Close()
	return view.ScanBack(lo, hi, fn)
}

func (m *memory) Write(b *Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b.kept = true
	for _, o := range b.ops {
		switch o.kind {
		case opPut:
			m.rows.ReplaceOrInsert(memoryRow{o.key, o.value})
		case opDelete:
			m.rows.Delete(memoryRow{key: o.key})
		case opDeleteRange:
			m.deleteRange(o.key, o.value)
		}
	}
	return nil
}

func (m *memory) deleteRange(lo, hi []byte) {
	var gone []memoryRow
	ascend(m.rows, lo, hi, func(row memoryRow) bool {
		gone = append(gone, row)
		return true
	})
	for _, row := range gone {
		m.rows.Delete(row)
	}
}

func (m *memory) Snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memorySnapshot{m.rows.Clone()}
}

func (m *memory) Sync() error  { return nil }
func (m *memory) Close() error { return nil }

type memorySnapshot struct{ rows *btree.BTreeG[memoryRow] }

func (s *memorySnapshot) Get(key []byte) (value []byte, found bool, err error) {
	row, found := s.rows.Get(memoryRow{key: key})
	return slices.Clone(row.value), found, nil
}

func (s *memorySnapshot) Scan(lo, hi []byte, fn func(key, value []byte) bool) error {
	ascend(s.rows, lo, hi, func(row memoryRow) bool { return fn(row.key, row.value) })
	return nil
}

func (s *memorySnapshot) ScanBack(lo, hi []byte, fn func(key, value []byte) bool) error {
	step := func(row memoryRow) bool {
		return bytes.Compare(row.key, lo) >= 0 && fn(row.key, row.value)
	}
	if len(hi) == 0 {
		s.rows.Descend(step)
		return nil
	}
	s.rows.DescendLessOrEqual(memoryRow{key: hi}, func(row memoryRow) bool {
		return bytes.Equal(row.key, hi) || step(row)
	})
	return nil
}

func (s *memorySnapshot) Close() error { return nil }

func ascend(rows *btree.BTreeG[memoryRow], lo, hi []byte, fn func(memoryRow) bool) {
	if len(hi) == 0 {
		rows.AscendGreaterOrEqual(memoryRow{key: lo}, fn)
		return
	}
	rows.AscendRange(memoryRow{key: lo}, memoryRow{key: hi}, fn)
}
