package fsm

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A slice looks at the next instances of the index, in the order in which their starts were accepted, and does to those that match what an
// operator's command would: each is decided behind all that followed from the one before, as if it were a command of its own, with the author
// of the operation and its reason. The entry is flushed before (flushBulk), so that the engine has the same on every replica.

const (
	// BulkMost is how many instances a slice does something to at most. Each is read, changed and written by that, on every replica, and what
	// came behind the slice waits for it: 25 take 0.7 ms by BenchmarkBulkSlice, with the flush, where all is in memory.
	BulkMost   = 25
	bulkLooked = 250 // instances that a slice looks at
)

// LimitBulk has slices be smaller, for tests: all replicas of a log have the same limits.
func (m *Machine) LimitBulk(most, looked int) { m.bulkMost, m.bulkLooked = most, looked }

// flushBulk flushes before an entry in which a bulk operation goes on.
func (t *turn) flushBulk(entry *logv1.Entry) {
	for _, c := range entry.Commands {
		if _, is := c.Body.(*logv1.Command_AdvanceBulk); is && !t.flushed {
			must(t.m.flush())
			t.flushed = true
		}
	}
}

// advanceBulk has the bulk operation that has rested the longest come to its next instances.
func (t *turn) advanceBulk(r *logv1.AdvanceBulk) (proto.Message, *Refusal) {
	b := t.restedBulk()
	if b == nil {
		return &logv1.BulkAdvanced{}, nil
	}
	env := t.env
	t.env = &logv1.Envelope{Namespace: env.Namespace, Author: b.rec.Author, Traceparent: b.rec.Traceparent}
	most := sized(t.m.bulkMost, t.m.bulkMost, r.Most)
	spots, ends := t.bulkAhead(b, most, sized(t.m.bulkLooked, t.m.bulkMost, r.Most))
	slice, began := &bulkAdvanced{b: b}, len(t.result.Kinds)
	for n, next := range spots {
		rests := t.tired() && b.rec.Act == v1.BulkAct_BULK_ACT_RESET // an entry that has done its share sets nothing back
		if rests || slice.matched == most || slice.matched > 0 && (t.tired() || len(t.result.Kinds)-began >= laterEvents) {
			ends = false
			break
		}
		slice.looked, slice.last = slice.looked+1, next
		if t.matches(b, next.id) {
			slice.add(t.apply(b, next.id))
		}
		if plant.Is(plant.BulkEdgeLost) && slice.matched == most && n+1 < len(spots) {
			slice.last = spots[n+1]
		}
		if plant.Is(plant.BulkEdgeTwice) && slice.matched == most && n > 0 {
			slice.last = spots[n-1]
		}
	}
	if slice.looked > 0 {
		t.emit(slice)
	}
	if ends {
		t.emit(&bulkEnded{b: b, to: v1.BulkState_BULK_STATE_COMPLETED})
	}
	t.env = env
	return &logv1.BulkAdvanced{BulkId: b.rec.BulkId, Looked: int32(slice.looked)}, nil
}

// restedBulk is the one that goes on next. One that started in this very entry does in another: the engine has not all that there was before it.
func (t *turn) restedBulk() (next *bulk) {
	if t.ns.bulksRun == 0 || t.ns.rec.Indexing {
		return nil
	}
	for _, id := range t.ns.bulkIDs {
		if b := t.ns.bulks[id]; b.runs() && b.rec.Index < t.index && (next == nil || b.rec.Advanced < next.rec.Advanced) {
			next = b
		}
	}
	return next
}

// filter is what the instances are to be.
func (b *bulk) filter() *filter {
	rec := b.rec
	f := &filter{
		workflow: rec.Workflow, version: rec.Version, state: rec.OfState, labels: rec.Labels, keys: rec.Keys,
		startedFrom: rec.StartedFrom, startedTo: rec.StartedWall + 1, endedFrom: rec.EndedFrom, endedTo: rec.EndedTo,
		stuck: rec.StuckFor > 0, quietSince: rec.StartedWall - rec.StuckFor,
	}
	if rec.StartedTo > 0 {
		f.startedTo = min(f.startedTo, rec.StartedTo)
	}
	return f
}

