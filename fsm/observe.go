package fsm

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An observation is what a reporter says of a run. Of each reporter and run one is kept: the newest by the reporter's clock, and of two of one time
// the one with the greater id; beside it stand all executions that completed. So what is kept does not hang on the order in which observations
// come, nor on how often. All of it is loose rows: the observations, those that were drift when they were told in the order since when, and orphans
// in the order in which they are over. What is of an instance goes with it.

// reconcileLevel is the cluster level from which on there are observations and plans.
const reconcileLevel = 26

const (
	maxObserved   = 10_000 // observations of a namespace
	maxObservedOf = 64     // of an instance
	maxOrphans    = 1_000  // of which there is no instance, in a namespace
	maxExecutions = 16     // of a run, by a reporter
	orphanTTL     = 7 * 24 * 3600 * 1_000_000_000
	expireMost    = 16 // orphans that one report removes
)

// lateReporter reports what came too late to count (late.go). Nobody else reports under its name.
const lateReporter = "late-results"

// appendObservation adds what names an observation in its namespace.
func appendObservation(k []byte, rec *logv1.Observation) []byte {
	for _, part := range [...]string{rec.InstanceId, rec.Step, rec.Reporter, rec.Key.GetName(), rec.Key.GetValue()} {
		k = table.AppendString(k, part)
	}
	return table.AppendUint64(k, uint64(rec.Index))
}

func observedKey(namespace string, rec *logv1.Observation) []byte {
	return appendObservation(key(tableObserved, namespace), rec)
}

func driftKey(namespace string, rec *logv1.Observation) []byte {
	return appendObservation(table.AppendUint64(key(tableDrift, namespace), uint64(rec.SinceWall)), rec)
}

func orphanKey(namespace string, rec *logv1.Observation) []byte {
	return appendObservation(table.AppendUint64(key(tableOrphan, namespace), uint64(rec.OverAt)), rec)
}

// observation is what is kept under a key; nil when that is nothing.
func (m *Machine) observation(k []byte) *logv1.Observation {
	value, found := m.get(k)
	if !found {
		return nil
	}
	rec := &logv1.Observation{}
	must(proto.Unmarshal(value, rec))
	return rec
}

// putObservation keeps an observation in the place of one; nil is none.
func (m *Machine) putObservation(ns *namespace, was, rec *logv1.Observation) {
	name := ns.rec.Namespace
	if was != nil {
		m.dropObservation(ns, was)
	}
	m.put(observedKey(name, rec), encode(rec))
	if rec.Open {
		m.put(driftKey(name, rec), nil)
	}
	ns.rec.Observations++
	if rec.OverAt > 0 {
		m.put(orphanKey(name, rec), nil)
		ns.rec.Orphans++
	}
	m.dirtyNamespace(ns)
}

// dropObservation keeps one no more.
func (m *Machine) dropObservation(ns *namespace, rec *logv1.Observation) {
	name := ns.rec.Namespace
	m.drop(observedKey(name, rec))
	if rec.Open {
		m.drop(driftKey(name, rec))
	}
	ns.rec.Observations--
	if rec.OverAt > 0 {
		m.drop(orphanKey(name, rec))
		ns.rec.Orphans--
	}
	m.dirtyNamespace(ns)
}

// observations calls fn with what is kept of an instance, until it returns false. fn changes none.
func (m *Machine) observations(ns *namespace, id string, fn func(*logv1.Observation) bool) {
	prefix := key(tableObserved, ns.rec.Namespace, id)
	m.scan(prefix, table.End(prefix), func(_, value []byte) bool {
		rec := &logv1.Observation{}
		must(proto.Unmarshal(value, rec))
		return fn(rec)
	})
}

// forgetObservations has nothing be kept of an instance that is removed.
func (m *Machine) forgetObservations(ns *namespace, id string) {
	var gone []*logv1.Observation
	m.observations(ns, id, func(rec *logv1.Observation) bool {
		gone = append(gone, rec)
		return true
	})
	for _, rec := range gone {
		m.dropObservation(ns, rec)
	}
}

