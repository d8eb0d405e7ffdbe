package fsm

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// An instance that runs can go on under another version of its workflow. Each of its steps that has begun or ended goes on as the step of
// that version which has its name, or to which its name is mapped: with its state, outputs, token, lease, locks and times. What has not begun
// is as the version says, what is new begins when its needs have ended, and what is there no more and had not begun is gone. All of it is one
// entry, and all is looked at before anything changes: an instance is under one version or the other, and what cannot be carried is refused.
//
// Whoever has a lease knows its step by the name that it had. A token that was granted before is therefore looked for under the names of then
// (nameNow), and the idempotency key of a run has the name under which it began.

// migrateLevel is the cluster level from which on instances are migrated.
const migrateLevel = 27

// MaxMigrations is how often an instance is migrated.
const MaxMigrations = 100

// migration is how an instance goes on under a version.
type migration struct {
	i      *instance
	to     *version
	from   []int32 // by the nodes of the version's root frame: the one that goes on as it; negative is none
	gone   []int32 // nodes that are there no more
	reason string
	// How many runs that have begun or ended go on, and how many come to be, or are to begin as the version says.
	kept, added int
}

// migrateInstance has an instance go on under another version. Where it is under that, nothing happens.
func (t *turn) migrateInstance(r *v1.MigrateInstanceRequest) (proto.Message, *Refusal) {
	i, refusal := t.instance(r.InstanceId)
	if refusal != nil {
		return nil, refusal
	}
	if r.Version == i.rec.Version && i.live() {
		return &v1.MigrateInstanceResponse{Version: r.Version, FromVersion: i.migratedFrom(), State: i.rec.State, Existing: true}, nil
	}
	if refusal := t.migratable(i); refusal != nil {
		return nil, refusal
	}
	v, refusal := t.ns.version(i.rec.Workflow, r.Version)
	switch {
	case refusal != nil:
		return nil, refusal
	case v.use.Drained:
		return nil, Refuse(v1.Code_CODE_MIGRATE_DRAINED, "version %d of workflow %s is drained; undrain it, or migrate instance %q to another", r.Version, i.rec.Workflow, r.InstanceId)
	}
	e := &instanceMigrated{migration: migration{i: i, to: v, reason: r.Reason}, was: i.rec.Version}
	if refusal := e.plan(sortedPairs(r.Steps)); refusal != nil {
		return nil, refusal
	}
	if refusal := t.carries(&e.migration); refusal != nil {
		return nil, refusal
	}
	reply := &v1.MigrateInstanceResponse{
		Version: v.rec.Version, FromVersion: i.rec.Version, Kept: int32(e.kept), Added: int32(e.added), Gone: int32(len(e.gone)), State: i.rec.State,
	}
	if r.DryRun {
		reply.Steps = e.say()
		return reply, nil
	}
	t.migrates(e)
	reply.State = i.rec.State
	return reply, nil
}

// migratedFrom is the version under which the instance was before; zero when it always was under this one.
func (i *instance) migratedFrom() int32 {
	if len(i.rec.Migrations) == 0 {
		return 0
	}
	return i.rec.Migrations[len(i.rec.Migrations)-1].FromVersion
}

// nameNow is the name now of the step that a token was granted for by a name.
func (i *instance) nameNow(step string, token int64) string {
	for _, m := range i.rec.Migrations {
		if token > m.Token {
			continue
		}
		if at := slices.IndexFunc(m.Renamed, func(p *logv1.Pair) bool { return p.Key == step }); at >= 0 {
			step = m.Renamed[at].Value
		}
	}
	return step
}

// firstName is the name under which a step that goes by one now has begun.
func (i *instance) firstName(step string) string { return firstName(i.rec.Migrations, step) }

func firstName(migrations []*logv1.Migration, step string) string {
	for _, m := range slices.Backward(migrations) {
		if at := slices.IndexFunc(m.Renamed, func(p *logv1.Pair) bool { return p.Value == step }); at >= 0 {
			step = m.Renamed[at].Key
		}
	}
	return step
}

