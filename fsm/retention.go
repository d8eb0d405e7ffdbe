package fsm

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What is over is kept for as long as its namespace says, and then removed, a slice an entry. The leader looks for what is over its time,
// and asks for a slice when it has room (cluster/retention.go); what is in it is decided here, by the time of the entry. An instance is over its time
// when both the wall clock and uptime have gone on for so long since its end: so a clock that is wrong, and ahead, removes nothing early,
// and a cluster that was stopped keeps things for longer. Without a word everything is kept for ever.

// retentionLevel is the cluster level from which on what is over is removed.
const retentionLevel = 21

const (
	minRetention = time.Second
	maxRetention = 87_600 * time.Hour // 10 years

	// RemoveMost is how many instances a slice removes at most.
	RemoveMost = 50
	removeRows = 2000 // and rows of their payloads
)

// SizedLevel is the cluster level from which on the leader says how large a slice is to be, of removal and of a bulk operation.
const SizedLevel = 29

// sized is how much of a bound is meant for a slice of so many instances, of most; none is the whole of it.
func sized(bound, most int, said int32) int {
	if said <= 0 || int(said) >= most {
		return bound
	}
	return max(1, bound*int(said)/most)
}

// LimitRemoval has slices be smaller, for tests: all replicas of a log have the same limits.
func (m *Machine) LimitRemoval(instances, rows int) { m.removeMost, m.removeRows = instances, rows }

// checkRetention refuses what is out of bounds.
func checkRetention(r *v1.Retention) *Refusal {
	for _, x := range [...]struct {
		what string
		d    *durationpb.Duration
	}{{"finished", r.GetFinished()}, {"events", r.GetEvents()}} {
		d := x.d.AsDuration()
		if x.d != nil && !x.d.IsValid() || d != 0 && (d < minRetention || d > maxRetention) {
			return Refuse(v1.Code_CODE_INVALID, "retention.%s is %s, and must be between %s and %s; left out, or 0, it is for ever", x.what, d, minRetention, maxRetention)
		}
	}
	return nil
}

// retains has a namespace's record say how long things are kept.
func retains(rec *logv1.Namespace, r *v1.Retention) {
	rec.KeepFinished, rec.KeepEvents = int64(r.GetFinished().AsDuration()), int64(r.GetEvents().AsDuration())
	rec.ExportFirst = r.GetExportFirst()
}

// retentionOf is what a record says of it; nil is for ever.
func retentionOf(rec *logv1.Namespace) *v1.Retention {
	if rec.KeepFinished == 0 && rec.KeepEvents == 0 && !rec.ExportFirst {
		return nil
	}
	r := &v1.Retention{ExportFirst: rec.ExportFirst}
	if rec.KeepFinished > 0 {
		r.Finished = durationpb.New(time.Duration(rec.KeepFinished))
	}
	if rec.KeepEvents > 0 {
		r.Events = durationpb.New(time.Duration(rec.KeepEvents))
	}
	return r
}

// sayRetention is what an event tells of it.
func sayRetention(r *v1.Retention) (text string) {
	if d := r.GetFinished().AsDuration(); d > 0 {
		text += "finished " + d.String()
	}
	if d := r.GetEvents().AsDuration(); d > 0 {
		if text != "" {
			text += ", "
		}
		text += "events " + d.String()
	}
	if r.GetExportFirst() && text != "" {
		text += ", exported first"
	}
	return text
}

// retain removes a slice of what is over its time; nothing when nothing is.
func (t *turn) retain(r *logv1.Retain) (proto.Message, *Refusal) {
	if t.ns.rec.Indexing { // rows of what is removed might come behind that
		return &logv1.Retained{}, nil
	}
	if t.ns.rec.Unordered {
		return &logv1.Retained{Ordered: t.orderEnds()}, nil
	}
	return &logv1.Retained{Instances: t.removeFinished(r.Most), Events: t.dropEvents()}, nil
}

