package fsm

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A bulk operation does one thing to all instances that match a filter. It goes on a slice an entry, when the leader has room and says so
// (cluster/bulk.go); what is in a slice is decided here (bulkslice.go). So it needs neither its caller nor the leader that it began under, and
// what it has come to is its row: counters, and a place in the order of starts, in which no instance ever moves. An operation comes to each
// instance that there was when it started once, and decides then whether it matches; what was started later is not touched.

// bulkLevel is the cluster level from which on there are bulk operations.
const bulkLevel = 25

const (
	maxBulks      = 8   // that run in a namespace
	keptBulks     = 100 // that have ended in it
	shownRefusals = 5   // instances of each code
)

// bulk is one of a namespace. All are resident.
type bulk struct {
	ns    *namespace
	rec   *logv1.Bulk
	dirty bool
}

func (b *bulk) subject() string { return "bulk/" + b.rec.BulkId }
func (b *bulk) runs() bool      { return b.rec.State == v1.BulkState_BULK_STATE_RUNNING }

func (ns *namespace) addBulk(rec *logv1.Bulk) *bulk {
	b := &bulk{ns: ns, rec: rec}
	ns.bulks[rec.BulkId] = b
	if ns.bulkIDs = insertSorted(ns.bulkIDs, rec.BulkId); b.runs() {
		ns.bulksRun++
	}
	return b
}

func (ns *namespace) bulk(id string) (*bulk, *Refusal) {
	if b := ns.bulks[id]; b != nil {
		return b, nil
	}
	return nil, Refuse(v1.Code_CODE_BULK_NOT_FOUND, "there is no bulk operation %q in namespace %s; of those that have ended the last %d are kept", id, ns.rec.Namespace, keptBulks)
}

// dirtyBulk has the next flush write a bulk operation, or delete its row when it is gone.
func (m *Machine) dirtyBulk(b *bulk) {
	if !b.dirty {
		b.dirty = true
		m.dirty.bulks = append(m.dirty.bulks, b)
		m.dirtyBytes += 512
	}
}

// flushBulk writes what an id stands for now.
func (m *Machine) flushBulk(batch *table.Batch, b *bulk) {
	b.dirty = false
	k := m.room.key(tableBulk, b.ns.rec.Namespace, b.rec.BulkId)
	if is := b.ns.bulks[b.rec.BulkId]; is != nil {
		batch.Put(k, m.room.encode(is.rec))
		return
	}
	batch.Delete(k)
}

func (m *Machine) loadBulks(ns *namespace) error {
	return scanRows(m.engine, key(tableBulk, ns.rec.Namespace), func() *logv1.Bulk { return &logv1.Bulk{} }, func(_ []byte, rec *logv1.Bulk) error {
		ns.addBulk(rec)
		return nil
	})
}

// startBulk starts a bulk operation. The same again finds the first.
func (t *turn) startBulk(r *v1.StartBulkRequest) (proto.Message, *Refusal) {
	rec := bulkOf(r)
	if b := t.ns.bulks[r.BulkId]; b != nil {
		if !proto.Equal(asked(b.rec), rec) {
			return nil, Refuse(v1.Code_CODE_BULK_EXISTS, "bulk operation %q exists, and says something else", r.BulkId)
		}
		out := b.reply()
		out.Existing = true
		return out, nil
	}
	if refusal := t.checkBulk(r); refusal != nil {
		return nil, refusal
	}
	rec.State, rec.Author, rec.Traceparent = v1.BulkState_BULK_STATE_RUNNING, t.env.GetAuthor(), t.env.GetTraceparent()
	rec.Index, rec.Position, rec.StartedWall = t.index, t.ns.rec.Position+1, t.wall() // of the event that is told
	rec.Advanced = rec.Position
	b := &bulk{ns: t.ns, rec: rec}
	t.emit(&bulkStarted{b})
	return t.ns.bulks[r.BulkId].reply(), nil
}

// bulkOf is what a request asks for.
func bulkOf(r *v1.StartBulkRequest) *logv1.Bulk {
	f := r.Filter
	rec := &logv1.Bulk{
		BulkId: r.BulkId, Act: r.Act, Step: r.Step, Reason: r.Reason, Compensate: r.Compensate,
		Workflow: f.GetWorkflow(), Version: f.GetVersion(), OfState: f.GetState(), Labels: sortedPairs(f.GetLabels()), Keys: sortedPairs(f.GetKeys()),
		StuckFor: int64(f.GetStuckFor().AsDuration()),
	}
	if at := f.GetStartedFrom(); at != nil {
		rec.StartedFrom = at.AsTime().UnixNano()
	}
	if at := f.GetStartedTo(); at != nil {
		rec.StartedTo = at.AsTime().UnixNano()
	}
	if at := f.GetEndedFrom(); at != nil {
		rec.EndedFrom = at.AsTime().UnixNano()
	}
	if at := f.GetEndedTo(); at != nil {
		rec.EndedTo = at.AsTime().UnixNano()
	}
	return rec
}

