package fsm

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// checkRows: each row that names an instance, in whatever table, is of one that is there, and of none that had its id before. Rows are those
// that the next flush leaves. What is not exact before a flush is looked at behind one. Left are those that tell of an instance and are not its
// own: events, signals that are remembered until their time is over, and what a schedule remembers of its last times.
func checkRows(m *Machine) error {
	for _, name := range m.names {
		c := &rowCheck{m: m, ns: m.namespaces[name], there: map[string]*logv1.Instance{}}
		c.instances()
		for _, tbl := range namespaceTables {
			c.table(tbl)
		}
		c.memory()
		if c.broken != nil {
			return fmt.Errorf("namespace %s: %w", name, c.broken)
		}
	}
	return nil
}

type rowCheck struct {
	m      *Machine
	ns     *namespace
	there  map[string]*logv1.Instance
	broken error
}

func (c *rowCheck) fail(format string, args ...any) {
	if c.broken == nil {
		c.broken = fmt.Errorf(format, args...)
	}
}

// each calls fn with the rows of a table that the next flush leaves, but for those that it adds; of loose rows with all.
func (c *rowCheck) each(tbl byte, fn func(rest, value []byte)) {
	prefix := key(tbl, c.ns.rec.Namespace)
	if slices.Contains(looseTables[:], tbl) {
		c.m.scan(prefix, table.End(prefix), func(k, value []byte) bool { fn(k[len(prefix):], value); return true })
		return
	}
	goes := map[string]bool{}
	for _, k := range c.m.dirty.replaced {
		goes[string(k)] = true
	}
	must(c.m.stored(c.ns.rec.Namespace).Scan(prefix, table.End(prefix), func(k, value []byte) bool {
		if !goes[string(k)] && !c.m.erased(k) {
			fn(k[len(prefix):], value)
		}
		return true
	}))
}

// instances finds those that are there.
func (c *rowCheck) instances() {
	c.each(tableInstance, func(rest, value []byte) {
		rec := &logv1.Instance{}
		must(proto.Unmarshal(value, rec))
		if id, _, _ := table.CutString(rest); id != rec.InstanceId {
			c.fail("instance %q has the row of %q", rec.InstanceId, id)
		}
		c.there[rec.InstanceId] = rec
	})
	for id, i := range c.ns.instances {
		if i.gone {
			c.fail("instance %s is removed, and in memory", id)
		}
		c.there[id] = i.rec
	}
}

// of finds the instance that a row names.
func (c *rowCheck) of(tbl byte, id string) *logv1.Instance {
	rec := c.there[id]
	if rec == nil {
		c.fail("table %c names instance %q, which is not there", tbl, id)
		return &logv1.Instance{}
	}
	return rec
}

func (c *rowCheck) table(tbl byte) {
	switch tbl {
	case tablePage, tablePending, tablePayload:
		c.each(tbl, func(rest, _ []byte) { c.page(tbl, rest) })
	case tableHistory:
		c.each(tbl, func(rest, value []byte) {
			id, k, _ := table.CutString(rest)
			rec := c.of(tbl, id)
			must(eachPosition(k, value, func(position int64) bool {
				if position < rec.StartedPosition {
					c.fail("the history of %s has position %d, and it began at %d", id, position, rec.StartedPosition)
				}
				return true
			}))
		})
	case tableLate:
		c.each(tbl, func(rest, value []byte) {
			id, _, _ := table.CutString(rest)
			late := &logv1.LateResult{}
			must(proto.Unmarshal(value, late))
			if rec := c.of(tbl, id); late.ReceivedWall < rec.StartedWall {
				c.fail("%s has a late result of one that had its id", id)
			}
		})
		for _, late := range c.m.dirty.late {
			if late.namespace == c.ns.rec.Namespace {
				c.of(tbl, late.rec.InstanceId)
			}
		}
	case tableKey, tableHad:
		c.each(tbl, func(rest, _ []byte) { c.keyed(tbl, rest) })
	case tableArchive:
		c.each(tbl, func(rest, _ []byte) {
			id, k, _ := table.CutString(rest)
			position, _, _ := table.CutUint64(k)
			if rec := c.of(tbl, id); int64(position) < rec.StartedPosition || int64(position) > c.ns.rec.Compacted {
				c.fail("the archive of %s has position %d; it began at %d, and the feed is cut at %d", id, position, rec.StartedPosition, c.ns.rec.Compacted)
			}
		})
	case tableObserved:
		c.observed()
	case tableEnded:
		c.endings()
	case tableNumbered:
		c.numbered()
	case tableLock:
		c.each(tbl, func(_, value []byte) {
			rec := &logv1.Lock{}
			must(proto.Unmarshal(value, rec))
			if l := c.ns.locks[rec.Lock]; l != nil {
				rec = l.rec
			}
			c.lock(rec)
		})
	case tableIndex:
		c.each(tbl, func(rest, _ []byte) {
			if id := indexed(rest); c.there[id] == nil {
				c.fail("table %c names instance %q, which is not there", tbl, id)
			}
		})
	}
}

