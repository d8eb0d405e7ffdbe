package fsm

import (
	"bytes"
	"container/list"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// instance is one execution of a workflow, decoded: its head, and its runs by the frames that they are in.
type instance struct {
	ns      *namespace
	rec     *logv1.Instance
	version *version
	graph   *graph.Graph
	root    frame
	bodies  []*frame // the others, in the order of their rows
	within  int      // runs of these
	present []int32  // of what was set back: the newest activation of each step that is in no other; nil is the first of all
	leaving []at     // of what was set back: those that wait until what they called has ended, and some that have done so
	dirty   bool
	element *list.Element
	history []int64  // positions of events that are not flushed
	about   string   // subject, once it was asked for
	stands  standing // as its record was last written
	gone    bool     // it was removed
}

func (i *instance) key(at at) runKey {
	return runKey{i.ns.rec.Namespace, i.rec.InstanceId, at}
}

// subject is what events of the instance are about.
func (i *instance) subject() string {
	if i.about == "" {
		i.about = "instance/" + i.rec.InstanceId
	}
	return i.about
}

// Live says whether an instance in a state has not ended.
func Live(s v1.InstanceState) bool {
	return s <= v1.InstanceState_INSTANCE_STATE_CANCELLING || s >= v1.InstanceState_INSTANCE_STATE_COMPENSATING
}

func (i *instance) live() bool { return Live(i.rec.State) }

// instance finds an instance, and keeps it decoded.
func (t *turn) instance(id string) (*instance, *Refusal) {
	if i := t.known(id); i != nil {
		return i, nil
	}
	return nil, noInstance(t.ns, id)
}

// known is instance for those to whom it is no refusal that there is none.
func (t *turn) known(id string) *instance {
	if i := t.last; i != nil && i.ns == t.ns && i.rec.InstanceId == id {
		return i
	}
	if i := t.ns.instances[id]; i != nil {
		t.m.resident.MoveToFront(i.element)
		t.last = i
		return i
	}
	i, err := t.m.readInstance(t.ns, id)
	must(err)
	if i != nil {
		t.m.keepInstance(i)
	}
	return i
}

func noInstance(ns *namespace, id string) *Refusal {
	return Refuse(v1.Code_CODE_INSTANCE_NOT_FOUND, "there is no instance %q in namespace %s", id, ns.rec.Namespace)
}

func (m *Machine) keepInstance(i *instance) {
	i.element = m.resident.PushFront(i)
	i.ns.instances[i.rec.InstanceId] = i
}

// readInstance decodes an instance from its rows; nil when there is none.
func (m *Machine) readInstance(ns *namespace, id string) (*instance, error) {
	if _, gone := ns.gone[id]; gone {
		return nil, nil
	}
	r := m.stored(ns.rec.Namespace)
	value, found, err := r.Get(key(tableInstance, ns.rec.Namespace, id))
	if err != nil || !found {
		return nil, err
	}
	rec := &logv1.Instance{}
	if err := proto.Unmarshal(value, rec); err != nil {
		return nil, err
	}
	v, refusal := ns.version(rec.Workflow, rec.Version)
	if refusal != nil {
		return nil, refusal
	}
	i := newInstance(ns, rec, v)
	i.stands = standingOf(rec)
	return i, i.readFrames(r)
}

func newInstance(ns *namespace, rec *logv1.Instance, v *version) *instance {
	g := v.compiled()
	i := &instance{ns: ns, rec: rec, version: v, graph: g, root: newFrame(g, 0, 0)}
	i.root.payloads = payloadsOf(rec)
	return i
}

// payloadsOf are an instance's own.
func payloadsOf(rec *logv1.Instance) payloads {
	return payloads{has: uint8(rec.Payloads), number: [roles]int64{roleInput: rec.InputNumber, roleOutput: rec.OutputNumber}}
}

// touch marks the head dirty.
func (m *Machine) touch(i *instance) {
	if !i.dirty {
		i.dirty = true
		m.dirty.instances = append(m.dirty.instances, i)
		m.dirtyBytes += 256
	}
}

func (m *Machine) flushHead(b *table.Batch, i *instance) {
	i.dirty = false
	own := &i.root.payloads
	i.rec.Payloads, i.rec.InputNumber, i.rec.OutputNumber = uint32(own.has), own.number[roleInput], own.number[roleOutput]
	i.rec.Open, i.rec.Leased = i.root.open, i.root.leased
	b.Put(m.room.key(tableInstance, i.ns.rec.Namespace, i.rec.InstanceId), m.room.encode(i.rec))
}

func samePayload(a, b *v1.Payload) bool {
	return bytes.Equal(a.GetBytes(), b.GetBytes()) && a.GetKeyId() == b.GetKeyId() && contentType(a) == contentType(b)
}

const jsonType = "application/json"

func contentType(p *v1.Payload) string {
	if p.GetContentType() == "" {
		return jsonType
	}
	return p.ContentType
}

// jsonOf is what expressions see of a payload: null unless it is JSON in the clear.
func jsonOf(p *v1.Payload) []byte {
	if p == nil || p.KeyId != "" || contentType(p) != jsonType {
		return nil
	}
	return p.Bytes
}

// startInstance starts an instance under the id that the caller chose; the same again finds the first.
func (t *turn) startInstance(r *v1.StartInstanceRequest) (proto.Message, *Refusal) {
	if _, refusal := t.ns.version(r.Workflow, r.Version); refusal != nil {
		return nil, refusal
	}
	if (r.OnConflict != 0 || r.StartId != "") && t.m.level() >= lineLevel {
		return t.startOn(r)
	}
	if i := t.known(r.InstanceId); i != nil {
		if refusal := t.same(i, r); refusal != nil {
			return nil, refusal
		}
		out := startReply(i)
		out.Existing = true
		return out, nil
	}
	v, refusal := t.startable(r)
	if refusal != nil {
		return nil, refusal
	}
	return startReply(t.begins(&instanceStarted{request: r, version: v})), nil
}

// same refuses a start of which an instance is not.
func (t *turn) same(i *instance, r *v1.StartInstanceRequest) *Refusal {
	if i.rec.Workflow != r.Workflow || r.Version != 0 && r.Version != i.rec.Version || !samePayload(t.payload(i, whole, roleInput), r.InputPayload) {
		return Refuse(v1.Code_CODE_INSTANCE_EXISTS, "instance %q exists with another workflow, version or input: it is %s version %d", i.rec.InstanceId, i.rec.Workflow, i.rec.Version)
	}
	return nil
}

// startable finds the version that a start is of, and refuses what cannot be started.
func (t *turn) startable(r *v1.StartInstanceRequest) (*version, *Refusal) {
	v, refusal := t.ns.toStart(r.Workflow, r.Version)
	if refusal != nil {
		return nil, refusal
	}
	if r.InstanceId == "" {
		return nil, Refuse(v1.Code_CODE_INVALID, "an instance needs an instanceId that the caller chooses")
	}
	if err := v.compiled().CheckInput(jsonOf(r.InputPayload)); err != nil {
		return nil, Refuse(v1.Code_CODE_INPUT_INVALID, "the input does not fit workflow %s version %d: %v", r.Workflow, v.rec.Version, err)
	}
	return v, nil
}

// begins starts an instance, and what it can do at once.
func (t *turn) begins(e *instanceStarted) *instance {
	i := t.begun(e)
	t.goes(i)
	return i
}

// begun is a new instance, with the signals that were kept for it; none of its steps is begun.
func (t *turn) begun(e *instanceStarted) *instance {
	t.emit(e)
	i := t.ns.instances[e.request.InstanceId]
	t.takeKept(i)
	return i
}

// goes begins the first steps of a new instance.
func (t *turn) goes(i *instance) {
	t.activateFrom(i, 0, &i.root)
	t.advanceInstance(i)
}

type instanceStarted struct {
	request *v1.StartInstanceRequest
	version *version
	parent  *instance // that of the run which called it, if one did
	at      at
	// The schedule that starts it, and for which time.
	schedule  string
	scheduled int64
	line      *logv1.Line // which start of its id it is, if it says so
	fork      *fork       // what it is forked from, if it is
}

func (e *instanceStarted) kind() string { return "lockstep.instance.started.v1" }
func (e *instanceStarted) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version = e.request.InstanceId, e.request.Workflow, e.version.rec.Version
	d.Labels = e.request.Labels
	d.PayloadSize = int64(len(e.request.InputPayload.GetBytes()))
	if e.parent != nil {
		d.OtherInstance, d.OtherStep, d.OtherIndex = e.parent.rec.InstanceId, e.parent.step(e.at).ID, e.at.index
	}
	if e.line != nil {
		d.Name = e.line.First
	}
	if f := e.fork; f != nil {
		d.ForkedFrom, d.Name, d.Reason, d.Count = f.from.rec.InstanceId, f.step, f.reason, int32(len(f.copies))
	}
	return "instance/" + d.InstanceId
}
func (e *instanceStarted) evolve(t *turn) { t.starts(t.enrol(e)) }