// asked is what was asked for, of a record.
func asked(rec *logv1.Bulk) *logv1.Bulk {
	return &logv1.Bulk{
		BulkId: rec.BulkId, Act: rec.Act, Step: rec.Step, Reason: rec.Reason, Compensate: rec.Compensate,
		Workflow: rec.Workflow, Version: rec.Version, OfState: rec.OfState, Labels: rec.Labels, Keys: rec.Keys,
		StartedFrom: rec.StartedFrom, StartedTo: rec.StartedTo, EndedFrom: rec.EndedFrom, EndedTo: rec.EndedTo, StuckFor: rec.StuckFor,
	}
}

// checkBulk refuses what cannot be, or is more than may run.
func (t *turn) checkBulk(r *v1.StartBulkRequest) *Refusal {
	f := r.Filter
	if f == nil {
		f = &v1.InstanceFilter{}
	}
	list := &v1.ListInstancesRequest{
		Workflow: f.Workflow, Version: f.Version, State: f.State, Labels: f.Labels, Keys: f.Keys,
		StartedFrom: f.StartedFrom, StartedTo: f.StartedTo, EndedFrom: f.EndedFrom, EndedTo: f.EndedTo, StuckFor: f.StuckFor,
	}
	if _, refusal := filterOf(list, t.wall()); refusal != nil {
		return refusal
	}
	empty := f.Workflow == "" && f.State == 0 && len(f.Labels)+len(f.Keys) == 0 && f.StartedFrom == nil && f.StartedTo == nil && f.EndedFrom == nil && f.EndedTo == nil && f.StuckFor == nil
	_, known := v1.BulkAct_name[int32(r.Act)]
	needs := r.Act == v1.BulkAct_BULK_ACT_SKIP || r.Act == v1.BulkAct_BULK_ACT_RESET
	switch {
	case r.BulkId == "":
		return Refuse(v1.Code_CODE_INVALID, "a bulk operation needs an id")
	case !known || r.Act == 0:
		return Refuse(v1.Code_CODE_INVALID, "act %d is none: say what is to be done to each instance", r.Act)
	case needs && r.Step == "":
		return Refuse(v1.Code_CODE_INVALID, "%s is about a step: say which", actName(r.Act))
	case r.Compensate && r.Act != v1.BulkAct_BULK_ACT_RESET:
		return Refuse(v1.Code_CODE_INVALID, "%s undoes nothing first: that is of RESET", actName(r.Act))
	case !needs && r.Act != v1.BulkAct_BULK_ACT_RETRY && r.Step != "":
		return Refuse(v1.Code_CODE_INVALID, "%s is done to an instance, and to no step of it: leave the step out", actName(r.Act))
	case empty && !r.All:
		return Refuse(v1.Code_CODE_INVALID, "a filter that says nothing matches every instance of namespace %s: say so with all, or say which", t.ns.rec.Namespace)
	case t.ns.rec.Indexing:
		return Refuse(v1.Code_CODE_INDEX_NOT_READY, "the instances of namespace %s are being added to the index, up to %q now: until then there is no order in which to come to them", t.ns.rec.Namespace, t.ns.rec.IndexedTo)
	case t.ns.bulksRun >= maxBulks:
		return Refuse(v1.Code_CODE_BULK_LIMIT, "namespace %s has %d bulk operations that run, as many as may", t.ns.rec.Namespace, t.ns.bulksRun)
	}
	return nil
}

// cancelBulk has a bulk operation come to no more instances. Cancelled twice is answered as once.
func (t *turn) cancelBulk(r *v1.CancelBulkRequest) (proto.Message, *Refusal) {
	b, refusal := t.ns.bulk(r.BulkId)
	switch {
	case refusal != nil:
		return nil, refusal
	case b.rec.State == v1.BulkState_BULK_STATE_COMPLETED:
		return nil, Refuse(v1.Code_CODE_ALREADY_ENDED, "bulk operation %q has come to all instances, and is COMPLETED; what it did stays", r.BulkId)
	case b.runs():
		t.emit(&bulkEnded{b: b, to: v1.BulkState_BULK_STATE_CANCELLED, reason: r.Reason})
	}
	return b.reply(), nil
}

