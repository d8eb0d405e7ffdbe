package fsm

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A start may say what becomes of it when its id is taken. An instance's id is its own for ever: tokens, idempotency keys, signals and
// waits go by it, and must not reach another. So those that are started behind the first are called after the id and their start, and
// the id is taken by one of them at a time. Who it was that has it, and who waits for its end, the first of them knows. What waits is
// an instance, of which nothing is begun: it is seen, awaited, told and cancelled as any other.

// lineLevel is the cluster level from which on starts say so. Below it they are answered as an old version answers them.
const lineLevel = 13

// maxLine is how many wait for one id at most.
const maxLine = 100

// replaced is the code of those that waited when another was to take the id.
const replaced = "REPLACED"

// lineOf names the first start of the id that an instance was started under, and says whether it is known to have had several.
func (i *instance) lineOf() (first string, is bool) {
	l := i.rec.Line
	if l == nil || l.First == "" {
		return i.rec.InstanceId, l != nil
	}
	return l.First, true
}

// holder has the id of a first start, or had it last.
func (t *turn) holder(first *instance) *instance {
	if id := first.rec.Line.GetHolder(); id != "" {
		return t.known(id)
	}
	return first
}

// nextID is what a start is called where the id is taken.
func nextID(r *v1.StartInstanceRequest) string { return r.InstanceId + "~" + r.StartId }

// startOn is startInstance of those that say what becomes of them when the id is taken.
func (t *turn) startOn(r *v1.StartInstanceRequest) (proto.Message, *Refusal) {
	if refusal := checkLine(r); refusal != nil {
		return nil, refusal
	}
	first := t.known(r.InstanceId)
	if first != nil {
		if was, refusal := t.startedAs(first, r); was != nil || refusal != nil {
			return was, refusal
		}
		holder := t.holder(first)
		if r.StartId == "" || holder.live() && r.OnConflict <= v1.OnConflict_ON_CONFLICT_FAIL {
			return onTaken(holder, r)
		}
	}
	v, refusal := t.startable(r)
	if refusal != nil {
		return nil, refusal
	}
	if first == nil {
		e := &instanceStarted{request: r, version: v}
		if r.StartId != "" {
			e.line = &logv1.Line{StartId: r.StartId}
		}
		return startReply(t.begins(e)), nil
	}
	return t.startNext(first, r, v)
}

func checkLine(r *v1.StartInstanceRequest) *Refusal {
	queues := r.OnConflict == v1.OnConflict_ON_CONFLICT_QUEUE || r.OnConflict == v1.OnConflict_ON_CONFLICT_REPLACE
	switch {
	case r.OnConflict == v1.OnConflict_ON_CONFLICT_UNSPECIFIED:
		return Refuse(v1.Code_CODE_INVALID, "a startId is for starts that say onConflict")
	case r.OnConflict > v1.OnConflict_ON_CONFLICT_REPLACE || r.OnConflict < 0:
		return Refuse(v1.Code_CODE_INVALID, "onConflict %d is none", r.OnConflict)
	case queues && r.StartId == "":
		return Refuse(v1.Code_CODE_INVALID, "a start that queues or replaces needs a startId that the caller chooses: asked again with it, it is no second one")
	case r.StartId != "" && len(nextID(r)) > maxID:
		return Refuse(v1.Code_CODE_INVALID, "instanceId and startId have %d bytes together, and may have %d", len(nextID(r))-1, maxID-1)
	}
	return nil
}

// startedAs answers a start that was made before with what it came to.
func (t *turn) startedAs(first *instance, r *v1.StartInstanceRequest) (proto.Message, *Refusal) {
	if r.StartId == "" {
		return nil, nil
	}
	i := first
	if first.rec.Line.GetStartId() != r.StartId {
		if i = t.known(nextID(r)); i == nil {
			return nil, nil
		}
		if of, _ := i.lineOf(); of != r.InstanceId {
			return nil, Refuse(v1.Code_CODE_INSTANCE_EXISTS, "instance %q exists, and is no start of the id %q; choose another startId", i.rec.InstanceId, r.InstanceId)
		}
	}
	if refusal := t.same(i, r); refusal != nil {
		return nil, refusal
	}
	out := startReply(i)
	out.Existing, out.Place = true, t.placeOf(i)
	return out, nil
}

// onTaken answers a start that starts nothing where the id is taken.
func onTaken(holder *instance, r *v1.StartInstanceRequest) (proto.Message, *Refusal) {
	if r.OnConflict == v1.OnConflict_ON_CONFLICT_FAIL {
		return nil, Refuse(v1.Code_CODE_INSTANCE_EXISTS, "the id %q is that of instance %q, which is %s", r.InstanceId, holder.rec.InstanceId, stateName(holder.rec.State))
	}
	out := startReply(holder)
	out.Existing = true
	return out, nil
}

