package fsm

import (
	"bytes"
	"container/list"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// instance is one execution of a workflow, decoded: its head, and its runs by their node in the graph.
type instance struct {
	ns      *namespace
	rec     *logv1.Instance
	version *version
	graph   *graph.Graph
	runs    []*run
	own     payloads
	dirty   bool
	pages   []bool // dirty pages of runs
	stored  []bool // pages of which the engine has a row of what is pending
	element *list.Element
	history []int64 // positions of events that are not flushed
	about   string  // subject, once it was asked for
}

func (i *instance) key(node int32) runKey {
	return runKey{i.ns.rec.Namespace, i.rec.InstanceId, node, 0}
}

// subject is what events of the instance are about.
func (i *instance) subject() string {
	if i.about == "" {
		i.about = "instance/" + i.rec.InstanceId
	}
	return i.about
}

// live: not ended.
func (i *instance) live() bool { return i.rec.State <= v1.InstanceState_INSTANCE_STATE_CANCELLING }

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
	i, err := t.m.readInstance(t.m.engine, t.ns, id)
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
func (m *Machine) readInstance(r table.Reader, ns *namespace, id string) (*instance, error) {
	rec := &logv1.Instance{}
	found, err := row(r, key(tableInstance, ns.rec.Namespace, id), rec)
	if err != nil || !found {
		return nil, err
	}
	v, refusal := ns.version(rec.Workflow, rec.Version)
	if refusal != nil {
		return nil, refusal
	}
	i := newInstance(ns, rec, v)
	n := 0
	prefix, n := key(tablePage, ns.rec.Namespace, id), 0
	var failed error
	err = r.Scan(prefix, table.End(prefix), func(_, page []byte) bool {
		for ; len(page) > 0 && failed == nil && n < len(i.runs); n++ {
			page, failed = cutRun(page, i.runs[n])
		}
		return failed == nil
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	if n != len(i.runs) {
		return nil, errors.New("instance " + id + " lacks runs")
	}
	for node, r := range i.runs {
		if pending(r) {
			i.stored[node/pageRuns] = true
		}
	}
	return i, nil
}

func newInstance(ns *namespace, rec *logv1.Instance, v *version) *instance {
	g := v.compiled()
	pages := (len(g.Nodes) + pageRuns - 1) / pageRuns
	i := &instance{
		ns: ns, rec: rec, version: v, graph: g, runs: make([]*run, len(g.Nodes)), own: payloads{has: uint8(rec.Payloads)},
		stored: make([]bool, pages), pages: make([]bool, pages),
	}
	together := make([]run, len(g.Nodes))
	for node := range together {
		i.runs[node] = &together[node]
	}
	return i
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
	i.rec.Payloads = uint32(i.own.has)
	b.Put(m.room.key(tableInstance, i.ns.rec.Namespace, i.rec.InstanceId), m.room.encode(i.rec))
}

// flushPending writes what is pending of the pages that are dirty.
func (m *Machine) flushPending(b *table.Batch, i *instance) {
	for p, dirty := range i.pages {
		if !dirty {
			continue
		}
		m.scratch = i.appendPending(m.scratch[:0], p)
		stored := i.stored[p]
		if i.stored[p] = len(m.scratch) > 0; !stored && !i.stored[p] {
			continue
		}
		k := table.AppendUint64(m.room.key(tablePending, i.ns.rec.Namespace, i.rec.InstanceId), uint64(p))
		if i.stored[p] {
			b.Put(k, m.room.copy(m.scratch))
		} else {
			b.Delete(k)
		}
	}
}

// flushPages writes the pages that are dirty. It is the last of what is written of an instance.
func (m *Machine) flushPages(b *table.Batch, i *instance) {
	for p, dirty := range i.pages {
		if !dirty {
			continue
		}
		i.pages[p] = false
		m.scratch = i.appendPage(m.scratch[:0], p)
		k := table.AppendUint64(m.room.key(tablePage, i.ns.rec.Namespace, i.rec.InstanceId), uint64(p))
		b.Put(k, m.room.copy(m.scratch))
	}
}

// page returns the runs that are written together.
func (i *instance) page(p int) []*run {
	return i.runs[p*pageRuns : min((p+1)*pageRuns, len(i.runs))]
}

func (i *instance) appendPage(b []byte, p int) []byte {
	for _, r := range i.page(p) {
		b = appendRun(b, r)
	}
	return b
}

func (i *instance) appendPending(b []byte, p int) []byte {
	for n, r := range i.page(p) {
		if pending(r) {
			node := int32(p*pageRuns + n)
			b = appendPlace(b, node, i.place(node))
		}
	}
	return b
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
	v, refusal := t.ns.version(r.Workflow, r.Version)
	if refusal != nil {
		return nil, refusal
	}
	if i := t.known(r.InstanceId); i != nil {
		if i.rec.Workflow != r.Workflow || r.Version != 0 && r.Version != i.rec.Version || !samePayload(t.payload(i, whole, roleInput), r.InputPayload) {
			return nil, Refuse(v1.Code_CODE_INSTANCE_EXISTS, "instance %q exists with another workflow, version or input: it is %s version %d", r.InstanceId, i.rec.Workflow, i.rec.Version)
		}
		return &v1.StartInstanceResponse{InstanceId: r.InstanceId, Version: i.rec.Version, State: i.rec.State, Existing: true}, nil
	}
	if r.InstanceId == "" {
		return nil, Refuse(v1.Code_CODE_INVALID, "an instance needs an instanceId that the caller chooses")
	}
	if err := v.compiled().CheckInput(jsonOf(r.InputPayload)); err != nil {
		return nil, Refuse(v1.Code_CODE_INPUT_INVALID, "the input does not fit workflow %s version %d: %v", r.Workflow, v.rec.Version, err)
	}
	t.emit(&instanceStarted{request: r, version: v})
	i := t.ns.instances[r.InstanceId]
	var over []int32
	for node := range i.runs {
		if len(i.graph.Nodes[node].Needs) == 0 && t.activate(i, int32(node)) {
			over = append(over, int32(node))
		}
	}
	t.advanceInstance(i, over)
	return &v1.StartInstanceResponse{InstanceId: r.InstanceId, Version: v.rec.Version, State: i.rec.State}, nil
}

type instanceStarted struct {
	request *v1.StartInstanceRequest
	version *version
}

func (e *instanceStarted) kind() string { return "lockstep.instance.started.v1" }
func (e *instanceStarted) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version = e.request.InstanceId, e.request.Workflow, e.version.rec.Version
	d.Labels = e.request.Labels
	d.PayloadSize = int64(len(e.request.InputPayload.GetBytes()))
	return "instance/" + d.InstanceId
}
func (e *instanceStarted) evolve(t *turn) {
	rec := &logv1.Instance{
		InstanceId: e.request.InstanceId, Workflow: e.request.Workflow, Version: e.version.rec.Version,
		State:  v1.InstanceState_INSTANCE_STATE_RUNNING,
		Labels: sortedPairs(e.request.Labels), Keys: sortedPairs(e.request.Keys), StartedWall: t.wall(),
		Traceparent: t.env.GetTraceparent(), VersionGiven: e.request.Version != 0,
	}
	i := newInstance(t.ns, rec, e.version)
	for node, r := range i.runs {
		r.State, r.ChangedWall = v1.RunState_RUN_STATE_PENDING, t.wall()
		r.Pending = int32(len(i.graph.Nodes[node].Needs))
	}
	for p := range i.pages {
		i.pages[p] = true
	}
	rec.Open = int32(len(i.runs))
	t.ns.rec.LiveInstances++
	t.m.dirtyNamespace(t.ns)
	t.m.keepInstance(i)
	t.m.touch(i)
	t.m.setPayload(i, whole, roleInput, e.request.InputPayload)
	t.m.dirtyBytes += 32 * len(i.runs)
}

// cancelInstance stops what is not leased, asks what is leased to stop, and ends when nothing is leased.
func (t *turn) cancelInstance(r *v1.CancelInstanceRequest) (proto.Message, *Refusal) {
	i, refusal := t.instance(r.InstanceId)
	if refusal != nil {
		return nil, refusal
	}
	switch i.rec.State {
	case v1.InstanceState_INSTANCE_STATE_CANCELLING, v1.InstanceState_INSTANCE_STATE_CANCELLED:
		return &v1.CancelInstanceResponse{State: i.rec.State}, nil
	case v1.InstanceState_INSTANCE_STATE_COMPLETED, v1.InstanceState_INSTANCE_STATE_FAILED:
		return nil, Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s", r.InstanceId, stateName(i.rec.State))
	}
	t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_CANCELLING, reason: r.Reason})
	t.stopRuns(i)
	return &v1.CancelInstanceResponse{State: i.rec.State}, nil
}

