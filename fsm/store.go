package fsm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// format is that of the rows that follow; the first had no number.
const format = 2

// ErrFormat says that a state is another version's, whose rows this one does not read.
var ErrFormat = errors.New("the state has another data format than this version reads")

// Every row's key begins with its table. Rows of a namespace have its name next, so that they can be
// dropped as ranges.
const (
	tableGroup     = 'g' // the group's record
	tableSession   = 's' // id -> Session
	tableNamespace = 'n' // namespace -> Namespace
	tableWorkflow  = 'w' // namespace, workflow, version -> Workflow
	tableInstance  = 'i' // namespace, instance -> Instance
	tablePage      = 'r' // namespace, instance, frame, page -> runs (page.go, runcode.go)
	tablePending   = 'p' // namespace, instance, frame, page -> places of its pending runs
	tablePayload   = 'd' // namespace, instance, run, role -> Payload without a number (payload.go)
	tableLock      = 'l' // namespace, lock -> Lock
	tableBlock     = 'e' // namespace, first position -> events (feed.go)
	tableNumbered  = 'f' // namespace, number -> Payload
	tableHistory   = 'h' // namespace, instance, first position -> positions (history.go)
	tableLate      = 't' // namespace, instance, token -> LateResult
	tableSchedule  = 'c' // namespace, schedule -> Schedule
	tableKey       = 'k' // namespace, key's name and value, instance (key.go)
	tableKept      = 'b' // namespace, key's name and value, place -> Signal (correlate.go)
	tableTold      = 'm' // namespace, key's name and value, signal's id -> SignalTold
	tableUse       = 'v' // namespace, workflow, version -> VersionUse (drain.go)
	tableOver      = 'x' // namespace, uptime, key's name and value, signal's id
	tableLimit     = 'y' // namespace, key of a limit -> when its slots were taken (limitrow.go)
	tableHad       = 'o' // namespace, key's name and value, instance -> how it ended (censusrow.go)
	tableCensus    = 'O' // namespace, key's name and value, step -> Census
	tableIndex     = 'Y' // namespace, by what, its values, state, time, instance (searchrow.go)
	tableEnded     = 'z' // namespace, position, instance -> when it ended (ended.go)
	tableArchive   = 'Z' // namespace, instance, position -> an event that the feed has no more (compact.go)
	tableBulk      = 'B' // namespace, id -> Bulk (bulk.go)
	tableObserved  = 'u' // namespace, instance, step, reporter, key, index -> Observation (observe.go)
	tableDrift     = 'U' // namespace, since when, and the same
	tableOrphan    = 'a' // namespace, until when, and the same
	tableReporter  = 'R' // namespace, reporter -> Reporter (reporter.go)
	tableFair      = 'q' // namespace, queue, key of fairness -> its tag; without a key the queue's time (fairrow.go)
)

// namespaceTables are those whose keys begin with a namespace's name.
var namespaceTables = [...]byte{tableWorkflow, tableInstance, tablePage, tablePending, tablePayload, tableNumbered, tableLock, tableBlock, tableHistory, tableLate, tableSchedule, tableKey, tableKept, tableTold, tableOver, tableUse, tableFair, tableLimit, tableHad, tableCensus, tableIndex, tableEnded, tableArchive, tableBulk, tableObserved, tableDrift, tableOrphan, tableReporter}

// looseTables are those of loose rows (loose.go).
var looseTables = [...]byte{tableKey, tableKept, tableTold, tableOver, tableHad, tableEnded, tableArchive, tableObserved, tableDrift, tableOrphan}

// maxResident is how many instances stay decoded. Which ones never influences a reply.
const maxResident = 16384

// must stops the process: state that cannot be read must not be guessed.
func must(err error) {
	if err != nil {
		panic(fmt.Errorf("fsm: read state: %w", err))
	}
}