// observedOutput is what an observation says that the run put out. That of a late result is in the inbox.
func (m *Machine) observedOutput(ns *namespace, rec *logv1.Observation) *v1.Payload {
	if rec.LateToken == 0 {
		return rec.Output
	}
	for _, l := range slices.Backward(m.dirty.late) { // of a token that came late again the last counts, as it will in the engine
		if l.namespace == ns.rec.Namespace && l.rec.InstanceId == rec.InstanceId && l.rec.Token == rec.LateToken {
			return l.rec.Output
		}
	}
	kept := &logv1.LateResult{}
	_, err := row(m.stored(ns.rec.Namespace), table.AppendUint64(key(tableLate, ns.rec.Namespace, rec.InstanceId), uint64(rec.LateToken)), kept)
	must(err)
	return kept.Output
}

// reportObservation keeps what a reporter says.
func (t *turn) reportObservation(r *v1.ReportObservationRequest) (proto.Message, *Refusal) {
	i, rec, refusal := t.observing(r)
	if refusal != nil {
		return nil, refusal
	}
	was := t.m.observation(observedKey(t.ns.rec.Namespace, rec))
	reply := &v1.ReportObservationResponse{InstanceId: i.id()}
	if was != nil && was.ObservationId == rec.ObservationId {
		reply.Duplicate, reply.Drift, reply.Position = true, t.m.compare(t.ns, i, was).class, was.Position
		return reply, nil
	}
	merged, moved := merge(was, rec)
	if !moved {
		reply.Superseded, reply.Drift, reply.Position = true, t.m.compare(t.ns, i, was).class, was.Position
		return reply, nil
	}
	if refusal := t.roomFor(was, i, rec); refusal != nil {
		return nil, refusal
	}
	d := t.openDrift(i, was, merged)
	reply.Drift = d.class
	t.emit(&observationReported{d: d, was: was, told: rec})
	reply.Position = merged.Position
	t.expireOrphans()
	return reply, nil
}

// id is that of an instance; none is empty.
func (i *instance) id() string {
	if i == nil {
		return ""
	}
	return i.rec.InstanceId
}

// observing finds the instance that an observation is about, and what is to be kept.
func (t *turn) observing(r *v1.ReportObservationRequest) (i *instance, rec *logv1.Observation, refusal *Refusal) {
	byKey := r.InstanceId == "" && r.Key.GetName() != ""
	switch {
	case !byKey && (r.InstanceId == "" || r.Key != nil):
		return nil, nil, Refuse(v1.Code_CODE_INVALID, "an observation is of an instance, by its instanceId or by a key, which has a name")
	case r.Step == "" || r.Reporter == "" || r.ObservationId == "" || r.Index < 0:
		return nil, nil, Refuse(v1.Code_CODE_INVALID, "an observation is of a step, and has a reporter and an observationId that the reporter chooses")
	case r.Reporter == lateReporter:
		return nil, nil, Refuse(v1.Code_CODE_INVALID, "the reporter %q is what came too late to count; report under another name", lateReporter)
	case r.State < v1.ObservedState_OBSERVED_STATE_ABSENT || r.State > v1.ObservedState_OBSERVED_STATE_FAILED:
		return nil, nil, Refuse(v1.Code_CODE_INVALID, "state %d is none", r.State)
	}
	rec = &logv1.Observation{
		InstanceId: r.InstanceId, Step: r.Step, Index: r.Index, Reporter: r.Reporter, ObservationId: r.ObservationId, State: r.State,
		ObservedWall: r.ObservedAt.GetSeconds()*1e9 + int64(r.ObservedAt.GetNanos()), Evidence: r.Evidence, Author: t.env.Author, ReceivedWall: t.wall(),
	}
	if rec.ObservedWall <= 0 {
		rec.ObservedWall = t.wall()
	}
	switch r.State {
	case v1.ObservedState_OBSERVED_STATE_COMPLETED:
		rec.Output = r.OutputPayload
		if r.Execution != "" {
			rec.Executions = []string{r.Execution}
		}
	case v1.ObservedState_OBSERVED_STATE_FAILED:
		rec.Code = r.Code
	}
	if !byKey {
		return t.known(r.InstanceId), rec, nil
	}
	switch ids := t.m.keyedBy(t.ns, r.Key, 4); len(ids) {
	case 0:
		rec.Key = &v1.Key{Name: r.Key.Name, Value: r.Key.Value}
	case 1:
		rec.InstanceId = ids[0]
		i = t.known(ids[0])
	default:
		return nil, nil, Refuse(v1.Code_CODE_KEY_AMBIGUOUS, "the key %s=%s is that of several live instances: %s", r.Key.Name, r.Key.Value, strings.Join(ids[:min(3, len(ids))], ", "))
	}
	return i, rec, nil
}