// outlived: an instance is over its time.
func (ns *namespace) outlived(e ending, wall, uptime int64) bool {
	keep := ns.rec.KeepFinished
	if plant.Is(plant.RemovedEarly) {
		keep /= 2
	}
	return keep > 0 && wall-e.wall >= keep && uptime-e.uptime >= keep && (!ns.rec.ExportFirst || e.position <= ns.rec.Exported)
}

// removeFinished removes instances that are over their time, up to the first that is still needed. One with more rows than a slice
// is taken apart in several, and goes with the last.
func (t *turn) removeFinished(said int32) int32 {
	most, rows := sized(t.m.removeMost, t.m.removeMost, said), sized(t.m.removeRows, t.m.removeMost, said)
	var over []ending
	t.m.endings(t.ns, t.ns.rec.RemovedTo+1, func(e ending) bool {
		if len(over) == most || !t.ns.outlived(e, t.wall(), t.uptime()) {
			return false
		}
		over = append(over, e)
		return true
	})
	slice := &finishedRemoved{through: t.ns.rec.RemovedTo, most: rows}
	left := rows
	for _, e := range over {
		if len(slice.behind) > 0 {
			break // its new place is that of the event which tells of it
		}
		i := t.resting(e.id)
		if i == nil || t.awaited(i) {
			break
		}
		if slice.has(i.rec.Line.GetHolder()) {
			break // behind that it leads nobody
		}
		if i.leads() || t.counts(i) {
			slice.behind, slice.through = append(slice.behind, removal{i, e}), e.position
			continue
		}
		has := i.payloadRows()
		if has > left {
			if len(slice.gone) == 0 {
				slice.apart = i
			}
			break
		}
		left -= has
		slice.gone, slice.through = append(slice.gone, removal{i, e}), e.position
	}
	if len(slice.gone)+len(slice.behind) == 0 && slice.apart == nil {
		return 0
	}
	t.emit(slice)
	return int32(len(slice.gone) + len(slice.behind) + slice.rows)
}

// resting finds an instance that is about to go, and does not keep it decoded.
func (t *turn) resting(id string) *instance {
	if i := t.ns.instances[id]; i != nil {
		return i
	}
	i, err := t.m.readInstance(t.ns, id)
	must(err)
	return i
}

// awaited: those who wait for the end of an instance were not all told yet. They will be, in the next entries.
func (t *turn) awaited(i *instance) (is bool) {
	if i.rec.Todo > 0 {
		return true
	}
	t.ns.waits.from(i.rec.InstanceId, "", func(*dependency) bool {
		is = true
		return false
	})
	return is
}

// leads: an instance is the first start of an id that others were started under. It is kept for as long again: what a start under the
// id finds goes by it.
func (i *instance) leads() bool {
	return i.rec.Line.GetHolder() != "" || len(i.rec.Line.GetQueued()) > 0
}

// counts: somebody waits by a key that an instance had. What has a key that is waited by is kept for as long again, so what a wait comes to
// does not hang on when removal came by, and a census counts what there is.
func (t *turn) counts(i *instance) (is bool) {
	if t.ns.waits.keyed.Len() == 0 || !i.wasKeyed(t.m) {
		return false
	}
	for _, p := range i.rec.Keys {
		t.ns.waits.keyed.AscendGreaterOrEqual(&dependency{run: &runKey{}, by: &keyWait{name: p.Key, value: p.Value}}, func(d *dependency) bool {
			is = d.by.name == p.Key && d.by.value == p.Value
			return false
		})
		if is {
			break
		}
	}
	return is
}

// removal is an instance that is removed, and its place.
type removal struct {
	i *instance
	e ending
}

// finishedRemoved removes instances.
type finishedRemoved struct {
	gone    []removal
	behind  []removal // kept for as long again
	apart   *instance // taken apart: some of its payloads go
	rows    int       // of that
	most    int       // rows that may go
	through int64
}

// has says whether an instance is among those that go.
func (e *finishedRemoved) has(id string) bool {
	return slices.ContainsFunc(e.gone, func(r removal) bool { return r.e.id == id })
}