// enrol has an instance come to be. None of it is begun, nor does it run.
func (t *turn) enrol(e *instanceStarted) *instance {
	rec := &logv1.Instance{
		InstanceId: e.request.InstanceId, Workflow: e.request.Workflow, Version: e.version.rec.Version,
		Labels: sortedPairs(e.request.Labels), Keys: sortedPairs(e.request.Keys),
		Traceparent: t.env.GetTraceparent(), VersionGiven: e.request.Version != 0,
		Schedule: e.schedule, ScheduledWall: e.scheduled, Line: e.line,
	}
	if p := e.parent; p != nil {
		rec.Parent, rec.ParentStep, rec.ParentNode, rec.ParentIndex = p.rec.InstanceId, p.step(e.at).ID, e.at.node, e.at.index
		rec.Depth, rec.Traceparent = p.rec.Depth+1, p.rec.Traceparent
	}
	if f := e.fork; f != nil {
		rec.ForkedFrom, rec.ForkedStep, rec.Copied = f.from.rec.InstanceId, f.step, int32(len(f.copies))
	}
	if t.m.level() >= retentionLevel {
		rec.StartedPosition = t.ns.rec.Position + 1 // of the event that is told
	}
	i := newInstance(t.ns, rec, e.version)
	t.begin(i, &i.root)
	t.ns.rec.LiveInstances++
	t.m.lives(i, +1)
	t.m.dirtyNamespace(t.ns)
	t.m.keepInstance(i)
	t.m.touch(i)
	t.m.setPayload(i, whole, roleInput, e.request.InputPayload)
	return i
}