// stopRuns cancels what is not leased and ends the instance if nothing is. What waited behind its claims is woken when all
// of them are gone, or one of its own runs could be leased by that.
func (t *turn) stopRuns(i *instance) {
	var claims []int32
	for node, r := range i.runs {
		switch {
		case r.State == v1.RunState_RUN_STATE_LEASED:
			t.askToStop(i, int32(node))
		case !ended(r.State):
			t.dropLapsed(i, int32(node))
			parked := r.Parked != ""
			t.emit(&runEnded{i: i, node: int32(node), to: v1.RunState_RUN_STATE_CANCELLED})
			if parked {
				claims = append(claims, int32(node))
			}
		}
	}
	for _, node := range claims {
		t.freeLocks(i, node, i.runs[node].Token, false)
	}
	t.endStopped(i)
}

// askToStop tells a run's holder, with its next renewal, that its work is not wanted any more.
func (t *turn) askToStop(i *instance, node int32) {
	t.m.change(i, node, func(r *run) { r.Cancelling = true })
	s := t.m.sessions[i.runs[node].Session]
	for _, lease := range s.rec.Leases {
		if lease.Token == i.runs[node].Token {
			lease.Cancelling = true
		}
	}
	t.m.dirtySession(s)
}

// endStopped ends an instance that fails or is cancelled when no run of it is leased any more.
func (t *turn) endStopped(i *instance) {
	if i.rec.Leased > 0 {
		return
	}
	switch i.rec.State {
	case v1.InstanceState_INSTANCE_STATE_CANCELLING:
		t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_CANCELLED, code: i.rec.Code, reason: i.rec.Reason})
	case v1.InstanceState_INSTANCE_STATE_FAILING:
		t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_FAILED, code: i.rec.Code, reason: i.rec.Reason})
	}
}