// migratable refuses to migrate an instance that does not run, or has something in use that no version but its own has a place for.
func (t *turn) migratable(i *instance) *Refusal {
	id := i.rec.InstanceId
	switch {
	case !i.live():
		return Refuse(v1.Code_CODE_ALREADY_ENDED, "instance %q has ended: it is %s; fork it into the other version", id, stateName(i.rec.State))
	case i.rec.State != v1.InstanceState_INSTANCE_STATE_RUNNING:
		return Refuse(v1.Code_CODE_NOT_RUNNING, "instance %q is %s, and is not migrated", id, stateName(i.rec.State))
	case t.tired():
		return Refuse(v1.Code_CODE_OVERLOADED, "the entry of the log has done as much as one does; migrate instance %q again", id)
	case len(i.rec.Migrations) >= MaxMigrations:
		return Refuse(v1.Code_CODE_INVALID, "instance %q was migrated %d times, which is the most; fork it", id, MaxMigrations)
	case i.present != nil:
		f := i.newest()
		node := slices.IndexFunc(f.runs, func(r *run) bool { return r.State != unbegun })
		return i.uncarried(f.at(node), "was set back, and has several activations")
	case len(i.bodies) > 0:
		return i.uncarried(i.outermost(i.bodies[0].owner), "has begun what is inside it")
	}
	for at, r := range i.all() {
		switch open := r.State != v1.RunState_RUN_STATE_PENDING && !ended(r.State); {
		case open && i.isCall(at):
			return i.uncarried(at, "has called another instance, which goes on")
		case open && i.isBarrier(at):
			return i.uncarried(at, "waits at a barrier")
		case open && i.step(at).Body > 0:
			return i.uncarried(at, "has begun what is inside it")
		case r.unnumbered():
			return i.uncarried(at, "has a payload of a cluster below level 8")
		}
	}
	return nil
}

// uncarried refuses to migrate an instance for what one of its runs is at.
func (i *instance) uncarried(at at, why string) *Refusal {
	return Refuse(v1.Code_CODE_MIGRATE_UNSUPPORTED, "step %q of instance %q %s; migrate when it has ended, or fork the instance", i.step(at).ID, i.rec.InstanceId, why)
}

// unnumbered: a payload of it is keyed by where it is.
func (p *payloads) unnumbered() bool {
	for as := role(0); as < roles; as++ {
		if p.has&(1<<as) != 0 && p.number[as] == 0 {
			return true
		}
	}
	return false
}

// steppable is the node of a name that is inside no step, and undoes none; -1 when there is none.
func (v *version) steppable(name string) int32 {
	if node, ok := v.nodes[name]; ok {
		if n := &v.compiled().Nodes[node]; n.Scope == 0 && !isCompensation(n) {
			return node
		}
	}
	return -1
}