// query is what of a state the operation has not looked at yet.
func (b *bulk) query(in table.Snapshot) *query {
	q := &query{filter: b.filter(), in: in, ns: b.ns, order: oldFirst}
	if b.rec.Looked > 0 {
		q.from = &spot{b.rec.At, b.rec.AtId}
	}
	return q
}

// bulkAhead are the next instances to look at; behind them there are no more if it says so.
func (t *turn) bulkAhead(b *bulk, most, looked int) (spots []spot, ends bool) {
	in := t.m.engine.Snapshot()
	defer in.Close()
	ranges, err := b.query(in).fewest()
	must(err)
	for _, s := range ranges {
		s.bit = min(s.bit, most+1) // most slices end at what they do
	}
	for len(spots) < looked {
		next, err := ranges.next()
		must(err)
		if next == nil {
			return spots, true
		}
		spots = append(spots, *next)
	}
	return spots, false
}

// matches says whether an instance is one of those that are meant, as it is now.
func (t *turn) matches(b *bulk, id string) bool {
	rec := t.record(id)
	return rec != nil && (rec.StartedPosition <= b.rec.Position || plant.Is(plant.BulkNewer)) && b.filter().matches(t.ns, rec)
}

// record is what is known of an instance, and does not keep it decoded; nil when it was removed.
func (t *turn) record(id string) *logv1.Instance {
	if i := t.ns.instances[id]; i != nil {
		return i.rec
	}
	if _, gone := t.ns.gone[id]; gone {
		return nil
	}
	rec := &logv1.Instance{}
	found, err := row(t.m.stored(t.ns.rec.Namespace), key(tableInstance, t.ns.rec.Namespace, id), rec)
	must(err)
	if !found {
		return nil
	}
	return rec
}

// apply does to an instance what the operation is about.
func (t *turn) apply(b *bulk, id string) *bulkApplied {
	e := &bulkApplied{b: b, id: id}
	t.bulk = b.rec.BulkId
	e.same, e.refusal = t.act(b.rec, id)
	t.settle()
	t.bulk = ""
	t.emit(e)
	return e
}

// act is what an operator's command would come to; same says that the instance was so already.
func (t *turn) act(rec *logv1.Bulk, id string) (same bool, refusal *Refusal) {
	switch rec.Act {
	case v1.BulkAct_BULK_ACT_PAUSE:
		var reply proto.Message
		reply, refusal = t.pauseInstance(&v1.PauseInstanceRequest{InstanceId: id, Reason: rec.Reason})
		r, _ := reply.(*v1.PauseInstanceResponse)
		same = r.GetDuplicate()
	case v1.BulkAct_BULK_ACT_RESUME:
		var reply proto.Message
		reply, refusal = t.resumeInstance(&v1.ResumeInstanceRequest{InstanceId: id, Reason: rec.Reason})
		r, _ := reply.(*v1.ResumeInstanceResponse)
		same = r.GetDuplicate()
	case v1.BulkAct_BULK_ACT_CANCEL:
		i, _ := t.instance(id)
		was := i.rec.State
		_, refusal = t.cancelInstance(&v1.CancelInstanceRequest{InstanceId: id, Reason: rec.Reason})
		same = refusal == nil && (was == v1.InstanceState_INSTANCE_STATE_CANCELLING || was == v1.InstanceState_INSTANCE_STATE_CANCELLED || was == v1.InstanceState_INSTANCE_STATE_COMPENSATING)
	case v1.BulkAct_BULK_ACT_RETRY:
		return t.retryAll(id, rec.Step, rec.Reason)
	case v1.BulkAct_BULK_ACT_SKIP:
		var reply proto.Message
		reply, refusal = t.skipStep(&v1.SkipStepRequest{InstanceId: id, Step: rec.Step, Reason: rec.Reason})
		r, _ := reply.(*v1.SkipStepResponse)
		same = r.GetDuplicate()
	case v1.BulkAct_BULK_ACT_RESET:
		r := &v1.ResetInstanceRequest{InstanceId: id, FromStep: rec.Step, Compensate: rec.Compensate, Reason: rec.Reason}
		if i, _ := t.instance(id); i.node(rec.Step) >= 0 {
			r.Index = i.now(i.node(rec.Step)).index
		}
		_, refusal = t.resetInstance(r)
	default: // of a later version
		refusal = Refuse(v1.Code_CODE_UNSUPPORTED, "act %d is none", rec.Act)
	}
	return same, refusal
}