// indexed is the instance that a row of the index names.
func indexed(rest []byte) (id string) {
	by, values := rest[0], map[byte]int{findWorkflow: 1, findVersion: 2, findLabel: 2, findKey: 2}
	rest = rest[1:]
	for range values[by] {
		_, rest, _ = table.CutString(rest)
	}
	if by != findQuiet {
		rest = rest[1:] // the state
	}
	_, rest, _ = table.CutUint64(rest)
	id, _, _ = table.CutString(rest)
	return id
}

// page: an instance that was removed had others, and perhaps more.
func (c *rowCheck) page(tbl byte, rest []byte) {
	id, k, _ := table.CutString(rest)
	c.of(tbl, id)
	if c.broken != nil || c.m.flushed != c.m.group.Index {
		return
	}
	i, err := c.m.lookup(c.ns.rec.Namespace, id)
	must(err)
	if f, _ := i.pageAt(k); f == nil && tbl != tablePayload {
		c.fail("table %c has a page of instance %s which that does not have", tbl, id)
	}
}

func (c *rowCheck) keyed(tbl byte, rest []byte) {
	name, rest, _ := table.CutString(rest)
	value, rest, _ := table.CutString(rest)
	id, _, _ := table.CutString(rest)
	rec := c.of(tbl, id)
	if !slices.ContainsFunc(rec.Keys, func(p *logv1.Pair) bool { return p.Key == name && p.Value == value }) {
		c.fail("table %c has the key %s=%s of instance %s, which does not have it", tbl, name, value, id)
	}
}

// endings: each that has ended has one place in the order, and nothing else has.
func (c *rowCheck) endings() {
	places := map[string]int{}
	c.each(tableEnded, func(rest, value []byte) {
		e, err := cutEnding(rest, value)
		must(err)
		if rec := c.of(tableEnded, e.id); Live(rec.State) {
			c.fail("%s is %s, and has a place among those that have ended", e.id, rec.State)
		}
		places[e.id]++
	})
	for id, rec := range c.there {
		if n := places[id]; n > 1 || n == 0 && !Live(rec.State) && !c.ns.rec.Unordered && c.m.level() >= retentionLevel {
			c.fail("%s is %s, and has %d places among those that have ended", id, rec.State, n)
		}
	}
}

// numbered: each payload is somebody's.
func (c *rowCheck) numbered() {
	if c.broken != nil || c.m.flushed != c.m.group.Index {
		return
	}
	whose := map[int64]string{}
	for id := range c.there {
		i, err := c.m.lookup(c.ns.rec.Namespace, id)
		must(err)
		take := func(p *payloads) {
			for _, number := range p.number {
				if number > 0 {
					whose[number] = id
				}
			}
		}
		for f := range i.frames() {
			take(&f.payloads)
			for _, r := range f.runs {
				take(&r.payloads)
			}
		}
	}
	c.each(tableNumbered, func(rest, _ []byte) {
		number, _, _ := table.CutUint64(rest)
		if whose[int64(number)] == "" {
			c.fail("payload %d is nobody's", number)
		}
		delete(whose, int64(number))
	})
	for number, id := range whose {
		c.fail("instance %s lacks its payload %d", id, number)
	}
}