// plan finds which step goes on as which.
func (m *migration) plan(mapping []*logv1.Pair) *Refusal {
	i, g, h := m.i, m.i.graph, m.to.compiled()
	names := map[string]string{}
	for _, p := range mapping {
		if i.version.steppable(p.Key) < 0 {
			return Refuse(v1.Code_CODE_STEP_NOT_FOUND, "workflow %s version %d of instance %q has no step %q that is inside no other", i.rec.Workflow, i.rec.Version, i.rec.InstanceId, p.Key)
		}
		if m.to.steppable(p.Value) < 0 {
			return Refuse(v1.Code_CODE_STEP_NOT_FOUND, "workflow %s version %d has no step %q that is inside no other; step %q cannot be mapped to it", i.rec.Workflow, m.to.rec.Version, p.Value, p.Key)
		}
		names[p.Key] = p.Value
	}
	m.from = slices.Repeat([]int32{-1}, h.Scopes[0].Count)
	for n, r := range i.root.runs {
		x := &g.Nodes[n]
		if isCompensation(x) {
			continue
		}
		name := x.ID
		if to, ok := names[name]; ok {
			name = to
		}
		to := m.to.steppable(name)
		begun := r.State != v1.RunState_RUN_STATE_PENDING
		switch {
		case to < 0 && begun && (r.Token > 0 || r.State != v1.RunState_RUN_STATE_SKIPPED): // what it did, and whom it called, is known by its name
			return Refuse(v1.Code_CODE_MIGRATE_NO_STEP, "step %q of instance %q is %s, and version %d has no step %q; map it to a step of that version", x.ID, i.rec.InstanceId, runStateName(r.State), m.to.rec.Version, name)
		case to < 0:
			m.gone = append(m.gone, int32(n))
			continue
		case m.from[to] >= 0:
			return Refuse(v1.Code_CODE_MIGRATE_MISMATCH, "steps %q and %q of instance %q would both go on as step %q of version %d; map each to one of its own", g.Nodes[m.from[to]].ID, x.ID, i.rec.InstanceId, name, m.to.rec.Version)
		case begun && !sameWait(x, &h.Nodes[to], r):
			return Refuse(v1.Code_CODE_MIGRATE_MISMATCH, "step %q of instance %q is %s, and step %q of version %d is of another kind, or waits for something else; map it to one that is the same", x.ID, i.rec.InstanceId, runStateName(r.State), name, m.to.rec.Version)
		}
		if r.State == v1.RunState_RUN_STATE_WAITING && x.AwaitsKey != "" && int(to) != n { // who waits by a key is told in the order of places
			return i.uncarried(i.root.at(n), fmt.Sprintf("waits by a key, and has another place in version %d", m.to.rec.Version))
		}
		if m.from[to] = int32(n); begun {
			m.kept++
		}
	}
	for n := range m.from {
		if !isCompensation(&h.Nodes[n]) {
			m.added++
		}
	}
	m.added -= m.kept
	return m.distinct()
}

// distinct refuses to have two steps begin under one name: the idempotency key of a run has that, and who keeps what it did by the key would take
// the second for the first.
func (m *migration) distinct() *Refusal {
	h := m.to.compiled()
	migrations := append(slices.Clone(m.i.rec.Migrations), &logv1.Migration{Renamed: m.renames(m.keeps)})
	first := map[string]string{}
	for n := range m.from {
		if isCompensation(&h.Nodes[n]) {
			continue
		}
		name := h.Nodes[n].ID
		began := firstName(migrations, name)
		if other, taken := first[began]; taken {
			return Refuse(v1.Code_CODE_MIGRATE_MISMATCH, "steps %q and %q of version %d would both have the idempotency key of step %q of instance %q, under whose name one of them has begun; register a version in which the other has another name",
				other, name, m.to.rec.Version, began, m.i.rec.InstanceId)
		}
		first[began] = name
	}
	return nil
}

// renames are the names that change, from and to, of some of the steps that go on.
func (m *migration) renames(some func(from int32) bool) (renamed []*logv1.Pair) {
	h := m.to.compiled()
	for n, from := range m.from {
		if from < 0 || !some(from) {
			continue
		}
		if was, is := m.i.graph.Nodes[from].ID, h.Nodes[n].ID; was != is {
			renamed = append(renamed, &logv1.Pair{Key: was, Value: is})
		}
	}
	return renamed
}

// sameWait: a step is of the same kind as one that has begun, and what waits waits for the same.
func sameWait(x, y *graph.Node, r *run) bool {
	if x.Kind != y.Kind {
		return false
	}
	return r.State != v1.RunState_RUN_STATE_WAITING || x.Signal == y.Signal && x.Awaits == y.Awaits && x.AwaitsKey == y.AwaitsKey && x.AwaitsCount == y.AwaitsCount
}

// frame makes the runs of the version. Those that go on are the runs themselves: who makes another instance of them changes none.
func (m *migration) frame(wall int64) frame {
	h := m.to.compiled()
	f := newFrame(h, 0, 0)
	for n, from := range m.from {
		switch {
		case isCompensation(&h.Nodes[n]):
		case m.keeps(from):
			f.runs[n] = m.i.root.runs[from]
		default:
			f.runs[n].State, f.runs[n].ChangedWall = v1.RunState_RUN_STATE_PENDING, wall
		}
	}
	return f
}

// keeps: the run of a node has begun, or ended.
func (m *migration) keeps(from int32) bool {
	return from >= 0 && m.i.root.runs[from].State != v1.RunState_RUN_STATE_PENDING
}