// merge is what is to be kept of two observations; the first may be none. It says whether that is more than the first.
func merge(was, rec *logv1.Observation) (merged *logv1.Observation, moved bool) {
	if was == nil {
		return rec, true
	}
	newer := cmp.Or(cmp.Compare(rec.ObservedWall, was.ObservedWall), strings.Compare(rec.ObservationId, was.ObservationId)) > 0
	if plant.Is(plant.OlderObservationKept) {
		newer = true
	}
	all := was.Executions
	for _, e := range rec.Executions {
		if at, found := slices.BinarySearch(all, e); !found && len(all) < maxExecutions {
			all = slices.Insert(slices.Clone(all), at, e)
		}
	}
	switch more := len(all) > len(was.Executions); {
	case newer:
		merged = proto.CloneOf(rec)
		merged.SettledExecutions = was.SettledExecutions
		if !more && rec.State == was.State && rec.Code == was.Code && samePayload(rec.Output, was.Output) && rec.LateToken == was.LateToken {
			merged.Settled, merged.SettledDrift, merged.PlanId = was.Settled, was.SettledDrift, was.PlanId // it says nothing new
		}
	case more:
		merged = proto.CloneOf(was)
		merged.Settled, merged.SettledDrift, merged.PlanId = 0, 0, ""
	default:
		return was, false
	}
	merged.Executions = all
	return merged, true
}

// roomFor refuses an observation for which there is no room.
func (t *turn) roomFor(was *logv1.Observation, i *instance, rec *logv1.Observation) *Refusal {
	if was != nil && (was.OverAt > 0 || i != nil) {
		return nil
	}
	switch n := t.ns.rec; {
	case i == nil && n.Orphans >= maxOrphans:
		return Refuse(v1.Code_CODE_OBSERVATIONS_FULL, "namespace %s keeps %d observations of which there is no instance, and no more; they go after a week", n.Namespace, maxOrphans)
	case was != nil:
		return nil
	case n.Observations >= maxObserved:
		return Refuse(v1.Code_CODE_OBSERVATIONS_FULL, "namespace %s keeps %d observations, and no more; they go with their instances", n.Namespace, maxObserved)
	case i != nil && t.m.observedOf(t.ns, rec.InstanceId) >= maxObservedOf:
		return Refuse(v1.Code_CODE_OBSERVATIONS_FULL, "instance %q has %d observations, and no more are kept of one", rec.InstanceId, maxObservedOf)
	}
	return nil
}

// observedOf is how many observations there are of an instance.
func (m *Machine) observedOf(ns *namespace, id string) (n int) {
	m.observations(ns, id, func(*logv1.Observation) bool {
		n++
		return true
	})
	return n
}

