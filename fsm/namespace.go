package fsm

import (
	"github.com/google/btree"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// namespace is a unit of tenancy and consistency. Its record is always resident.
type namespace struct {
	rec       *logv1.Namespace
	workflows map[string]*workflow
	flows     []string             // names of workflows, sorted
	instances map[string]*instance // those that are decoded now
	locks     map[string]*lock     // those with a holder, a claim or dirt
	queues    map[string]*queue
	limits    map[string]*limit
	limited   *btree.BTreeG[*limit] // the same by key
	lines     []string              // names of queues, sorted
	leases    map[int64]leaseRef
	schedules map[string]*schedule
	calendar  []string // names of schedules, sorted
	bulks     map[string]*bulk
	bulkIDs   []string // sorted
	bulksRun  int      // how many of them run
	reporters map[string]*reporter
	asked     []string // names of reporters, sorted
	feed      feed
	waits     dependencies // runs that wait for other instances
	holds     *btree.BTreeG[holding]
	parties   parties
	still     *btree.BTreeG[still] // runs that stand still: see incidentread.go
	censuses  *btree.BTreeG[*census]
	payloads  numbered
	gone      map[string]struct{} // instances that were removed since the last flush
	cut       bool                // the feed was, since the last flush
	cutTo     []byte              // blocks before this one are gone; nil is not known
	over      int64               // when the next that is remembered of signals by key is over; zero is never
	dirty     bool
}

func (m *Machine) addNamespace(rec *logv1.Namespace) *namespace {
	ns := &namespace{rec: rec}
	ns.clear()
	m.namespaces[rec.Namespace] = ns
	m.names = insertSorted(m.names, rec.Namespace)
	if rec.Indexing {
		m.toIndex++
	}
	return ns
}

// clear forgets everything but the record.
func (ns *namespace) clear() {
	ns.workflows, ns.flows = map[string]*workflow{}, nil
	ns.instances = map[string]*instance{}
	ns.locks = map[string]*lock{}
	ns.queues, ns.lines = map[string]*queue{}, nil
	ns.limits, ns.limited = map[string]*limit{}, btree.NewG(32, limitsByKey)
	ns.leases = map[int64]leaseRef{}
	ns.schedules, ns.calendar = map[string]*schedule{}, nil
	ns.bulks, ns.bulkIDs, ns.bulksRun = map[string]*bulk{}, nil, 0
	ns.reporters, ns.asked = map[string]*reporter{}, nil
	ns.feed, ns.payloads = feed{}, numbered{}
	ns.waits, ns.holds, ns.parties = newDependencies(), newHoldings(), newParties()
	ns.censuses, ns.still = newCensuses(), newStill()
	ns.over = 0
	ns.gone, ns.cut, ns.cutTo = nil, false, nil
}

// namespace finds an active namespace; the empty name is the default one.
func (m *Machine) namespace(name string) (*namespace, *Refusal) {
	if name == "" {
		name = DefaultNamespace
	}
	ns := m.namespaces[name]
	switch {
	case ns == nil || ns.rec.State == v1.NamespaceState_NAMESPACE_STATE_DELETED:
		return nil, Refuse(v1.Code_CODE_NAMESPACE_NOT_FOUND, "there is no namespace %q; create it first", name)
	case ns.rec.State == v1.NamespaceState_NAMESPACE_STATE_DELETING:
		return nil, Refuse(v1.Code_CODE_NAMESPACE_DELETING, "namespace %q is being deleted", name)
	}
	return ns, nil
}

func (m *Machine) dirtyNamespace(ns *namespace) {
	if !ns.dirty {
		ns.dirty = true
		m.dirty.namespaces = append(m.dirty.namespaces, ns)
	}
}

func (t *turn) createNamespace(r *v1.CreateNamespaceRequest) (proto.Message, *Refusal) {
	ns := t.m.namespaces[r.Namespace]
	if ns != nil && ns.rec.State != v1.NamespaceState_NAMESPACE_STATE_DELETED {
		return nil, Refuse(v1.Code_CODE_NAMESPACE_EXISTS, "namespace %q exists", r.Namespace)
	}
	if r.Namespace == "" {
		return nil, Refuse(v1.Code_CODE_INVALID, "a namespace needs a name")
	}
	if refusal := checkRetention(r.Retention); refusal != nil {
		return nil, refusal
	}
	if ns == nil {
		ns = t.m.addNamespace(&logv1.Namespace{Namespace: r.Namespace})
	}
	t.ns = ns
	t.emit(&namespaceCreated{r.Description, r.Retention})
	return ns.reply(), nil
}

func (t *turn) updateNamespace(r *v1.UpdateNamespaceRequest) (proto.Message, *Refusal) {
	if refusal := checkRetention(r.Retention); refusal != nil {
		return nil, refusal
	}
	e := &namespaceUpdated{r.Description, r.Retention}
	if r.Retention != nil && r.Description == "" {
		e.description = t.ns.rec.Description
	}
	t.emit(e)
	return t.ns.reply(), nil
}

// deleteNamespace drops every row at once: they are ranges of keys. Its counters stay for ever, so that a
// namespace that is created again goes on with higher tokens and positions.
func (t *turn) deleteNamespace(r *v1.DeleteNamespaceRequest) (proto.Message, *Refusal) {
	if t.ns.rec.Namespace == DefaultNamespace {
		return nil, Refuse(v1.Code_CODE_INVALID, "the namespace %q cannot be deleted", DefaultNamespace)
	}
	if live := t.ns.rec.LiveInstances; live > 0 && !r.Force {
		return nil, Refuse(v1.Code_CODE_NAMESPACE_IN_USE, "namespace %q has %d live instances; cancel them or force the deletion", t.ns.rec.Namespace, live)
	}
	t.emit(&namespaceDeleted{r.Reason})
	return &v1.DeleteNamespaceResponse{}, nil
}

func (ns *namespace) reply() *v1.Namespace {
	return &v1.Namespace{
		Namespace: ns.rec.Namespace, State: ns.rec.State, Description: ns.rec.Description,
		Created: stamp(ns.rec.CreatedWall), Position: ns.rec.Position, Token: ns.rec.Token, LiveInstances: ns.rec.LiveInstances,
		Retention: retentionOf(ns.rec),
	}
}

// GetNamespace returns a namespace and its counters.
func (m *Machine) GetNamespace(r *v1.GetNamespaceRequest) (*v1.Namespace, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	return m.shown(ns), nil
}

// ListNamespaces lists the namespaces that were not deleted, by name.
func (m *Machine) ListNamespaces(r *v1.ListNamespacesRequest) (*v1.ListNamespacesResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := &v1.ListNamespacesResponse{}
	for _, name := range m.names {
		ns := m.namespaces[name]
		if name <= r.Page || ns.rec.State == v1.NamespaceState_NAMESPACE_STATE_DELETED {
			continue
		}
		if len(out.Namespaces) == pageLimit(r.Limit) {
			out.NextPage = out.Namespaces[len(out.Namespaces)-1].Namespace
			break
		}
		out.Namespaces = append(out.Namespaces, ns.reply())
	}
	return out, nil
}

type namespaceCreated struct {
	description string
	retention   *v1.Retention
}

func (e *namespaceCreated) kind() string { return "lockstep.namespace.created.v1" }
func (e *namespaceCreated) fill(d *v1.EventData) string {
	d.Reason, d.Retention = e.description, sayRetention(e.retention)
	return "namespace"
}
func (e *namespaceCreated) evolve(t *turn) {
	t.ns.rec.State = v1.NamespaceState_NAMESPACE_STATE_ACTIVE
	t.ns.rec.Description, t.ns.rec.CreatedWall = e.description, t.wall()
	retains(t.ns.rec, e.retention)
	t.m.dirtyNamespace(t.ns)
}

type namespaceUpdated struct {
	description string
	retention   *v1.Retention // nil leaves it as it is
}

func (e *namespaceUpdated) kind() string { return "lockstep.namespace.updated.v1" }
func (e *namespaceUpdated) fill(d *v1.EventData) string {
	d.Reason, d.Retention = e.description, sayRetention(e.retention)
	return "namespace"
}
func (e *namespaceUpdated) evolve(t *turn) {
	if t.ns.rec.Description = e.description; e.retention != nil {
		retains(t.ns.rec, e.retention)
	}
	t.m.dirtyNamespace(t.ns)
}

type namespaceDeleted struct{ reason string }

func (e *namespaceDeleted) kind() string { return "lockstep.namespace.deleted.v1" }
func (e *namespaceDeleted) fill(d *v1.EventData) string {
	d.Reason = e.reason
	return "namespace"
}
func (e *namespaceDeleted) evolve(t *turn) {
	ns, name := t.ns, t.ns.rec.Namespace
	t.m.forget(t, ns)
	ns.clear()
	ns.rec.State = v1.NamespaceState_NAMESPACE_STATE_DELETED
	ns.rec.Compacted, ns.rec.LiveInstances, ns.rec.Queued = ns.rec.Position, 0, 0
	t.m.indexed(ns)
	retains(ns.rec, nil)
	ns.rec.Observations, ns.rec.Orphans, ns.rec.Plans = 0, 0, nil
	ns.rec.RemovedTo, ns.rec.Exported, ns.rec.Unordered, ns.rec.OrderedTo = ns.rec.Position, ns.rec.Position, false, ""
	t.m.dirty.dropped = append(t.m.dirty.dropped, name)
	t.m.dirtyNamespace(ns)
}

// forget takes a namespace's sessions, waits, deadlines and dirt away.
func (m *Machine) forget(t *turn, ns *namespace) {
	for _, id := range m.sessionsOf(ns) {
		s := m.sessions[id]
		for len(s.waits) > 0 {
			t.answer(s.waits[0], nil, Refuse(v1.Code_CODE_NAMESPACE_DELETING, "namespace %q was deleted", ns.rec.Namespace))
		}
		m.dropSession(s)
	}
	var gone []deadline
	for d := range m.deadlines.all() {
		if d.run != nil && d.run.namespace == ns.rec.Namespace || d.limit != nil && d.limit.ns == ns {
			gone = append(gone, d)
		}
	}
	for _, d := range gone {
		m.deadlines.drop(d)
	}
	m.forgetDates(ns)
	m.forgetTodos(ns)
	m.forgetLoose(ns)
	var next = m.resident.Front()
	for e := next; e != nil; e = next {
		next = e.Next()
		if e.Value.(*instance).ns == ns {
			m.resident.Remove(e)
		}
	}
	d := &m.dirty
	d.workflows = keep(d.workflows, func(w workflowRow) bool { return w.namespace != ns.rec.Namespace })
	d.uses = keep(d.uses, func(u useRow) bool { return u.namespace != ns.rec.Namespace })
	d.instances = keep(d.instances, func(i *instance) bool { return i.ns != ns })
	d.locks = keep(d.locks, func(l *lock) bool { return l.ns != ns })
	d.schedules = keep(d.schedules, func(s *schedule) bool { return s.ns != ns })
	d.bulks = keep(d.bulks, func(b *bulk) bool { return b.ns != ns })
	d.reporters = keep(d.reporters, func(p *reporter) bool { return p.ns != ns })
	d.index = keep(d.index, func(r olderRow) bool { return r.namespace != ns.rec.Namespace })
	d.censuses = keep(d.censuses, func(c *census) bool { return c.ns != ns })
	d.fair = keep(d.fair, func(r fairRow) bool { return r.queue.ns != ns })
	d.limits = keep(d.limits, func(l *limit) bool { return l.ns != ns })
	m.limits = keep(m.limits, func(l *limit) bool { return l.ns != ns })
	m.planned++
	d.late = keep(d.late, func(l lateRow) bool { return l.namespace != ns.rec.Namespace })
}

func keep[T any](list []T, fn func(T) bool) []T {
	kept := list[:0]
	for _, item := range list {
		if fn(item) {
			kept = append(kept, item)
		}
	}
	return kept
}

// RaiseTokens has the tokens of every namespace go on higher by a number, from the next grant: whoever takes up a state
// that may lack the newest grants must not give one of their tokens again. It is not a command: the state must be that
// of the only replica.
func (m *Machine) RaiseTokens(by int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range m.names {
		ns := m.namespaces[name]
		ns.rec.Token += by
		m.dirtyNamespace(ns)
	}
}