// needs counts what the needs of a run have come to among the runs of its frame.
func (i *instance) needs(at at) (open, met int32) {
	for _, need := range i.step(at).Needs {
		switch over := i.run(at.beside(need)); {
		case !ended(over.State):
			open++
		case meets(i.graph.Edge(need, int(at.node)), over) == needMet:
			met++
		}
	}
	return open, met
}

// carries refuses to migrate an instance of which a run that goes on would be where the version has none.
func (t *turn) carries(m *migration) *Refusal {
	h := m.to.compiled()
	is := &instance{ns: m.i.ns, rec: m.i.rec, version: m.to, graph: h, root: m.frame(0)}
	is.root.payloads = m.i.root.payloads
	for n, from := range m.from {
		if !m.keeps(from) {
			continue
		}
		now, r := at{node: int32(n)}, is.root.runs[n]
		var probe = *r
		probe.Pending, probe.Done = is.needs(now)
		is.root.runs[n] = &probe
		verdict := is.verdict(now)
		is.root.runs[n] = r
		who := fmt.Sprintf("step %q of instance %q is %s, and in version %d, as step %q,", m.i.graph.Nodes[from].ID, m.i.rec.InstanceId, runStateName(r.State), m.to.rec.Version, h.Nodes[n].ID)
		lost := r.State == v1.RunState_RUN_STATE_CANCELLED || r.State == v1.RunState_RUN_STATE_SKIPPED
		switch {
		case !lost && len(h.Nodes[n].Needs) > 0 && verdict != joinGo:
			return Refuse(v1.Code_CODE_MIGRATE_ORDER, "%s needs %s; migrate when that has ended well, or to a version where it is not needed", who, is.lacking(now))
		case !lost && is.lost(now):
			return Refuse(v1.Code_CODE_MIGRATE_ORDER, "%s is in a race that another step has won; migrate to a version where it is in none", who)
		case r.State == v1.RunState_RUN_STATE_FAILED && !h.Nodes[n].Takes(r.Code):
			return Refuse(v1.Code_CODE_MIGRATE_ORDER, "%s has no step that needs its failure with %s; migrate to a version that has one", who, r.Code)
		case r.State == v1.RunState_RUN_STATE_COMPLETED && h.Sequential && r.CompletedAt == 0 && h.Nodes[n].Compensation > 0:
			return Refuse(v1.Code_CODE_MIGRATE_UNSUPPORTED, "%s is undone in the order of completions, which nobody has kept; migrate to a version that does not compensate sequentially", who)
		case !ended(r.State) && (h.Nodes[n].Locks > 0 || len(r.Locks) > 0):
			locks, err := h.LocksOf(n, t.view(is, &is.root))
			if err != nil || !sameLocks(r.Locks, locks) {
				return Refuse(v1.Code_CODE_MIGRATE_UNSUPPORTED, "%s wants other locks than it has claimed; migrate when it has ended", who)
			}
		}
	}
	t.data = data{}
	return t.unwatched(m)
}

// lacking is the first step that a run needs which has not ended, or not as is needed.
func (i *instance) lacking(at at) string {
	for _, need := range i.step(at).Needs {
		if over := i.run(at.beside(need)); !ended(over.State) || meets(i.graph.Edge(need, int(at.node)), over) != needMet {
			return "step " + i.graph.Nodes[need].ID + ", which is " + runStateName(over.State)
		}
	}
	return "others"
}

// sameLocks: a run has claimed what is wanted.
func sameLocks(claimed []*logv1.ClaimedLock, wanted []graph.Lock) bool {
	return slices.EqualFunc(claimed, wanted, func(c *logv1.ClaimedLock, w graph.Lock) bool {
		return c.Lock == w.Name && c.Shared == w.Shared && c.Limit == w.Limit && c.Take == max(1, w.Take) && c.Hold == int32(w.Hold)
	})
}

