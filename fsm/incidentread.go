package fsm

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// What needs a person is one list of three things: runs that stand still, instances that have failed, and drift that nobody has settled, the newest
// first. Runs that stand
// still are in an order of their own in memory, as all that is pending is, which is opened from what is stored of that; failed instances are
// those of the index of instances (searchrow.go), by their ends; drift has an order of its own (observe.go). So no list looks at what goes on, or has ended well.

// incidentLevel is the cluster level from which on it is kept since when a run stands still, in its place in the order. What stood still before
// that is listed as the oldest.
const incidentLevel = 23

// still is a run that stands still, and since when, in unix nanoseconds of the wall.
type still struct {
	since int64
	run   *runKey
}

func newStill() *btree.BTreeG[still] {
	return btree.NewG(8, func(a, b still) bool { return cmp.Or(cmp.Compare(a.since, b.since), a.run.compare(b.run)) < 0 })
}

// trouble is one of the list: a run that stands still, or an instance that failed, which is its run whole; or drift, which has its
// place in the order of that for an id, and is at elsewhere. Lists go on behind one.
type trouble struct {
	since int64
	id    string
	at    at
}

// elsewhere stands in the place of a run for what was observed of one.
var elsewhere = at{node: -2}

func (a *trouble) compare(b *trouble) int {
	return cmp.Or(cmp.Compare(a.since, b.since), strings.Compare(a.id, b.id), cmp.Compare(a.at.node, b.at.node), cmp.Compare(a.at.index, b.at.index))
}

func (a *trouble) page() string {
	return fmt.Sprintf("%d:%d:%d:%s", a.since, a.at.node, a.at.index, a.id)
}

// troubleOf is where a page goes on; nil is at the beginning.
func troubleOf(page string) (*trouble, *Refusal) {
	if page == "" {
		return nil, nil
	}
	parts := strings.SplitN(page, ":", 4)
	var numbers [3]int64
	if len(parts) == 4 {
		for n := range numbers {
			var err error
			if numbers[n], err = strconv.ParseInt(parts[n], 10, 64); err != nil {
				parts = nil
				break
			}
		}
	}
	if len(parts) != 4 {
		return nil, Refuse(v1.Code_CODE_INVALID, "the page %q is none that a list of incidents has said", page)
	}
	return &trouble{numbers[0], parts[3], at{int32(numbers[1]), int32(numbers[2])}}, nil
}

// troubles are those that a page looks at: the runs, which were taken when the state was pinned, and the instances, read from that.
type troubles struct {
	runs    []trouble
	drifts  []trouble // likewise
	failed  strands
	pending *trouble // the next of failed
}

// next takes the newest of both; nil at the end.
func (s *troubles) next() (*trouble, error) {
	if s.pending == nil {
		spot, err := s.failed.next()
		if err != nil {
			return nil, err
		}
		if spot != nil {
			s.pending = &trouble{spot.at, spot.id, whole}
		}
	}
	next, from := s.pending, (*[]trouble)(nil)
	for _, list := range [...]*[]trouble{&s.runs, &s.drifts} {
		if len(*list) > 0 && (next == nil || (*list)[0].compare(next) > 0) {
			first := (*list)[0]
			next, from = &first, list
		}
	}
	if from != nil {
		*from = (*from)[1:]
	} else {
		s.pending = nil
	}
	return next, nil
}

