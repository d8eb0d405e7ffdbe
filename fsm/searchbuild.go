package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// A cluster that comes to the level of the index has instances that are in none, a million of them perhaps. Each entry adds some, in
// the order of their ids, before it does anything else: what is added is what the entry finds, flushed, so it follows from the log. As long
// as some are left entries follow each other without a command, and lists look at instances as they did below the level.

const (
	// indexMost and indexBytes bound what one entry adds to the index of what was there before: instances, and bytes of their records.
	indexMost  = 500
	indexBytes = 256 << 10
)

// beginIndex has the instances of a namespace added to the index by the entries that follow.
func (m *Machine) beginIndex(ns *namespace) {
	ns.rec.Indexing, ns.rec.IndexedTo, ns.rec.IndexedWall = true, "", m.group.Wall
	m.toIndex++
	m.dirtyNamespace(ns)
}

// indexed says that all of a namespace is in the index.
func (m *Machine) indexed(ns *namespace) {
	if ns.rec.Indexing {
		ns.rec.Indexing, ns.rec.IndexedTo = false, ""
		m.toIndex--
		m.dirtyNamespace(ns)
	}
}

// buildIndex adds the share of an entry.
func (m *Machine) buildIndex() {
	if m.toIndex == 0 {
		return
	}
	must(m.flush())
	left := share{indexMost, indexBytes}
	for _, name := range m.names {
		if ns := m.namespaces[name]; ns.rec.Indexing && !m.addToIndex(ns, &left) {
			return
		}
	}
}

// share is what an entry may still add.
type share struct{ instances, bytes int }

// addToIndex adds the next instances of a namespace; it says whether the entry may go on behind them.
func (m *Machine) addToIndex(ns *namespace, left *share) bool {
	name := ns.rec.Namespace
	from, to := key(tableInstance, name), table.End(key(tableInstance, name))
	if ns.rec.IndexedTo != "" {
		from = append(key(tableInstance, name, ns.rec.IndexedTo), 0)
	}
	open := true
	must(m.engine.Scan(from, to, func(_, value []byte) bool {
		if open = left.instances > 0 && left.bytes > 0; !open {
			return false
		}
		rec := &logv1.Instance{}
		must(proto.Unmarshal(value, rec))
		m.eachIndexRow(ns, rec, standingOf(rec), func(k []byte) {
			m.dirty.index = append(m.dirty.index, olderRow{name, slices.Clone(k)})
			m.dirtyBytes += len(k)
		})
		left.instances--
		left.bytes -= len(value)
		ns.rec.IndexedTo = rec.InstanceId
		return true
	}))
	m.dirtyNamespace(ns)
	if open {
		m.indexed(ns)
	}
	return open
}