// unwatched refuses to rename, or take away, or add what is counted, or was observed, by its name.
func (t *turn) unwatched(m *migration) (refusal *Refusal) {
	i := m.i
	moved := func(step string) bool {
		was, is := i.version.steppable(step), m.to.steppable(step)
		return was != is && (was < 0 || is < 0) || is >= 0 && m.from[is] != was
	}
	if t.ns.censuses.Len() > 0 {
		for _, p := range i.rec.Keys {
			t.ns.censusesBy(p.Key, p.Value, func(c *census) bool {
				if c.rec.Step != "" && moved(c.rec.Step) {
					refusal = Refuse(v1.Code_CODE_MIGRATE_UNSUPPORTED, "step %q of instance %q is waited for by the key %s=%s, and is another in version %d; migrate when nobody waits", c.rec.Step, i.rec.InstanceId, p.Key, p.Value, m.to.rec.Version)
				}
				return refusal == nil
			})
		}
	}
	if refusal == nil {
		t.m.observations(t.ns, i.rec.InstanceId, func(o *logv1.Observation) bool {
			if moved(o.Step) {
				refusal = Refuse(v1.Code_CODE_MIGRATE_UNSUPPORTED, "step %q of instance %q was observed by that name, and is another in version %d; settle what was observed first", o.Step, i.rec.InstanceId, m.to.rec.Version)
			}
			return refusal == nil
		})
	}
	return refusal
}

// say tells what becomes of each step: those of the version, and then those that are gone.
func (m *migration) say() (steps []*v1.MigratedStep) {
	h := m.to.compiled()
	for n, from := range m.from {
		if isCompensation(&h.Nodes[n]) {
			continue
		}
		s := &v1.MigratedStep{To: h.Nodes[n].ID, State: v1.RunState_RUN_STATE_PENDING}
		if from >= 0 {
			s.From, s.State = m.i.graph.Nodes[from].ID, m.i.root.runs[from].State
		}
		steps = append(steps, s)
	}
	for _, n := range m.gone {
		steps = append(steps, &v1.MigratedStep{From: m.i.graph.Nodes[n].ID, State: m.i.root.runs[n].State})
	}
	return steps
}

// migrates has an instance go on, and begins what can begin in the version.
func (t *turn) migrates(e *instanceMigrated) {
	i := e.i
	for _, n := range e.gone {
		for _, w := range slices.Clone(t.m.named[i.key(at{node: n})]) {
			t.answer(w, nil, Refuse(v1.Code_CODE_STEP_NOT_FOUND, "workflow %s version %d, to which instance %q was migrated, has no step %q", i.rec.Workflow, e.to.rec.Version, i.rec.InstanceId, i.graph.Nodes[n].ID))
		}
	}
	t.emit(e)
	t.reached += len(i.root.runs)
	for n, r := range i.root.runs {
		if now := i.root.at(n); r.State == v1.RunState_RUN_STATE_READY && r.Parked == "" && r.limitedBy() == "" {
			t.offer(i, now) // it may be in another queue
		}
	}
	t.goesBehind(i, &i.root)
	t.tellOf(i)
}

// instanceMigrated has an instance be of another version from now on.
type instanceMigrated struct {
	migration
	was     int32
	renamed []*logv1.Pair
}