// openDrift is what an observation comes to that is to be kept in the place of one.
func (t *turn) openDrift(i *instance, was, rec *logv1.Observation) *drifted {
	if rec.OverAt = 0; i == nil {
		rec.OverAt = t.uptime() + orphanTTL
	}
	d := t.m.compare(t.ns, i, rec)
	if rec.Open, rec.SinceWall = d.class != v1.DriftClass_DRIFT_CLASS_UNSPECIFIED, 0; rec.Open {
		if rec.SinceWall = t.wall(); was.GetOpen() {
			rec.SinceWall = was.SinceWall
		}
	}
	return d
}

// observationReported keeps what a reporter said.
type observationReported struct {
	d    *drifted
	was  *logv1.Observation
	told *logv1.Observation // what was said; what is kept may be newer
}

func (e *observationReported) kind() string { return "lockstep.observation.reported.v1" }
func (e *observationReported) fill(d *v1.EventData) string {
	subject := e.d.fill(d, e.told)
	d.Code, d.Reason, d.Due = e.told.Code, e.told.Evidence, stamp(e.told.ObservedWall)
	d.PayloadSize = int64(len(e.told.Output.GetBytes()))
	if len(e.told.Executions) > 0 {
		d.Name = e.told.Executions[0]
	}
	return subject
}
func (e *observationReported) evolve(t *turn) {
	e.d.rec.Position = t.ns.rec.Position + 1
	t.m.putObservation(t.ns, e.was, e.d.rec)
}

// fill tells of an observation, and of the run that it is about.
func (x *drifted) fill(d *v1.EventData, rec *logv1.Observation) (subject string) {
	d.Reporter, d.Observation, d.Observed, d.Drift = rec.Reporter, rec.ObservationId, observedName(rec.State), driftName(x.class)
	switch {
	case x.own.known:
		fillRun(d, x.i, x.at)
	case x.i != nil:
		d.InstanceId, d.Workflow, d.Version = x.i.rec.InstanceId, x.i.rec.Workflow, x.i.rec.Version
		d.OtherStep, d.OtherIndex = rec.Step, rec.Index
	default:
		d.OtherInstance, d.OtherStep, d.OtherIndex = rec.InstanceId, rec.Step, rec.Index
		d.KeyName, d.KeyValue = rec.Key.GetName(), rec.Key.GetValue()
		return "reporter/" + rec.Reporter
	}
	return x.i.subject()
}

// observeLate has a result that came too late be an observation: what the worker did may differ from what counts. Where there is no room it is
// in the inbox alone. It is part of the event that tells of the result.
func (t *turn) observeLate(i *instance, late *logv1.LateResult) {
	if t.m.level() < reconcileLevel {
		return
	}
	rec := &logv1.Observation{
		InstanceId: late.InstanceId, Step: late.Step, Index: late.Index, Reporter: lateReporter, ObservationId: lateID(late.Token),
		State: v1.ObservedState_OBSERVED_STATE_COMPLETED, ObservedWall: t.wall(), Author: late.Author, ReceivedWall: t.wall(), LateToken: late.Token,
	}
	was := t.m.observation(observedKey(t.ns.rec.Namespace, rec))
	merged, moved := merge(was, rec)
	if was != nil && was.LateToken == rec.LateToken { // told again, perhaps with another output: the last is in the inbox
		merged, moved = rec, true
	}
	if !moved || t.roomFor(was, i, rec) != nil {
		return
	}
	t.openDrift(i, was, merged)
	merged.Position = t.ns.rec.Position + 1
	t.m.putObservation(t.ns, was, merged)
}

// lateID is the id of the observation that a late result is; of two the newer has the greater.
func lateID(token int64) string {
	return "token-" + hex.EncodeToString(table.AppendUint64(nil, uint64(token)))
}