// complete ends an instance whose runs have all ended well.
func (t *turn) complete(i *instance) {
	var output *v1.Payload
	if i.graph.HasOutput() {
		value, err := i.graph.Output(t.view(i))
		if err != nil {
			t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_FAILED, code: "OUTPUT_INVALID", reason: err.Error()})
			return
		}
		output = &v1.Payload{Bytes: value}
	}
	t.emit(&instanceChanged{i: i, to: v1.InstanceState_INSTANCE_STATE_COMPLETED, output: output})
}

// view is what the instance's expressions see.
func (t *turn) view(i *instance) graph.View {
	return graph.View{
		Input: jsonOf(t.payload(i, whole, roleInput)),
		Output: func(node int) ([]byte, bool) {
			if i.runs[node].State != v1.RunState_RUN_STATE_COMPLETED {
				return nil, false
			}
			return jsonOf(t.payload(i, int32(node), roleOutput)), true
		},
	}
}

// instanceChanged is an instance's change of state.
type instanceChanged struct {
	i            *instance
	to           v1.InstanceState
	code, reason string
	output       *v1.Payload
}

func (e *instanceChanged) kind() string { return "lockstep.instance." + lowerState(e.to) + ".v1" }
func (e *instanceChanged) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version = e.i.rec.InstanceId, e.i.rec.Workflow, e.i.rec.Version
	d.Code, d.Reason = e.code, e.reason
	d.PayloadSize = int64(len(e.output.GetBytes()))
	d.Labels = pairMap(e.i.rec.Labels)
	return e.i.subject()
}
func (e *instanceChanged) evolve(t *turn) {
	rec := e.i.rec
	rec.State, rec.Code, rec.Reason = e.to, e.code, e.reason
	t.m.setPayload(e.i, whole, roleOutput, e.output)
	if !e.i.live() {
		rec.EndedWall = t.wall()
		rec.Signals, rec.Seen = nil, nil
		t.ns.rec.LiveInstances--
		t.m.dirtyNamespace(t.ns)
	}
	t.m.touch(e.i)
}

func stateName(s v1.InstanceState) string { return s.String()[len("INSTANCE_STATE_"):] }

func lowerState(s v1.InstanceState) string {
	return string(bytes.ToLower([]byte(stateName(s))))
}