func (e *instanceMigrated) kind() string { return "lockstep.instance.migrated.v1" }
func (e *instanceMigrated) fill(d *v1.EventData) string {
	d.InstanceId, d.Workflow, d.Version, d.FromVersion = e.i.rec.InstanceId, e.i.rec.Workflow, e.to.rec.Version, e.was
	d.Reason, d.Count = e.reason, int32(e.kept)
	d.Labels, d.Renamed = pairMap(e.i.rec.Labels), pairMap(e.renamed)
	return e.i.subject()
}
func (e *instanceMigrated) evolve(t *turn) {
	i, h := e.i, e.to.compiled()
	e.renamed = e.renames(func(int32) bool { return true })
	record := &logv1.Migration{FromVersion: e.was, Token: t.ns.rec.Token, Renamed: e.renames(e.keeps)}
	to := slices.Repeat([]int32{-1}, len(i.root.runs))
	for n, from := range e.from {
		if from >= 0 {
			to[from] = int32(n)
		}
	}
	waits := t.m.takeNamed(i)
	for n, r := range i.root.runs {
		if pending(r) {
			t.m.unindexRun(i.ns, i.lasting(at{node: int32(n)}), i.place(at{node: int32(n)}))
			t.m.settleLane()
		}
		if to[n] < 0 {
			t.m.forgetPayloads(i.ns, &r.payloads)
		}
	}
	f := e.frame(t.wall())
	own, counted := i.root.payloads, f.tally
	t.m.lives(i, -1)
	i.version, i.graph, i.rec.Version = e.to, h, e.to.rec.Version
	i.rec.Migrations = append(i.rec.Migrations, record)
	i.root = f
	i.root.payloads = own
	t.m.lives(i, +1)
	t.data = data{}
	for n, r := range i.root.runs {
		at := at{node: int32(n)}
		if r.State == unbegun {
			continue
		}
		r.Pending, r.Done = i.needs(at)
		counted.add(r.tally())
		if r.motion != noMotion {
			r.key = nil
		}
		t.m.moveLease(i, at)
		if pending(r) {
			t.m.indexRun(i.ns, i.lastingFor(t.m, at), i.place(at))
			t.m.settleLane()
		}
	}
	i.root.tally = counted
	for _, tbl := range []byte{tablePage, tablePending} {
		prefix := key(tbl, i.ns.rec.Namespace, i.rec.InstanceId)
		t.m.dirty.ranges = append(t.m.dirty.ranges, [2][]byte{prefix, table.End(prefix)})
	}
	for p := range i.root.pages {
		i.root.pages[p] = true
	}
	for _, w := range waits {
		if w.rec.Node = to[w.rec.Node]; w.rec.Node >= 0 {
			w.rec.Step = h.Nodes[w.rec.Node].ID
		}
		t.m.lineWait(w)
		t.m.dirtySession(w.session)
	}
	t.m.dirtyBytes += 32 * len(i.root.runs)
	t.m.touch(i)
}

// lastingFor is lasting, of a run that may be at rest.
func (i *instance) lastingFor(m *Machine, at at) *runKey {
	m.own(i.run(at))
	return i.lasting(at)
}

// settleLane has a lane follow what joined or left it.
func (m *Machine) settleLane() {
	if q, l := m.unsettled.queue, m.unsettled.lane; l != nil {
		m.unsettled.queue, m.unsettled.lane = nil, nil
		m.settle(q, l)
	}
}

// takeNamed takes those out of their lines who wait for a run of an instance by name, in the order of the runs.
func (m *Machine) takeNamed(i *instance) (waits []*wait) {
	if len(m.named) == 0 {
		return nil
	}
	for n := range i.root.runs {
		waits = append(waits, m.named[i.key(at{node: int32(n)})]...)
	}
	for _, w := range waits {
		m.unlineWait(w)
	}
	return waits
}

// forgetPayloads has the rows go of a run that is there no more.
func (m *Machine) forgetPayloads(ns *namespace, p *payloads) {
	for as := role(0); as < roles; as++ {
		if p.has&(1<<as) != 0 {
			m.removePayload(ns, p, as)
		}
	}
	p.has = 0
}

// moveLease has the lease of a run, and the locks under it, say where the run is now. A lease that lapsed keeps its places.
func (m *Machine) moveLease(i *instance, at at) {
	r := i.run(at)
	if r.State == v1.RunState_RUN_STATE_LEASED {
		s := m.sessions[r.Session]
		for _, lease := range s.rec.Leases {
			if lease.Token == r.Token {
				lease.Node = at.node
				i.ns.leases[lease.Token] = s.ref(lease)
			}
		}
		m.dirtySession(s)
	}
	for _, want := range r.Locks {
		l := i.ns.locks[want.Lock]
		if l == nil {
			continue
		}
		for _, list := range [][]*logv1.LockHolder{l.rec.Holders, l.rec.Lapsed} {
			for _, h := range list {
				if h.Token == r.Token && h.InstanceId == i.rec.InstanceId {
					h.Node = at.node
					m.dirtyLock(l)
				}
			}
		}
	}
}