// stored is where the rows of a namespace are read. Those of one that was deleted are there until the next flush, and none of
// what was made again under its name.
func (m *Machine) stored(namespace string) table.Reader {
	if slices.Contains(m.dirty.dropped, namespace) {
		return nothing{}
	}
	return m.engine
}

// nothing is a reader that finds nothing.
type nothing struct{}

func (nothing) Get([]byte) (value []byte, found bool, err error)           { return nil, false, nil }
func (nothing) Scan(_, _ []byte, _ func(key, value []byte) bool) error     { return nil }
func (nothing) ScanBack(_, _ []byte, _ func(key, value []byte) bool) error { return nil }

func encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	must(err)
	return b
}

func key(tbl byte, parts ...string) []byte {
	return appendKey(make([]byte, 0, keySize(parts)), tbl, parts)
}

func keySize(parts []string) int {
	size := 1 + 16 // most have an integer or two behind the names
	for _, part := range parts {
		size += len(part) + 2
	}
	return size
}

func appendKey(k []byte, tbl byte, parts []string) []byte {
	k = append(k, tbl)
	for _, part := range parts {
		k = table.AppendString(k, part)
	}
	return k
}

// room makes keys and values in the memory of the batch that they are for.
type room struct{ batch *table.Batch }

func (r *room) take(n int) []byte { return r.batch.Take(n) }

func (r *room) copy(b []byte) []byte { return append(r.take(len(b)), b...) }

func (r *room) encode(m proto.Message) []byte {
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(r.take(proto.Size(m)), m)
	must(err)
	return b
}

func (r *room) key(tbl byte, parts ...string) []byte {
	return appendKey(r.take(keySize(parts)), tbl, parts)
}

func sessionKey(id int64) []byte { return table.AppendUint64([]byte{tableSession}, uint64(id)) }

// row reads one row into m; it says whether there is one.
func row(r table.Reader, key []byte, m proto.Message) (bool, error) {
	value, found, err := r.Get(key)
	if err != nil || !found {
		return false, err
	}
	return true, proto.Unmarshal(value, m)
}

// scanRows decodes every row under a prefix into what make returns.
func scanRows[M proto.Message](r table.Reader, prefix []byte, blank func() M, fn func(key []byte, m M) error) error {
	return scanRange(r, prefix, table.End(prefix), blank, fn)
}