// starts has an instance run from now on.
func (t *turn) starts(i *instance) {
	i.rec.StartedWall, i.rec.DeadlineAt = t.wall(), after(t.uptime(), i.graph.Total)
	t.m.enter(i, v1.InstanceState_INSTANCE_STATE_RUNNING)
	for _, p := range i.rec.Keys {
		t.comesTo(i, p)
	}
	t.takesID(i)
	t.tellOf(i)
}

// begin has the runs of a new frame wait for their needs. Those of compensations are not begun with it.
func (t *turn) begin(i *instance, f *frame) {
	var open tally
	for n, r := range f.runs {
		if isCompensation(i.step(f.at(n))) {
			continue
		}
		r.State, r.ChangedWall = v1.RunState_RUN_STATE_PENDING, t.wall()
		r.Pending = int32(len(i.step(f.at(n)).Needs))
		open.open++
	}
	i.count(f, tally{}, open)
	for p := range f.pages {
		f.pages[p] = true
	}
	t.m.dirtyBytes += 32 * len(f.runs)
}

// cancelInstance stops what is not leased, asks what is leased to stop, and ends when nothing is leased.
func (t *turn) cancelInstance(r *v1.CancelInstanceRequest) (proto.Message, *Refusal) {
	i, refusal := t.instance(r.InstanceId)
	if refusal != nil {
		return nil, refusal
	}
	switch i.rec.State {
	case v1.InstanceState_INSTANCE_STATE_CANCELLING, v1.InstanceState_INSTANCE_STATE_CANCELLED, v1.InstanceState_INSTANCE_STATE_COMPENSATING:
		return &v1.CancelInstanceResponse{State: i.rec.State}, nil
	case v1.InstanceState_INSTANCE_STATE_COMPLETED, v1.InstanceState_INSTANCE_STATE_FAILED:
		return nil, Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s", r.InstanceId, stateName(i.rec.State))
	}
	t.cancel(i, "", r.Reason)
	return &v1.CancelInstanceResponse{State: i.rec.State}, nil
}

