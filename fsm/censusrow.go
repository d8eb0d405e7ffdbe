package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What is stored of who has which key, and of censuses; and what is to be done about these.

// remembers says whether who had a key is known.
func (m *Machine) remembers() bool { return m.group.Level >= awaitsLevel }

// had has an instance be among those that have a key: as one that lives, or as it has ended.
func (m *Machine) had(i *instance, p *logv1.Pair) {
	var how []byte
	if !i.live() {
		how = []byte{byte(i.rec.State)}
	}
	m.put(key(tableHad, i.ns.rec.Namespace, p.Key, p.Value, i.rec.InstanceId), how)
}

// hadEnded has the keys of an instance that ended say how. One that waited for its id until then has none.
func (m *Machine) hadEnded(i *instance) {
	if !m.remembers() || !i.wasKeyed(m) {
		return
	}
	for _, p := range i.rec.Keys {
		m.had(i, p)
	}
}

// wasKeyed says whether an instance is among those that had its keys: it is not if it waited for its id until it ended.
func (i *instance) wasKeyed(m *Machine) bool {
	if len(i.rec.Keys) == 0 || i.rec.Line.GetFirst() == "" {
		return len(i.rec.Keys) > 0
	}
	_, has := m.get(key(tableHad, i.ns.rec.Namespace, i.rec.Keys[0].Key, i.rec.Keys[0].Value, i.rec.InstanceId))
	return has
}

// rememberLive has the keys of all live instances be known, when the cluster comes to the level that knows them.
func (m *Machine) rememberLive(ns *namespace) {
	m.eachLive(ns, func(rec *logv1.Instance) {
		if rec.State == v1.InstanceState_INSTANCE_STATE_QUEUED {
			return
		}
		for _, p := range rec.Keys {
			m.put(key(tableHad, ns.rec.Namespace, p.Key, p.Value, rec.InstanceId), nil)
		}
	})
}

// again has something be done about a census, behind all that is to be done already.
func (m *Machine) again(c *census) {
	m.unlist(c)
	c.rec.Todo = m.nextTodo()
	m.list(c)
	m.dirtyCensus(c)
}

// list puts a census among what something is to be done about, and unlist takes it away.
func (m *Machine) list(c *census) {
	m.todos.ReplaceOrInsert(todo{c.rec.Todo, &runKey{namespace: c.ns.rec.Namespace}, c})
}

func (m *Machine) unlist(c *census) {
	if c.rec.Todo > 0 {
		m.todos.Delete(todo{seq: c.rec.Todo})
		c.rec.Todo = 0
		m.dirtyCensus(c)
	}
}

// dirtyCensus has the next flush write a census, or delete its row when it is gone.
func (m *Machine) dirtyCensus(c *census) {
	if !c.dirty {
		c.dirty = true
		m.dirty.censuses = append(m.dirty.censuses, c)
		m.dirtyBytes += 256
	}
}

func (m *Machine) flushCensus(b *table.Batch, c *census) {
	c.dirty = false
	k := m.room.key(tableCensus, c.ns.rec.Namespace, c.rec.Key, c.rec.Value, c.rec.Step)
	if is, ok := c.ns.censuses.Get(c); ok && !plant.Is(plant.CensusNotStored) {
		b.Put(k, m.room.encode(is.rec))
		return
	}
	b.Delete(k)
}

// loadCensuses reads those of a namespace.
func (m *Machine) loadCensuses(ns *namespace) error {
	blank := func() *logv1.Census { return &logv1.Census{} }
	return scanRows(m.engine, key(tableCensus, ns.rec.Namespace), blank, func(_ []byte, rec *logv1.Census) error {
		c := &census{ns: ns, rec: rec}
		ns.censuses.ReplaceOrInsert(c)
		if rec.Todo > 0 {
			m.list(c)
		}
		return nil
	})
}

// appendCensusRow adds the canonical encoding of a census's row to a slice of the state.
func (ns *namespace) appendCensusRow(b []byte, name string, rest, k, stored []byte) ([]byte, error) {
	value, rest, _ := table.CutString(rest)
	step, _, _ := table.CutString(rest)
	if c, ok := ns.censuses.Get(censusNamed(name, value, step)); ok {
		return appendRow(b, proto.Message(c.rec)), nil
	}
	return appendStored(b, k, stored, &logv1.Census{})
}