func actName(a v1.BulkAct) string { return a.String()[len("BULK_ACT_"):] }

type bulkStarted struct{ b *bulk }

func (e *bulkStarted) kind() string { return "lockstep.bulk.started.v1" }
func (e *bulkStarted) fill(d *v1.EventData) string {
	d.Bulk, d.Name, d.Step, d.Reason = e.b.rec.BulkId, actName(e.b.rec.Act), e.b.rec.Step, e.b.rec.Reason
	return e.b.subject()
}
func (e *bulkStarted) evolve(t *turn) { t.m.dirtyBulk(t.ns.addBulk(e.b.rec)) }

// bulkEnded ends one. Of those that have ended the newest are kept.
type bulkEnded struct {
	b      *bulk
	to     v1.BulkState
	reason string // of a cancellation
}

func (e *bulkEnded) kind() string {
	if e.to == v1.BulkState_BULK_STATE_CANCELLED {
		return "lockstep.bulk.cancelled.v1"
	}
	return "lockstep.bulk.completed.v1"
}
func (e *bulkEnded) fill(d *v1.EventData) string {
	rec := e.b.rec
	d.Bulk, d.Name, d.Reason = rec.BulkId, actName(rec.Act), e.reason
	d.Count, d.Changed, d.Refused = int32(rec.Matched), rec.Changed, refusals(rec)
	return e.b.subject()
}
func (e *bulkEnded) evolve(t *turn) {
	rec := e.b.rec
	rec.State, rec.EndedWall, rec.EndedPosition = e.to, t.wall(), t.ns.rec.Position+1
	if e.to == v1.BulkState_BULK_STATE_CANCELLED {
		rec.CancelReason, rec.CancelledBy = e.reason, t.env.GetAuthor()
	}
	t.ns.bulksRun--
	t.m.dirtyBulk(e.b)
	if len(t.ns.bulks)-t.ns.bulksRun > keptBulks {
		t.m.dropBulk(t.ns.oldestBulk())
	}
}

// oldestBulk is the one that ended first.
func (ns *namespace) oldestBulk() (oldest *bulk) {
	for _, id := range ns.bulkIDs {
		if b := ns.bulks[id]; !b.runs() && (oldest == nil || b.rec.EndedPosition < oldest.rec.EndedPosition) {
			oldest = b
		}
	}
	return oldest
}

func (m *Machine) dropBulk(b *bulk) {
	ns := b.ns
	delete(ns.bulks, b.rec.BulkId)
	at, _ := slices.BinarySearch(ns.bulkIDs, b.rec.BulkId)
	ns.bulkIDs = slices.Delete(ns.bulkIDs, at, at+1)
	m.dirtyBulk(b)
}

// refusals is how many instances refused.
func refusals(rec *logv1.Bulk) (n int64) {
	for _, r := range rec.Refusals {
		n += r.Count
	}
	return n
}

// reply is what is said of a bulk operation.
func (b *bulk) reply() *v1.BulkOperation {
	rec := b.rec
	out := &v1.BulkOperation{
		Namespace: b.ns.rec.Namespace, BulkId: rec.BulkId, Filter: filterReply(rec), Act: rec.Act, Step: rec.Step, Compensate: rec.Compensate, Reason: rec.Reason, Author: rec.Author,
		State: rec.State, Started: stamp(rec.StartedWall), Ended: stamp(rec.EndedWall), Position: rec.Position,
		Looked: rec.Looked, Matched: rec.Matched, Changed: rec.Changed, Refused: refusals(rec),
		CancelReason: rec.CancelReason, CancelledBy: rec.CancelledBy,
	}
	out.Unchanged = out.Matched - out.Changed - out.Refused
	for _, r := range rec.Refusals {
		out.Refusals = append(out.Refusals, &v1.BulkRefusal{Code: r.Code, Count: r.Count, Instances: slices.Clone(r.Instances)})
	}
	return out
}

// filterReply is the filter as it was asked for.
func filterReply(rec *logv1.Bulk) *v1.InstanceFilter {
	f := &v1.InstanceFilter{
		Workflow: rec.Workflow, Version: rec.Version, State: rec.OfState, Labels: pairMap(rec.Labels), Keys: pairMap(rec.Keys),
		StartedFrom: stamp(rec.StartedFrom), StartedTo: stamp(rec.StartedTo), EndedFrom: stamp(rec.EndedFrom), EndedTo: stamp(rec.EndedTo),
	}
	if rec.StuckFor > 0 {
		f.StuckFor = durationpb.New(time.Duration(rec.StuckFor))
	}
	return f
}