func startReply(i *instance) *v1.StartInstanceResponse {
	return &v1.StartInstanceResponse{InstanceId: i.rec.InstanceId, Version: i.rec.Version, State: i.rec.State}
}

// startNext starts one more under an id that was used, at once if nobody has it.
func (t *turn) startNext(first *instance, r *v1.StartInstanceRequest, v *version) (proto.Message, *Refusal) {
	next := proto.CloneOf(r)
	next.InstanceId = nextID(r)
	e := &instanceStarted{request: next, version: v, line: &logv1.Line{First: r.InstanceId, StartId: r.StartId}}
	if !t.holder(first).live() || plant.Is(plant.TakenIgnored) {
		return startReply(t.begins(e)), nil
	}
	if r.OnConflict == v1.OnConflict_ON_CONFLICT_QUEUE && len(first.rec.Line.GetQueued()) >= maxLine {
		return nil, Refuse(v1.Code_CODE_OVERLOADED, "%d starts wait for the id %q already", maxLine, r.InstanceId)
	}
	if r.OnConflict == v1.OnConflict_ON_CONFLICT_REPLACE {
		reason := fmt.Sprintf("instance %q is to take the id %q", next.InstanceId, r.InstanceId)
		for _, id := range slices.Clone(first.rec.Line.GetQueued()) {
			t.cancel(t.known(id), replaced, reason)
		}
		t.emit(&instanceQueued{e})
		t.makeWay(t.holder(first), replaced, reason)
	} else {
		t.emit(&instanceQueued{e})
	}
	i := t.known(next.InstanceId)
	t.followEnds() // it may start by that
	out := startReply(i)
	out.Place = t.placeOf(i)
	return out, nil
}

// makeWay has an instance cancelled for what is to come behind it, unless it stops already.
func (t *turn) makeWay(i *instance, code, reason string) {
	switch i.rec.State {
	case v1.InstanceState_INSTANCE_STATE_RUNNING, v1.InstanceState_INSTANCE_STATE_FAILING:
		t.cancel(i, code, reason)
	}
}

// placeOf is how many are to end before a queued instance; zero is one that is not queued.
func (t *turn) placeOf(i *instance) int32 {
	if i.rec.State != v1.InstanceState_INSTANCE_STATE_QUEUED {
		return 0
	}
	return i.placeIn(t.known(i.rec.Line.First))
}

func (i *instance) placeIn(first *instance) int32 {
	return int32(slices.Index(first.rec.Line.Queued, i.rec.InstanceId)) + 1
}

// instanceQueued has an instance wait for the id that it is started under.
type instanceQueued struct{ *instanceStarted }

func (e *instanceQueued) kind() string { return "lockstep.instance.queued.v1" }
func (e *instanceQueued) evolve(t *turn) {
	i := t.enrol(e.instanceStarted)
	if t.m.level() >= searchLevel {
		i.rec.AcceptedWall = t.wall()
	}
	first := t.known(e.line.First)
	line := t.lineRecord(first)
	line.Queued = append(line.Queued, i.rec.InstanceId)
	t.ns.rec.Queued++
	t.m.enter(i, v1.InstanceState_INSTANCE_STATE_QUEUED)
	t.tellOf(i)
	t.lookBehind(i)
}

// lookBehind has those who wait already for an instance that is queued look whether they are what it waits for.
func (t *turn) lookBehind(queued *instance) {
	var runs []runKey
	t.ns.waits.from(queued.rec.InstanceId, "", func(d *dependency) bool {
		runs = append(runs, *d.run)
		return true
	})
	for _, k := range runs {
		if i := t.runOf(k); !i.isCall(k.at) && i.run(k.at).Todo == 0 {
			t.m.change(i, k.at, func(r *run) { r.Todo = t.m.nextTodo() })
		}
	}
}

// inLine is, as a wait for the one before it, that of the next of those that wait for the end of an instance, by +1, or its own, by -1.
func (t *turn) inLine(id string, by int) *dependency {
	if t.ns.rec.Queued == 0 {
		return nil
	}
	i := t.known(id)
	if i == nil || i.rec.Line == nil {
		return nil
	}
	of, _ := i.lineOf()
	first := t.known(of)
	if first == nil { // it is gone, and this one has ended
		return nil
	}
	line := append([]string{t.holder(first).rec.InstanceId}, first.rec.Line.Queued...)
	at := slices.Index(line, id)
	switch {
	case at < 0 || at+by < 0 || at+by >= len(line):
		return nil
	case by < 0:
		return &dependency{on: line[at-1], run: &runKey{t.ns.rec.Namespace, id, whole}}
	}
	return &dependency{on: id, run: &runKey{t.ns.rec.Namespace, line[at+1], whole}}
}