// ListIncidents lists what needs a person, the newest first. A page looks at so many and no more, so with a filter it may be short, or empty
// with a next one.
func (m *Machine) ListIncidents(r *v1.ListIncidentsRequest) (*v1.ListIncidentsResponse, error) {
	s, done, err := m.troubles(r)
	if err != nil {
		return nil, err
	}
	defer done()
	out := &v1.ListIncidentsResponse{}
	var last *trouble
	for seen := 0; ; seen++ {
		next, err := s.next()
		if err != nil || next == nil {
			return out, err
		}
		if len(out.Incidents) >= pageLimit(r.Limit) || seen >= searched {
			out.NextPage = last.page()
			return out, nil
		}
		last = next
		incident, err := m.incidentAt(r.Namespace, next)
		if err != nil {
			return nil, err
		}
		if incident != nil && (r.Resolved || incident.Resolution == nil) && (r.Workflow == "" || r.Workflow == incident.Workflow) && (r.Kind == 0 || r.Kind == incident.Kind) {
			out.Incidents = append(out.Incidents, incident)
		}
	}
}

// troubles pins the state, and takes from it what a page may look at.
func (m *Machine) troubles(r *v1.ListIncidentsRequest) (s *troubles, done func(), err error) {
	from, refusal := troubleOf(r.Page)
	if refusal != nil {
		return nil, nil, refusal
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ns, refusal := m.namespace(r.Namespace)
	switch {
	case refusal != nil:
		return nil, nil, refusal
	case m.level() < incidentLevel:
		return nil, nil, Refuse(v1.Code_CODE_UNSUPPORTED, "this needs cluster level %d, and the cluster is at level %d", incidentLevel, m.level())
	case ns.rec.Indexing && !r.Standing:
		return nil, nil, Refuse(v1.Code_CODE_INDEX_NOT_READY, "the instances of namespace %s are being added to the index, up to %q now: until then only what stands still is listed", ns.rec.Namespace, ns.rec.IndexedTo)
	}
	s = &troubles{}
	take := func(t still) bool {
		next := trouble{t.since, t.run.instance, t.run.at}
		if from == nil || next.compare(from) < 0 {
			s.runs = append(s.runs, next)
		}
		return len(s.runs) <= searched
	}
	if from == nil {
		ns.still.Descend(take)
	} else {
		ns.still.DescendLessOrEqual(still{from.since, &runKey{ns.rec.Namespace, from.id, from.at}}, take)
	}
	if r.Standing {
		return s, func() {}, nil
	}
	q := &query{filter: &filter{state: v1.InstanceState_INSTANCE_STATE_FAILED}, ns: &namespace{rec: &logv1.Namespace{Namespace: ns.rec.Namespace}}, order: endNew}
	if from != nil {
		q.from = &spot{max(0, from.since), from.id}
	}
	if q.in, err = m.viewed(); err != nil {
		return nil, nil, err
	}
	s.failed = q.ranges(findEnd, 0, 0)
	if s.drifts, err = driftsBefore(q.in, ns.rec.Namespace, from); err != nil {
		q.in.Close()
		return nil, nil, err
	}
	return s, func() { q.in.Close() }, nil
}

// driftsBefore are those that a page may look at of what was drift when it was told, the newest first.
func driftsBefore(in table.Reader, namespace string, from *trouble) (drifts []trouble, err error) {
	prefix := key(tableDrift, namespace)
	to := table.End(prefix)
	if from != nil {
		to = table.AppendUint64(slices.Clone(prefix), uint64(max(0, from.since))+1)
	}
	err = in.ScanBack(prefix, to, func(k, _ []byte) bool {
		since, of, _ := table.CutUint64(k[len(prefix):])
		next := trouble{int64(since), hex.EncodeToString(of), elsewhere}
		if from == nil || next.compare(from) < 0 {
			drifts = append(drifts, next)
		}
		return len(drifts) <= searched
	})
	return drifts, err
}

// driftAt tells of drift; nil when there is none any more, or it is settled.
func (m *Machine) driftAt(namespace string, of *trouble) (*v1.Incident, error) {
	ns, refusal := m.namespace(namespace)
	if refusal != nil {
		return nil, refusal
	}
	k, err := hex.DecodeString(of.id)
	if err != nil {
		return nil, Refuse(v1.Code_CODE_INVALID, "the page %q is none that a list of incidents has said", of.page())
	}
	rec := m.observation(append(key(tableObserved, ns.rec.Namespace), k...))
	if rec == nil {
		return nil, nil
	}
	d := m.compare(ns, m.about(ns, rec), rec)
	if !d.open() || d.policy(nil) == v1.ReconcileAction_RECONCILE_ACTION_IGNORE {
		return nil, nil
	}
	return d.incident(ns), nil
}

// incident tells of drift.
func (d *drifted) incident(ns *namespace) *v1.Incident {
	rec := d.rec
	out := &v1.Incident{
		Namespace: ns.rec.Namespace, Kind: v1.IncidentKind_INCIDENT_KIND_DRIFT, InstanceId: rec.InstanceId, Step: rec.Step, Index: rec.Index,
		Code: driftName(d.class), Cause: d.describe(), Since: stamp(rec.SinceWall),
	}
	if d.i != nil {
		out.Workflow, out.Version, out.State = d.i.rec.Workflow, d.i.rec.Version, d.i.rec.State
	}
	if rec.Evidence != "" {
		out.Evidence = append(out.Evidence, "The reporter says: "+strings.TrimSuffix(rec.Evidence, ".")+".")
	}
	if len(rec.Executions) > 0 {
		out.Evidence = append(out.Evidence, "It was executed as "+strings.Join(rec.Executions, ", ")+".")
	}
	if d.raised() {
		out.Evidence = append(out.Evidence, "A plan has left it to a person: "+rec.PlanId+".")
	}
	plan := "lockstep reconcile plan --reporter " + shellWord(rec.Reporter) + " --step " + shellWord(rec.Step)
	if rec.InstanceId != "" {
		plan += " --instance " + shellWord(rec.InstanceId)
	}
	out.Commands = append(out.Commands, plan+" --policy "+strings.ToLower(driftName(d.class))+"=ACTION --out plan.json", "lockstep reconcile apply plan.json --reason WHY")
	return out
}

// incidentAt tells of one; nil when it needs nobody any more.
func (m *Machine) incidentAt(namespace string, of *trouble) (*v1.Incident, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if of.at == elsewhere {
		return m.driftAt(namespace, of)
	}
	i, err := m.lookup(namespace, of.id)
	var gone *Refusal
	switch {
	case errors.As(err, &gone):
		return nil, nil
	case err != nil:
		return nil, err
	case of.at == whole && i.rec.State != v1.InstanceState_INSTANCE_STATE_FAILED:
		return nil, nil
	case of.at != whole && (i.frame(of.at) == nil || i.run(of.at).State != v1.RunState_RUN_STATE_INCIDENT):
		return nil, nil
	}
	out := &v1.Incident{Namespace: i.ns.rec.Namespace, InstanceId: of.id, Workflow: i.rec.Workflow, Version: i.rec.Version, State: i.rec.State}
	if of.at == whole {
		i.tellFailed(out)
	} else {
		i.tellStill(of.at, out)
	}
	return out, nil
}

// tellStill tells of a run that stands still.
func (i *instance) tellStill(at at, out *v1.Incident) {
	r, n := i.run(at), i.step(at)
	undoes := isCompensation(n)
	out.Step, out.Index, out.Code, out.Since = n.ID, at.index, r.Code, stamp(r.ChangedWall)
	switch {
	case r.Code == deadlock:
		out.Kind = v1.IncidentKind_INCIDENT_KIND_DEADLOCK
	case strings.HasSuffix(r.Code, "_DIFFERS"):
		out.Kind = v1.IncidentKind_INCIDENT_KIND_DIFFERS
	case undoes && r.Attempt > 0:
		out.Kind = v1.IncidentKind_INCIDENT_KIND_COMPENSATION
	default:
		out.Kind = v1.IncidentKind_INCIDENT_KIND_EXPRESSION
	}
	out.Cause = fmt.Sprintf("Step %q stands still: %s.", n.ID, strings.TrimSuffix(r.Reason, "."))
	if of, is := i.compensates(at); is {
		out.Cause = fmt.Sprintf("Step %q is not undone, for %s stands still: %s.", i.step(of).ID, n.ID, strings.TrimSuffix(r.Reason, "."))
	}
	i.tellAttempts(at, out)
	i.tellBehind(at, out)
	if i.paused() {
		out.Evidence = append(out.Evidence, i.explainPause().Sentence)
	}
	step := "lockstep step %s " + shellWord(i.rec.InstanceId) + " " + shellWord(n.ID)
	if at.index > 0 {
		step += fmt.Sprint(" --index ", at.index)
	}
	if undoes || out.Kind == v1.IncidentKind_INCIDENT_KIND_DIFFERS {
		out.Commands = append(out.Commands, fmt.Sprintf(step, "retry")+" --reason WHY")
	}
	out.Commands = append(out.Commands, fmt.Sprintf(step, "resolve")+" --output JSON --reason WHY", fmt.Sprintf(step, "skip")+" --reason WHY")
	if !undoes && i.rec.State == v1.InstanceState_INSTANCE_STATE_RUNNING {
		out.Commands = append(out.Commands, "lockstep instance cancel "+shellWord(i.rec.InstanceId)+" --reason WHY")
	}
}

// tellFailed tells of an instance that has failed, and of the run whose failure that was.
func (i *instance) tellFailed(out *v1.Incident) {
	out.Code, out.Since, out.Kind = i.rec.Code, stamp(i.rec.EndedWall), v1.IncidentKind_INCIDENT_KIND_FAILED
	out.Cause = fmt.Sprintf("The instance has failed: %s.", strings.TrimSuffix(i.rec.Reason, "."))
	for n := range i.root.runs {
		at := i.now(int32(n))
		if r := i.run(at); r.State != v1.RunState_RUN_STATE_FAILED || r.Code != i.rec.Code || isCompensation(i.step(at)) {
			continue
		}
		out.Step, out.Index = i.step(at).ID, at.index
		if i.step(at).Kind == graph.KindTask && i.run(at).Used >= int32(i.step(at).Retry.Attempts) {
			out.Kind = v1.IncidentKind_INCIDENT_KIND_EXHAUSTED
		}
		i.tellAttempts(at, out)
		break
	}
	if i.rec.Code == deadlock {
		out.Kind = v1.IncidentKind_INCIDENT_KIND_DEADLOCK
	}
	out.Resolution = i.resolutionReply()
	then := "resolve"
	if i.resolved() {
		then = "reopen"
	}
	id := shellWord(i.rec.InstanceId)
	out.Commands = []string{"lockstep instance history " + id, "lockstep instance show " + id, "lockstep incident " + then + " " + id + " --reason WHY"}
}

// tellAttempts tells what was tried.
func (i *instance) tellAttempts(at at, out *v1.Incident) {
	if r := i.run(at); r.Attempt > 0 {
		out.Evidence = append(out.Evidence, fmt.Sprintf("It was leased %d times, at last under token %d; %d of %d attempts are used.", r.Attempt, r.Token, r.Used, i.step(at).Retry.Attempts))
	}
}

// behindTold is how many of the steps that wait for what stands still are named.
const behindTold = 8

// tellBehind tells which steps need a run that stands still.
func (i *instance) tellBehind(at at, out *v1.Incident) {
	var names []string
	for _, edge := range i.step(at).Successors {
		if i.run(i.behind(at, edge.To)).State == v1.RunState_RUN_STATE_PENDING && len(names) <= behindTold {
			names = append(names, i.graph.Nodes[edge.To].ID)
		}
	}
	if len(names) > behindTold {
		names[behindTold] = "others"
	}
	if len(names) > 0 {
		out.Evidence = append(out.Evidence, "Behind it wait "+strings.Join(names, ", ")+".")
	}
}

// shellWord is a word as a shell takes it for one.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