// expireOrphans removes some observations that are over. One whose instance has come since stays with that.
func (t *turn) expireOrphans() {
	if t.ns.rec.Orphans == 0 {
		return
	}
	var over []*logv1.Observation
	prefix := key(tableOrphan, t.ns.rec.Namespace)
	t.m.scan(prefix, table.AppendUint64(key(tableOrphan, t.ns.rec.Namespace), uint64(t.uptime()+1)), func(k, _ []byte) bool {
		rec := t.m.observation(append(key(tableObserved, t.ns.rec.Namespace), k[len(prefix)+8:]...))
		over = append(over, rec)
		return len(over) < expireMost
	})
	if len(over) > 0 {
		t.emit(&observationsExpired{over: over})
	}
}

type observationsExpired struct {
	over []*logv1.Observation
	gone int64
}

func (e *observationsExpired) kind() string { return "lockstep.observation.expired.v1" }
func (e *observationsExpired) fill(d *v1.EventData) string {
	d.Removed = e.gone
	return "namespace"
}
func (e *observationsExpired) evolve(t *turn) {
	for _, rec := range e.over {
		if rec.InstanceId != "" && t.known(rec.InstanceId) != nil {
			stays := proto.CloneOf(rec)
			stays.OverAt = 0
			t.m.putObservation(t.ns, rec, stays)
			continue
		}
		t.m.dropObservation(t.ns, rec)
		e.gone++
	}
}

// ListObservations lists what is kept, by instance, step and reporter.
func (m *Machine) ListObservations(r *v1.ListObservationsRequest) (*v1.ListObservationsResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := m.reconciles(); refusal != nil {
		return nil, refusal
	}
	prefix := key(tableObserved, ns.rec.Namespace)
	if r.InstanceId != "" {
		prefix = key(tableObserved, ns.rec.Namespace, r.InstanceId)
	}
	from := prefix
	if r.Page != "" {
		last, err := hex.DecodeString(r.Page)
		if err != nil || !strings.HasPrefix(string(last), string(prefix)) {
			return nil, Refuse(v1.Code_CODE_INVALID, "page %q is not one that this list gave", r.Page)
		}
		from = append(last, 0)
	}
	out, size, last := &v1.ListObservationsResponse{}, 0, ""
	m.scan(from, table.End(prefix), func(k, value []byte) bool {
		if len(out.Observations) >= pageLimit(r.Limit) || size > pageBytes {
			out.NextPage = last
			return false
		}
		rec := &logv1.Observation{}
		must(proto.Unmarshal(value, rec))
		size, last = size+len(value), hex.EncodeToString(k)
		out.Observations = append(out.Observations, m.observationReply(ns, rec))
		return true
	})
	return out, nil
}

// reconciles refuses what the cluster is not at the level of.
func (m *Machine) reconciles() *Refusal {
	if m.level() < reconcileLevel {
		return Refuse(v1.Code_CODE_UNSUPPORTED, "this needs cluster level %d, and the cluster is at level %d", reconcileLevel, m.level())
	}
	return nil
}

// about is the instance that an observation is about; nil when there is none. It does not keep it decoded.
func (m *Machine) about(ns *namespace, rec *logv1.Observation) *instance {
	if i := ns.instances[rec.InstanceId]; i != nil || rec.InstanceId == "" {
		return i
	}
	i, err := m.readInstance(ns, rec.InstanceId)
	must(err)
	return i
}

func (m *Machine) observationReply(ns *namespace, rec *logv1.Observation) *v1.Observation {
	d := m.compare(ns, m.about(ns, rec), rec)
	out := &v1.Observation{
		InstanceId: rec.InstanceId, Key: rec.Key, Step: rec.Step, Index: rec.Index, Reporter: rec.Reporter, ObservationId: rec.ObservationId, State: rec.State,
		ObservedAt: stamp(rec.ObservedWall), OutputPayload: m.observedOutput(ns, rec), Code: rec.Code, Executions: rec.Executions, Evidence: rec.Evidence,
		Received: stamp(rec.ReceivedWall), Author: rec.Author, Drift: d.class, Position: rec.Position, PlanId: rec.PlanId, Settled: rec.Settled,
	}
	if d.open() {
		out.Since = stamp(rec.SinceWall)
	}
	return out
}
