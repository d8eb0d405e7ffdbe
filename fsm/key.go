package fsm

import (
	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Correlation keys are names with values that an instance is started with. While it lives they are in an index, in which those
// with a key stand in the order of their ids. It is of cluster level 10: below it there is none, and what has come to the level
// has the keys of every live instance, also of those that were started before.

// keysLevel is the cluster level from which on keys are in an index.
const keysLevel = 10

// keyed says whether there is an index.
func (m *Machine) keyed() bool { return m.group.Level >= keysLevel }

// indexKeys has an instance's keys lead to it.
func (m *Machine) indexKeys(ns *namespace, rec *logv1.Instance) {
	for _, p := range rec.Keys {
		m.put(key(tableKey, ns.rec.Namespace, p.Key, p.Value, rec.InstanceId), nil)
	}
}

// unindexKeys has the keys of an instance that has ended lead nowhere.
func (m *Machine) unindexKeys(i *instance) {
	if !m.keyed() || plant.Is(plant.EndedMatches) {
		return
	}
	for _, p := range i.rec.Keys {
		m.drop(key(tableKey, i.ns.rec.Namespace, p.Key, p.Value, i.rec.InstanceId))
	}
}

// keyedBy lists live instances that have a key, by id, up to a number of them.
func (m *Machine) keyedBy(ns *namespace, k *v1.Key, limit int) (ids []string) {
	prefix := key(tableKey, ns.rec.Namespace, k.GetName(), k.GetValue())
	m.scan(prefix, table.End(prefix), func(row, _ []byte) bool {
		id, _, _ := table.CutString(row[len(prefix):])
		ids = append(ids, id)
		return len(ids) < limit
	})
	return ids
}

// indexLive puts the keys of all live instances into the index, when the cluster comes to the level that has one.
func (m *Machine) indexLive(ns *namespace) {
	m.eachLive(ns, func(rec *logv1.Instance) { m.indexKeys(ns, rec) })
}

// eachLive calls fn with every instance that lives, when the cluster comes to a level, below which none is queued. A live instance
// has something pending then, so that is what is read, and not every instance: once, as each start reads it.
func (m *Machine) eachLive(ns *namespace, fn func(*logv1.Instance)) {
	for e := m.resident.Front(); e != nil; e = e.Next() {
		if i := e.Value.(*instance); i.ns == ns && i.live() {
			fn(i.rec)
		}
	}
	prefix := key(tablePending, ns.rec.Namespace)
	last := ""
	stored := m.stored(ns.rec.Namespace)
	must(stored.Scan(prefix, table.End(prefix), func(k, _ []byte) bool {
		id, _, _ := table.CutString(k[len(prefix):])
		if id == last || ns.instances[id] != nil {
			return true
		}
		last = id
		rec := &logv1.Instance{}
		found, err := row(stored, key(tableInstance, ns.rec.Namespace, id), rec)
		if must(err); found && Live(rec.State) {
			fn(rec)
		}
		return true
	}))
}