func (c *rowCheck) lock(rec *logv1.Lock) {
	for _, list := range [][]*logv1.LockHolder{rec.Holders, rec.Lapsed} {
		for _, h := range list {
			if h.InstanceId != "" {
				c.of(tableLock, h.InstanceId)
			}
		}
	}
}

// memory: what is kept beside rows is of instances that are there.
func (c *rowCheck) memory() {
	in := func(what string, k *runKey) {
		if k != nil && k.namespace == c.ns.rec.Namespace && k.instance != "" && c.there[k.instance] == nil {
			c.fail("%s is of instance %q, which is not there", what, k.instance)
		}
	}
	for _, l := range c.ns.locks {
		c.lock(l.rec)
	}
	c.ns.waits.of.Ascend(func(d *dependency) bool { in("a wait", d.run); return true })
	for d := range c.m.deadlines.all() {
		in("a deadline", d.run)
	}
	c.m.dates.Ascend(func(d date) bool { in("a date", d.run); return true })
	c.m.todos.Ascend(func(d todo) bool { in("something to do", d.run); return true })
	for _, s := range c.m.sessions {
		if s.ns == c.ns {
			for _, lease := range s.rec.Leases {
				if lease.InstanceId != "" {
					c.of(tableSession, lease.InstanceId)
				}
			}
		}
	}
	for _, s := range c.ns.schedules {
		if s.rec.Running != "" {
			c.of(tableSchedule, s.rec.Running)
		}
	}
	for id, rec := range c.there {
		for _, other := range append(slices.Clone(rec.Line.GetQueued()), rec.Line.GetHolder()) {
			if other != "" {
				c.of(tableInstance, other)
			}
		}
		if first := rec.Line.GetFirst(); first != "" && rec.State == v1.InstanceState_INSTANCE_STATE_QUEUED && c.there[first] == nil {
			c.fail("%s waits for the id of %s, which is not there", id, first)
		}
	}
}

// observed: what is kept is counted; what was drift when it was told, and orphans, have their places, and nothing else has.
func (c *rowCheck) observed() {
	m, ns := c.m, c.ns
	all, orphans, drifts := int64(0), int64(0), 0
	var list []*logv1.Observation
	scan := func(tbl byte, fn func(k, value []byte)) {
		prefix := key(tbl, ns.rec.Namespace)
		m.scan(prefix, table.End(prefix), func(k, value []byte) bool {
			fn(k, value)
			return true
		})
	}
	scan(tableObserved, func(k, value []byte) {
		rec := &logv1.Observation{}
		must(proto.Unmarshal(value, rec))
		all, list = all+1, append(list, rec)
		if !bytes.Equal(k, observedKey(ns.rec.Namespace, rec)) {
			c.fail("the observation %v has the key %q", rec, k)
		}
		if rec.Open {
			drifts++
			if _, has := m.get(driftKey(ns.rec.Namespace, rec)); !has {
				c.fail("the observation %v was drift, and has no place in the order of that", rec)
			}
		}
		if rec.OverAt == 0 {
			c.of(tableObserved, rec.InstanceId)
			return
		}
		orphans++
		if _, has := m.get(orphanKey(ns.rec.Namespace, rec)); !has {
			c.fail("the orphan %v has no place in the order in which they are over", rec)
		}
	})
	scan(tableDrift, func([]byte, []byte) { drifts-- })
	left := orphans
	scan(tableOrphan, func([]byte, []byte) { left-- })
	if all != ns.rec.Observations || orphans != ns.rec.Orphans || drifts != 0 || left != 0 {
		c.fail("%d observations and %d orphans are counted; there are %d and %d, and of their places %d and %d too few", ns.rec.Observations, ns.rec.Orphans, all, orphans, drifts, left)
	}
	for _, rec := range list {
		if d := m.compare(ns, m.about(ns, rec), rec); d.open() && !rec.Open {
			c.fail("the observation %v is %s, and was none when it was told", rec, d.class)
		}
	}
}
