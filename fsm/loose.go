package fsm

import (
	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/fsm/table"
)

// Loose rows belong to no record that is in memory while it is used, and there may be as many as there are instances: the
// index of keys, and what is kept under a key. The machine reads them from the engine, under those that changed since the last
// flush, so memory holds none of those that rest, and a start reads none.

// looseRow is one that changed since the last flush.
type looseRow struct {
	key   string
	value []byte
	gone  bool
}

func (r looseRow) less(o looseRow) bool { return r.key < o.key }

func newLoose() *btree.BTreeG[looseRow] { return btree.NewG(32, looseRow.less) }

// put sets a loose row. The value must not be changed any more.
func (m *Machine) put(k, value []byte) {
	m.loose.ReplaceOrInsert(looseRow{key: string(k), value: value})
	m.dirtyBytes += len(k) + len(value)
}

// drop removes a loose row, which may be absent.
func (m *Machine) drop(k []byte) {
	m.loose.ReplaceOrInsert(looseRow{key: string(k), gone: true})
	m.dirtyBytes += len(k)
}

// get returns a copy of a loose row's value, or the value itself: it must not be changed.
func (m *Machine) get(k []byte) (value []byte, found bool) {
	if r, changed := m.loose.Get(looseRow{key: string(k)}); changed {
		return r.value, !r.gone
	}
	if m.erased(k) {
		return nil, false
	}
	value, found, err := m.storedAt(k).Get(k)
	must(err)
	return value, found
}

// scan calls fn for each loose row from one key to another, in their order, until it returns false. fn changes none.
func (m *Machine) scan(from, to []byte, fn func(k, value []byte) bool) {
	at, open := string(from), true
	changed := func(until string) {
		m.loose.AscendRange(looseRow{key: at}, looseRow{key: until}, func(r looseRow) bool {
			open = r.gone || fn([]byte(r.key), r.value)
			return open
		})
		at = until
	}
	must(m.storedAt(from).Scan(from, to, func(k, value []byte) bool {
		if changed(string(k)); !open {
			return false
		}
		if !m.loose.Has(looseRow{key: at}) && !m.erased(k) { // else it comes with those that changed
			open = fn(k, value)
		}
		return open
	}))
	if open {
		changed(string(to))
	}
}

// storedAt is where the loose rows of a key's namespace are stored.
func (m *Machine) storedAt(k []byte) table.Reader {
	name, _, _ := table.CutString(k[1:])
	return m.stored(name)
}

// flushLoose adds what changed to a batch.
func (m *Machine) flushLoose(b *table.Batch) {
	m.loose.Ascend(func(r looseRow) bool {
		if r.gone {
			b.Delete([]byte(r.key))
		} else {
			b.Put([]byte(r.key), r.value)
		}
		return true
	})
	m.loose.Clear(true)
}

// forgetLoose takes what changed in a namespace away: its rows go as ranges.
func (m *Machine) forgetLoose(ns *namespace) {
	for _, tbl := range looseTables {
		m.forgetChanged(key(tbl, ns.rec.Namespace))
	}
}

// forgetChanged takes away what changed under a prefix.
func (m *Machine) forgetChanged(prefix []byte) {
	var gone []looseRow
	m.loose.AscendRange(looseRow{key: string(prefix)}, looseRow{key: string(table.End(prefix))}, func(r looseRow) bool {
		gone = append(gone, r)
		return true
	})
	for _, r := range gone {
		m.loose.Delete(r)
	}
}