// scanRange is scanRows of the keys from one to another.
func scanRange[M proto.Message](r table.Reader, from, to []byte, blank func() M, fn func(key []byte, m M) error) error {
	var failed error
	err := r.Scan(from, to, func(key, value []byte) bool {
		m := blank()
		if failed = proto.Unmarshal(value, m); failed == nil {
			failed = fn(key, m)
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// load rebuilds what is resident.
func (m *Machine) load() error {
	_, err := row(m.engine, []byte{tableGroup}, m.group)
	if err != nil {
		return err
	}
	if m.group.Format != format {
		return fmt.Errorf("%w: it has %d, and this version %d; start the version that wrote it, or wipe this node and let it join again", ErrFormat, m.group.Format, format)
	}
	m.flushed = m.group.Index
	err = scanRows(m.engine, []byte{tableNamespace}, func() *logv1.Namespace { return &logv1.Namespace{} }, func(_ []byte, rec *logv1.Namespace) error {
		m.addNamespace(rec)
		return nil
	})
	if err != nil {
		return err
	}
	if m.namespaces[DefaultNamespace] == nil {
		// It is never deleted, so without a row nothing was done in it yet. Its row comes with the next flush, whatever
		// else that is for: a group's row without it would be read as a state that has none.
		m.dirtyNamespace(m.addNamespace(&logv1.Namespace{Namespace: DefaultNamespace, State: v1.NamespaceState_NAMESPACE_STATE_ACTIVE}))
	}
	if err := m.dropAhead(); err != nil {
		return err
	}
	for _, name := range m.names {
		if err := m.loadNamespace(m.namespaces[name]); err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
	}
	err = scanRows(m.engine, []byte{tableSession}, func() *logv1.Session { return &logv1.Session{} }, func(_ []byte, rec *logv1.Session) error {
		m.loadSession(rec)
		return nil
	})
	m.settleLimits()
	return err
}

func (m *Machine) loadNamespace(ns *namespace) error {
	name := ns.rec.Namespace
	err := scanRows(m.engine, key(tableWorkflow, name), func() *logv1.Workflow { return &logv1.Workflow{} }, func(_ []byte, rec *logv1.Workflow) error {
		ns.addVersion(rec)
		return nil
	})
	if err != nil {
		return err
	}
	if err := m.loadUses(ns); err != nil {
		return err
	}
	err = scanRows(m.engine, key(tableSchedule, name), func() *logv1.Schedule { return &logv1.Schedule{} }, func(_ []byte, rec *logv1.Schedule) error {
		ns.addSchedule(rec)
		return nil
	})
	if err != nil {
		return err
	}
	if err := errors.Join(m.loadHoldings(ns), m.loadCensuses(ns), m.loadBulks(ns), m.loadReporters(ns)); err != nil {
		return err
	}
	m.overAt(ns, m.nextOver(ns))
	prefix := key(tablePending, name)
	var failed error
	err = m.engine.Scan(prefix, table.End(prefix), func(k, value []byte) bool {
		id, rest, ok := table.CutString(k[len(prefix):])
		_, index, _, sound := cutRowNumber(rest)
		if !ok || !sound {
			failed = fmt.Errorf("pending row has the damaged key %x", k)
		}
		for len(value) > 0 && failed == nil {
			var p place
			var node int32
			if p, node, value, failed = cutPlace(value); failed == nil {
				m.indexRun(ns, &runKey{name, id, at{node, index}}, p)
			}
		}
		return failed == nil
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	if err := m.loadFairness(ns); err != nil {
		return err
	}
	return m.loadLimits(ns)
}

// Dirty estimates the bytes that wait for Flush.
func (m *Machine) Dirty() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.dirtyBytes + m.added
}

// Flushed returns the index up to which the engine has everything.
func (m *Machine) Flushed() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.flushed
}

// Sync returns when everything flushed is durable.
func (m *Machine) Sync() error {
	if plant.Is(plant.SyncNotAwaited) {
		return nil
	}
	return m.engine.Sync()
}

// Flush writes everything dirty, and the applied index, as one batch. When it is called never influences
// a reply or the digest.
func (m *Machine) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flush()
}

func (m *Machine) flush() error {
	if m.flushed == m.group.Index {
		return nil
	}
	b := &m.batch
	b.Reset()
	if plant.Is(plant.IndexApart) {
		b.Put([]byte{tableGroup}, encode(m.group))
		must(m.engine.Write(b))
		b.Reset()
	}
	m.gather(b)
	if err := m.engine.Write(b); err != nil {
		return fmt.Errorf("flush state at entry %d: %w", m.group.Index, err)
	}
	b.Reset()
	m.evict(m.dirty.instances)
	m.dirty, m.dirtyBytes, m.flushed = dirt{}, 0, m.group.Index
	return nil
}

// gather adds every dirty row, behind the ranges that go. Rows are in the order of their keys, which costs little here, and
// much where an engine has to find their order by comparing keys.
func (m *Machine) gather(b *table.Batch) {
	d := &m.dirty
	d.instances = keep(d.instances, func(i *instance) bool { return !i.gone })
	slices.SortFunc(d.instances, func(a, b *instance) int {
		return cmp.Or(strings.Compare(a.ns.rec.Namespace, b.ns.rec.Namespace), strings.Compare(a.rec.InstanceId, b.rec.InstanceId))
	})
	slices.SortFunc(d.locks, func(a, b *lock) int {
		return cmp.Or(strings.Compare(a.ns.rec.Namespace, b.ns.rec.Namespace), strings.Compare(a.rec.Lock, b.rec.Lock))
	})
	for _, name := range d.dropped {
		for _, tbl := range namespaceTables {
			prefix := key(tbl, name)
			b.DeleteRange(prefix, table.End(prefix))
		}
	}
	for _, r := range d.ranges {
		b.DeleteRange(r[0], r[1])
	}
	for _, ns := range d.namespaces {
		if ns.gone = nil; ns.cut {
			m.flushCut(b, ns)
		}
	}
	for _, i := range d.instances {
		m.flushPayloads(b, i)
	}
	m.gatherAdded(b)
	m.flushOlder()
	for _, k := range d.replaced {
		b.Delete(k)
	}
	b.Put([]byte{tableGroup}, encode(m.group))
	for _, i := range d.instances {
		m.flushHistory(b, i)
	}
	for _, i := range d.instances {
		m.flushHead(b, i)
	}
	for _, l := range d.locks {
		m.flushLock(b, l)
	}
	for _, ns := range d.namespaces {
		ns.dirty = false
		b.Put(key(tableNamespace, ns.rec.Namespace), encode(ns.rec))
	}
	for _, i := range d.instances {
		m.flushPending(b, i)
	}
	for _, i := range d.instances {
		m.flushPages(b, i)
	}
	m.gatherOthers(b)
}

func (m *Machine) gatherOthers(b *table.Batch) {
	d := &m.dirty
	slices.Sort(d.sessions)
	for _, id := range d.sessions {
		s := m.sessions[id]
		if s == nil {
			b.Delete(sessionKey(id))
			continue
		}
		s.dirty = false
		if plant.Is(plant.RequestsNotStored) {
			s.rec.Outcomes = nil
		}
		b.Put(sessionKey(id), m.room.encode(s.rec))
	}
	for _, late := range d.late {
		b.Put(table.AppendUint64(key(tableLate, late.namespace, late.rec.InstanceId), uint64(late.rec.Token)), encode(late.rec))
	}
	for _, s := range d.schedules {
		m.flushSchedule(b, s)
	}
	for _, c := range d.censuses {
		m.flushCensus(b, c)
	}
	for _, o := range d.bulks {
		m.flushBulk(b, o)
	}
	for _, p := range d.reporters {
		m.flushReporter(b, p)
	}
	m.flushFairness(b)
	m.flushLimits(b)
	m.flushLoose(b)
	m.flushIndex()
	m.flushUses()
	for _, w := range d.workflows {
		b.Put(table.AppendUint64(key(tableWorkflow, w.namespace, w.rec.Workflow), uint64(w.rec.Version)), encode(w.rec))
	}
}

type workflowRow struct {
	namespace string
	rec       *logv1.Workflow
}

type lateRow struct {
	namespace string
	rec       *logv1.LateResult
}

// evict lets the instances go that have ended, and those that were used the longest ago. All are clean: it follows a
// flush, which wrote those of a list.
func (m *Machine) evict(written []*instance) {
	for _, i := range written {
		if !i.live() {
			m.letGo(i)
		}
	}
	for m.resident.Len() > maxResident {
		m.letGo(m.resident.Back().Value.(*instance))
	}
}

func (m *Machine) letGo(i *instance) {
	m.resident.Remove(i.element)
	delete(i.ns.instances, i.rec.InstanceId)
}

// insertSorted adds s to a sorted slice that does not have it.
func insertSorted(list []string, s string) []string {
	at, found := slices.BinarySearch(list, s)
	if found {
		return list
	}
	return slices.Insert(list, at, s)
}

// page says from where a list goes on: a cursor is the last name of the page before it.
func pageLimit(limit int32) int {
	if limit <= 0 || limit > 1000 {
		return 100
	}
	return int(limit)
}

// view flushes and pins the engine, so that a scan is never behind.
func (m *Machine) view() (table.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.viewed()
}

func (m *Machine) viewed() (table.Snapshot, error) {
	if plant.Is(plant.ScanMissesDirty) {
		return m.engine.Snapshot(), nil
	}
	if err := m.flush(); err != nil {
		return nil, err
	}
	return m.engine.Snapshot(), nil
}