func (e *finishedRemoved) kind() string { return "lockstep.retention.removed.v1" }
func (e *finishedRemoved) fill(d *v1.EventData) string {
	d.Removed, d.Through = int64(len(e.gone)), e.through
	return "namespace"
}
func (e *finishedRemoved) evolve(t *turn) {
	ns := t.ns
	late := len(e.gone) > 0 && t.m.any(ns, key(tableLate, ns.rec.Namespace)) // each instance's would be looked for, and few namespaces have one
	for _, r := range e.gone {
		t.remove(r, late)
	}
	for _, r := range e.behind {
		t.m.drop(endedKey(ns, r.e.position, r.e.id))
		t.m.putEnding(ns, ending{ns.rec.Position + 1, r.e.id, t.wall(), t.uptime()})
	}
	if e.apart != nil {
		e.rows = t.takeApart(e.apart, e.most)
	}
	ns.rec.RemovedTo, ns.rec.Removed = e.through, ns.rec.Removed+int64(len(e.gone))
	t.m.dirtyNamespace(ns)
}

// ackExport takes a word of how far finished instances were exported. One that says less than another has no effect.
func (t *turn) ackExport(r *v1.AckExportRequest) (proto.Message, *Refusal) {
	switch rec := t.ns.rec; {
	case rec.Unordered:
		return nil, notOrdered(t.ns)
	case r.Position > rec.Position:
		refusal := Refuse(v1.Code_CODE_INVALID, "position %d of namespace %s is in the future: the newest is %d", r.Position, rec.Namespace, rec.Position)
		refusal.Detail.Position = rec.Position
		return nil, refusal
	case r.Position > rec.Exported:
		t.emit(&exportAcknowledged{r})
	}
	return t.m.shown(t.ns), nil
}

func notOrdered(ns *namespace) *Refusal {
	return Refuse(v1.Code_CODE_UNAVAILABLE, "what has ended in namespace %s is being put in order, since the cluster is of a new version; try again when `lockstep namespace show` says no more of it", ns.rec.Namespace)
}

type exportAcknowledged struct{ r *v1.AckExportRequest }

func (e *exportAcknowledged) kind() string { return "lockstep.retention.exported.v1" }
func (e *exportAcknowledged) fill(d *v1.EventData) string {
	d.Through, d.Reason = e.r.Position, e.r.Reason
	return "namespace"
}
func (e *exportAcknowledged) evolve(t *turn) {
	t.ns.rec.Exported = e.r.Position
	t.m.dirtyNamespace(t.ns)
}

// Overdue lists the namespaces in which there is something to remove, or to put in order, at a date.
func (m *Machine) Overdue(date int64) (names []string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.level() < retentionLevel {
		return nil
	}
	for _, name := range m.names {
		ns := m.namespaces[name]
		if ns.rec.State != v1.NamespaceState_NAMESPACE_STATE_ACTIVE || ns.rec.Indexing {
			continue
		}
		over := ns.rec.Unordered || ns.rec.KeepEvents > 0 && len(m.outdated(ns, date)) > 0
		if !over && ns.rec.KeepFinished > 0 {
			first, ok := m.firstEnding(ns)
			over = ok && ns.outlived(first, date, m.group.Uptime)
		}
		if over {
			names = append(names, name)
		}
	}
	return names
}

// shown is a namespace, and what retention has left in it.
func (m *Machine) shown(ns *namespace) *v1.Namespace {
	out := ns.reply()
	out.Kept = &v1.Kept{Removed: ns.rec.Removed, FirstPosition: ns.rec.Compacted + 1, Exported: ns.rec.Exported, Ordering: ns.rec.Unordered}
	if first, ok := m.firstEnding(ns); ok {
		out.Kept.OldestEnded, out.Kept.OldestPosition = stamp(first.wall), first.position
		over := min(m.group.Wall-first.wall, m.group.Uptime-first.uptime) - ns.rec.KeepFinished
		if ns.rec.KeepFinished > 0 && over > 0 {
			out.Kept.Behind = durationpb.New(time.Duration(over))
		}
	}
	return out
}
