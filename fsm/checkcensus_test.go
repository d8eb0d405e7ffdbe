package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// checkCensuses: who had a key is remembered with how that ended; each census counts what there is, has somebody who waits, and who waits by a
// key has one; and nobody waits for what is there, unless something is to be done.
func checkCensuses(m *Machine, ns *namespace) (broken error) {
	if !m.remembers() {
		return nil
	}
	for _, i := range ns.instances {
		for _, p := range i.rec.Keys {
			value, found := m.get(key(tableHad, ns.rec.Namespace, p.Key, p.Value, i.rec.InstanceId))
			state := v1.InstanceState_INSTANCE_STATE_RUNNING
			if len(value) > 0 {
				state = v1.InstanceState(value[0])
			}
			_, live := m.get(key(tableKey, ns.rec.Namespace, p.Key, p.Value, i.rec.InstanceId))
			if live && !found || found && i.live() != Live(state) || found && !i.live() && i.rec.State != state {
				return fmt.Errorf("instance %s is %s; that it had %s=%s is known: %v, as %s", i.rec.InstanceId, i.rec.State, p.Key, p.Value, found, state)
			}
		}
	}
	ns.censuses.Ascend(func(c *census) bool {
		broken = checkCensus(m, c)
		return broken == nil
	})
	ns.waits.keyed.Ascend(func(d *dependency) bool {
		i, err := m.lookup(ns.rec.Namespace, d.run.instance)
		must(err)
		_, has := ns.censuses.Get(censusNamed(d.by.name, d.by.value, d.step))
		if !has && i.run(d.run.at).Todo == 0 {
			broken = fmt.Errorf("%v waits by %v, which nobody counts", d.run, d.by)
		}
		if _, over := (&turn{m: m, ns: ns}).musterOf(i, d.run.at); over && m.todos.Len() == 0 {
			broken = fmt.Errorf("%v waits by %v for what is there", d.run, d.by)
		}
		return broken == nil
	})
	return broken
}

func checkCensus(m *Machine, c *census) error {
	want := &census{ns: c.ns, rec: &logv1.Census{Key: c.rec.Key, Value: c.rec.Value, Step: c.rec.Step, From: c.rec.From, Counted: c.rec.Counted}, dirty: true}
	prefix := key(tableHad, c.ns.rec.Namespace, c.rec.Key, c.rec.Value)
	var ids []string
	m.scan(prefix, table.End(prefix), func(row, _ []byte) bool {
		id, _, _ := table.CutString(row[len(prefix):])
		ids = append(ids, id)
		return true
	})
	for _, id := range ids {
		i, err := m.lookup(c.ns.rec.Namespace, id)
		must(err)
		if want.counts(id) {
			m.count(want, id, i.stance(c.rec.Step))
		}
	}
	want.rec.Todo, want.rec.Behind = c.rec.Todo, c.rec.Behind
	if len(want.rec.First) != len(c.rec.First) || len(want.rec.Failures) != len(c.rec.Failures) {
		return fmt.Errorf("census %v has other names than %v", c.rec, want.rec)
	}
	want.rec.First, want.rec.Failures = c.rec.First, c.rec.Failures // in the order in which it was known
	if !proto.Equal(want.rec, c.rec) || c.firstWaits(0) == nil {
		return fmt.Errorf("census %v is to be %v, and %v waits", c.rec, want.rec, c.firstWaits(0))
	}
	return nil
}
