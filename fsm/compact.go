package fsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// The feed of a namespace is cut at its beginning: what is older than its namespace keeps events is dropped, a slice an entry, and the
// blocks behind which nothing is left go as a range with the next flush. What is in the history of an instance that is kept is copied to its archive
// first, one loose row an event, so that histories are whole. Few are, where instances are kept no longer than events: what is
// dropped is a thirty-second older than it has to be, and most instances whose events it is are gone by then.

const (
	dropMost  = 256 // events that a slice drops
	dropSlack = 32
	dropped   = "lockstep.retention.compacted.v1"
)

func archiveKey(namespace, id string, position int64) []byte {
	return table.AppendUint64(key(tableArchive, namespace, id), uint64(position))
}

// outdated are the first events of a feed that are to be dropped at a date, up to dropMost. That some were dropped is dropped with
// others: or each time would leave one to be dropped.
func (m *Machine) outdated(ns *namespace, date int64) []*v1.Event {
	until := date - ns.rec.KeepEvents - ns.rec.KeepEvents/dropSlack
	events, err := m.readEvents(ns, ns.rec.Compacted, dropMost)
	must(err)
	n, others := 0, false
	for ; n < len(events) && events[n].Time.GetSeconds()*oneSecond+int64(events[n].Time.GetNanos()) <= until; n++ {
		others = others || events[n].Type != dropped
	}
	if !others && n < dropMost {
		return nil
	}
	return events[:n]
}

// dropEvents drops a slice of the feed; it says how many events that is.
func (t *turn) dropEvents() int32 {
	if t.ns.rec.KeepEvents == 0 {
		return 0
	}
	events := t.m.outdated(t.ns, t.wall())
	if len(events) > 0 {
		t.emit(&eventsDropped{events})
	}
	return int32(len(events))
}

// eventsDropped cuts the feed.
type eventsDropped struct{ events []*v1.Event }

func (e *eventsDropped) kind() string { return dropped }
func (e *eventsDropped) fill(d *v1.EventData) string {
	d.Removed, d.Through = int64(len(e.events)), e.events[len(e.events)-1].Position
	return "namespace"
}
func (e *eventsDropped) evolve(t *turn) {
	ns := t.ns
	begun := map[string]int64{} // by instance, the position at which it began; whenever for one that there is not
	for _, event := range e.events {
		id := event.Data.InstanceId
		if id == "" {
			continue
		}
		from, known := begun[id]
		if !known {
			from = t.m.begunAt(ns, id)
			begun[id] = from
		}
		if event.Position >= from && !plant.Is(plant.CutUnkept) {
			t.m.put(archiveKey(ns.rec.Namespace, id, event.Position), appendEvent(nil, event))
		}
	}
	ns.rec.Compacted = e.events[len(e.events)-1].Position
	ns.cut = true
	t.m.dirtyNamespace(ns)
}

// begunAt is the position of the event that began an instance: those before are of one that had its id. It is 0 of one of below
// retentionLevel, when no id came twice, and whenever of none.
func (m *Machine) begunAt(ns *namespace, id string) int64 {
	if i := ns.instances[id]; i != nil {
		return i.rec.StartedPosition
	}
	if _, gone := ns.gone[id]; gone {
		return whenever
	}
	value, found, err := m.stored(ns.rec.Namespace).Get(key(tableInstance, ns.rec.Namespace, id))
	if must(err); !found {
		return whenever
	}
	rec := &logv1.Instance{}
	must(proto.Unmarshal(value, rec))
	return rec.StartedPosition
}

// flushCut has the blocks go of which nothing is kept: those before the one that has the first event that is.
func (m *Machine) flushCut(b *table.Batch, ns *namespace) {
	ns.cut = false
	prefix := key(tableBlock, ns.rec.Namespace)
	var to []byte
	must(m.stored(ns.rec.Namespace).ScanBack(prefix, append(table.AppendUint64(slices.Clone(prefix), uint64(ns.rec.Compacted+1)), 0), func(k, _ []byte) bool {
		to = slices.Clone(k)
		return false
	}))
	if to == nil {
		return
	}
	from := prefix
	if ns.cutTo != nil {
		from = ns.cutTo
	}
	b.DeleteRange(from, to)
	ns.cutTo = to
}