// lineRecord is what the first start of an id knows of the others, to be changed.
func (t *turn) lineRecord(first *instance) *logv1.Line {
	if first.rec.Line == nil {
		first.rec.Line = &logv1.Line{}
	}
	t.m.touch(first)
	return first.rec.Line
}

// takesID has an instance have the id that it was started under.
func (t *turn) takesID(i *instance) {
	if l := i.rec.Line; l != nil && l.First != "" {
		t.lineRecord(t.known(l.First)).Holder = i.rec.InstanceId
	}
}

// instanceBegun starts an instance that was queued.
type instanceBegun struct{ i *instance }

func (e *instanceBegun) kind() string { return "lockstep.instance.started.v1" }
func (e *instanceBegun) fill(d *v1.EventData) string {
	rec := e.i.rec
	d.InstanceId, d.Workflow, d.Version, d.Labels, d.Name = rec.InstanceId, rec.Workflow, rec.Version, pairMap(rec.Labels), rec.Line.First
	return e.i.subject()
}
func (e *instanceBegun) evolve(t *turn) {
	line := t.lineRecord(t.known(e.i.rec.Line.First))
	at := slices.Index(line.Queued, e.i.rec.InstanceId)
	line.Queued = slices.Delete(line.Queued, at, at+1)
	t.ns.rec.Queued--
	if t.m.level() >= searchLevel && e.i.rec.AcceptedWall == 0 {
		e.i.rec.AcceptedWall = -1
	}
	t.starts(e.i)
	t.m.touch(e.i)
}

// leaveLine is part of the end of an instance: one that waited waits no more, and behind the one that had the id the next goes on.
func (t *turn) leaveLine(i *instance) {
	id, is := i.lineOf()
	if !is {
		return
	}
	first := t.known(id)
	line := first.rec.Line
	if at := slices.Index(line.Queued, i.rec.InstanceId); at >= 0 {
		t.lineRecord(first).Queued = slices.Delete(line.Queued, at, at+1)
		t.ns.rec.Queued--
		return
	}
	if len(line.Queued) > 0 && t.holder(first) == i {
		t.freed = append(t.freed, first)
	}
}

// succeed starts what waits for the id of a first start, unless somebody has that.
func (first *instance) succeed(t *turn) {
	for len(first.rec.Line.Queued) > 0 && !t.holder(first).live() {
		i := t.known(first.rec.Line.Queued[0])
		if plant.Is(plant.LastInFirst) {
			i = t.known(first.rec.Line.Queued[len(first.rec.Line.Queued)-1])
		}
		t.emit(&instanceBegun{i})
		t.takeKept(i)
		t.goes(i)
	}
}

func (first *instance) space() *namespace { return first.ns }

// lineReply says which start of its id an instance is; nil when that is not known to have had several.
func (i *instance) lineReply() *v1.Line {
	id, is := i.lineOf()
	if !is {
		return nil
	}
	return &v1.Line{Id: id, StartId: i.rec.Line.StartId}
}

// whoHas adds who has the id, and who waits for it.
func (m *Machine) whoHas(out *v1.Line, i *instance) error {
	if out == nil {
		return nil
	}
	first := i.ns.instances[out.Id]
	if first == nil {
		var err error
		if first, err = m.readInstance(i.ns, out.Id); err != nil || first == nil { // it is gone, and all others have ended
			return err
		}
	}
	out.Holder, out.Queued = cmp.Or(first.rec.Line.GetHolder(), out.Id), slices.Clone(first.rec.Line.GetQueued())
	return nil
}

// explainQueued says for whose end an instance waits.
func (m *Machine) explainQueued(i *instance) (*v1.Explanation, error) {
	line := i.lineReply()
	if err := m.whoHas(line, i); err != nil {
		return nil, err
	}
	holder, err := m.lookup(i.ns.rec.Namespace, line.Holder)
	if err != nil {
		return nil, err
	}
	place := slices.Index(line.Queued, i.rec.InstanceId)
	e := &v1.Explanation{Code: v1.ExplainCode_EXPLAIN_CODE_QUEUED, Place: int64(place) + 1, Missing: append([]string{line.Holder}, line.Queued[:place]...)}
	e.Sentence = fmt.Sprintf("The instance is QUEUED: the id %q is that of instance %q, which is %s", line.Id, line.Holder, stateName(holder.rec.State))
	if place > 0 {
		e.Sentence += fmt.Sprintf(", and %d wait before this one", place)
	}
	e.Sentence += "."
	return e, nil
}