// retryAll has all runs of an instance that stand still tried again, or those of one step.
func (t *turn) retryAll(id, step, reason string) (same bool, refusal *Refusal) {
	i, refusal := t.instance(id)
	switch {
	case refusal != nil:
		return false, refusal
	case !i.live():
		return false, Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s; start it again, or reset it", id, stateName(i.rec.State))
	}
	var still []at
	for at, run := range i.all() {
		if run.State == v1.RunState_RUN_STATE_INCIDENT && (step == "" || i.step(at).ID == step) {
			still = append(still, at)
		}
	}
	same = true
	for _, at := range still {
		// What one that is tried again comes to may end others.
		if i.frame(at) == nil || i.run(at).State != v1.RunState_RUN_STATE_INCIDENT || !i.goesOn(at) {
			continue
		}
		t.tryAgain(i, at, reason)
		same = false
	}
	if same && len(still) > 0 {
		return false, i.stops(still[0])
	}
	return same, nil
}

// bulkApplied tells what became of an instance that matched.
type bulkApplied struct {
	b       *bulk
	id      string
	same    bool
	refusal *Refusal
}

func (e *bulkApplied) changed() int64 {
	if e.same || e.refusal != nil {
		return 0
	}
	return 1
}

func (e *bulkApplied) refused() int64 {
	if e.refusal != nil {
		return 1
	}
	return 0
}

func (e *bulkApplied) kind() string { return "lockstep.bulk.applied.v1" }
func (e *bulkApplied) fill(d *v1.EventData) string {
	d.Bulk, d.Name, d.Step, d.OtherInstance = e.b.rec.BulkId, actName(e.b.rec.Act), e.b.rec.Step, e.id
	d.Changed, d.Refused, d.Reason = e.changed(), e.refused(), e.b.rec.Reason
	if e.refusal != nil {
		d.Code = CodeName(e.refusal.Detail.Code)
	}
	return e.b.subject()
}
func (e *bulkApplied) evolve(t *turn) {
	rec := e.b.rec
	rec.Matched++
	rec.Changed += e.changed()
	if e.refusal != nil {
		rec.Refusals = addRefusal(rec.Refusals, e.refusal.Detail.Code, e.id)
	}
	t.m.dirtyBulk(e.b)
}

// addRefusal counts a refusal, in the order of codes.
func addRefusal(all []*logv1.BulkRefusal, code v1.Code, id string) []*logv1.BulkRefusal {
	at, found := slices.BinarySearchFunc(all, code, func(r *logv1.BulkRefusal, code v1.Code) int { return cmp.Compare(r.Code, code) })
	if !found {
		all = slices.Insert(all, at, &logv1.BulkRefusal{Code: code})
	}
	if r := all[at]; len(r.Instances) < shownRefusals {
		r.Instances = append(r.Instances, id)
	}
	all[at].Count++
	return all
}

// bulkAdvanced tells up to where the operation has looked.
type bulkAdvanced struct {
	b                *bulk
	last             spot // that it looked at
	looked, matched  int
	changed, refused int64
}

func (e *bulkAdvanced) add(a *bulkApplied) {
	e.matched++
	e.changed, e.refused = e.changed+a.changed(), e.refused+a.refused()
}

func (e *bulkAdvanced) kind() string { return "lockstep.bulk.advanced.v1" }
func (e *bulkAdvanced) fill(d *v1.EventData) string {
	d.Bulk, d.Count, d.Changed, d.Refused = e.b.rec.BulkId, int32(e.matched), e.changed, e.refused
	d.OtherInstance, d.Due = e.last.id, stamp(e.last.at)
	return e.b.subject()
}
func (e *bulkAdvanced) evolve(t *turn) {
	rec := e.b.rec
	rec.Looked += int64(e.looked)
	rec.At, rec.AtId, rec.Advanced = e.last.at, e.last.id, t.ns.rec.Position+1
	t.m.dirtyBulk(e.b)
}