// cancel stops an instance that runs, fails, or is queued.
func (t *turn) cancel(i *instance, code, reason string) {
	t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_CANCELLING, code: code, reason: reason})
	t.stopRuns(i, whole)
}

// askToStop tells a run's holder, with its next renewal, that its work is not wanted any more.
func (t *turn) askToStop(i *instance, at at) {
	t.m.change(i, at, func(r *run) { r.Cancelling = true })
	s := t.m.sessions[i.run(at).Session]
	for _, lease := range s.rec.Leases {
		if lease.Token == i.run(at).Token {
			lease.Cancelling = true
		}
	}
	t.m.dirtySession(s)
}

// complete ends an instance whose runs have all ended well.
func (t *turn) complete(i *instance) {
	var output *v1.Payload
	if i.graph.HasOutput() {
		value, err := i.graph.Output(t.view(i, i.newest()))
		if err != nil {
			t.finish(i, whole, v1.InstanceState_INSTANCE_STATE_FAILED, "OUTPUT_INVALID", err.Error())
			return
		}
		output = &v1.Payload{Bytes: value}
	}
	t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_COMPLETED, output: output})
}

// instanceChanged is an instance's change of state.
type instanceChanged struct {
	i            *instance
	to           v1.InstanceState
	code, reason string
	output       *v1.Payload
	from         int32 // of a cancellation: see CompensateFrom
}

func (e *instanceChanged) kind() string { return "lockstep.instance." + lowerState(e.to) + ".v1" }
func (e *instanceChanged) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version = e.i.rec.InstanceId, e.i.rec.Workflow, e.i.rec.Version
	d.Code, d.Reason = e.code, e.reason
	d.PayloadSize = int64(len(e.output.GetBytes()))
	d.Labels = pairMap(e.i.rec.Labels)
	if e.from > 0 {
		d.Name = e.i.graph.Nodes[e.from-1].ID
	}
	return e.i.subject()
}
func (e *instanceChanged) evolve(t *turn) {
	rec := e.i.rec
	rec.Code, rec.Reason = e.code, e.reason
	if e.from > 0 {
		rec.CompensateFrom = e.from
	}
	t.m.enter(e.i, e.to)
	t.m.setPayload(e.i, whole, roleOutput, e.output)
	if !e.i.live() {
		rec.EndedWall = t.wall()
		rec.Signals, rec.Seen = nil, nil
		t.placed(e.i)
		t.m.unindexKeys(e.i)
		t.m.hadEnded(e.i)
		t.settles(e.i, "")
		t.ns.rec.LiveInstances--
		t.m.lives(e.i, -1)
		t.m.dirtyNamespace(t.ns)
		t.freeSchedule(e.i)
		t.unholds(e.i)
		t.leaveLine(e.i)
		t.tellOf(e.i)
	}
	t.m.touch(e.i)
}

func stateName(s v1.InstanceState) string { return s.String()[len("INSTANCE_STATE_"):] }

func lowerState(s v1.InstanceState) string {
	return string(bytes.ToLower([]byte(stateName(s))))
}
