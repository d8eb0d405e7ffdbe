package fsm

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/google/btree"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// DefaultNamespace is there from the beginning.
const DefaultNamespace = "default"

// Machine is one group's state machine. Apply is called from one goroutine; everything else is safe from
// any, and waits for an Apply that runs. It starts no goroutine.
type Machine struct {
	// mu guards all that follows but the engine: Apply and Flush hold it for writing, reads for reading.
	mu     sync.RWMutex
	engine table.Engine
	begins uint32 // the level of a new cluster

	workMost               int // see work.go
	removeMost, removeRows int // see retention.go
	bulkMost, bulkLooked   int // see bulkslice.go

	group      *logv1.Group
	flushed    uint64
	namespaces map[string]*namespace
	names      []string // of namespaces, sorted
	sessions   map[int64]*session
	waits      map[uint64]*wait
	named      map[runKey][]*wait // LeaseStep's waits by the run they want, oldest first
	deadlines  *timetable
	dates      *btree.BTreeG[date]
	todos      *btree.BTreeG[todo]

	resident   *list.List // instances, the newest used first
	loose      *btree.BTreeG[looseRow]
	dirty      dirt
	dirtyBytes int // estimated; of what waits for the flush
	added      int // bytes of what is only ever added (spill.go)
	spare      spare
	room       room
	batch      table.Batch // of the flush, and the memory in which it encodes
	scratch    []byte
	sum        [sha256.Size]byte
	fact       fact     // memory of the event that is being encoded
	events     []byte   // and of the entry's, which is being applied
	kinds      []string // and of their types
	unsettled  struct { // whose runs the change at hand has moved (fairness.go)
		queue *queue
		lane  *lane
	}
	limits  []*limit                 // that something was done to, to be looked at when the command has decided
	toIndex int                      // namespaces of which not all is in the index (searchbuild.go)
	planned uint64                   // counts changes of schedules, from 1
	claims  *btree.FreeListG[*claim] // nodes of locks' claims, shared: most locks have one at a time
}

// dirt is what Flush must write, in the order in which it became dirty.
type dirt struct {
	namespaces []*namespace
	workflows  []workflowRow
	uses       []useRow
	instances  []*instance
	locks      []*lock
	schedules  []*schedule
	bulks      []*bulk
	reporters  []*reporter
	censuses   []*census
	sessions   []int64
	late       []lateRow
	fair       []fairRow
	limits     []*limit
	index      []olderRow
	replaced   [][]byte // keys of payloads, and of removed instances, that go
	ranges     [][2][]byte
	dropped    []string // namespaces whose rows go
}

// Result is what an entry did.
type Result struct {
	// Skipped: the entry was applied before a restart.
	Skipped bool
	// One for each command and renewal, in order.
	Outcomes []Outcome
	Renewals []RenewalOutcome
	// Waits that this entry answered.
	Settled []Settlement
	// Namespaces with new events, in order of their first.
	Changed []string
	// The types of the entry's events, in order.
	Kinds []string
	// How late the timers were that fired, in nanoseconds.
	Lags []int64
	// How late the times of schedules were that were decided, in nanoseconds.
	FiringLags []int64
	// What was begun by itself inside instances, in units of work: see work.go.
	Work int

	events []byte // encoded
}

// Events decodes the entry's events, in order, until the next entry is applied.
func (r Result) Events() (events []*v1.Event) {
	for rest := r.events; len(rest) > 0; {
		event, _, next, err := cutEvent(rest)
		must(err)
		e, err := decodeEvent(event)
		must(err)
		events, rest = append(events, e), next
	}
	return events
}

// Outcome answers a command: a reply, a refusal, or the promise of a Settlement.
type Outcome struct {
	Reply   proto.Message
	Refusal *v1.Refusal
	// Parked: the answer comes as a Settlement with the command's wait id.
	Parked bool
}

// RenewalOutcome answers a renewal.
type RenewalOutcome struct {
	Reply   *v1.KeepAliveResponse
	Refusal *v1.Refusal
}

// Settlement answers a wait.
type Settlement struct {
	WaitID  uint64
	Reply   proto.Message
	Refusal *v1.Refusal
	// More: the wait goes on; it is the credit of a stream.
	More bool
}

// Open reads the engine's rows and rebuilds what is resident from the small tables of pending things.
func Open(engine table.Engine) (*Machine, error) { return OpenAt(engine, Level) }

// OpenAt is Open, and a new cluster begins at a level, which is an older one in tests alone.
func OpenAt(engine table.Engine, begins uint32) (*Machine, error) {
	m := &Machine{
		engine:     engine,
		begins:     begins,
		workMost:   workMost,
		removeMost: RemoveMost,
		removeRows: removeRows,
		bulkMost:   BulkMost,
		bulkLooked: bulkLooked,
		group:      &logv1.Group{Format: format},
		planned:    1,
		namespaces: map[string]*namespace{},
		sessions:   map[int64]*session{},
		waits:      map[uint64]*wait{},
		named:      map[runKey][]*wait{},
		deadlines:  newTimetable(),
		dates:      newDates(),
		todos:      newTodos(),
		resident:   list.New(),
		loose:      newLoose(),
		claims:     btree.NewFreeListG[*claim](32),
	}
	m.room.batch = &m.batch
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return m, nil
}

// Close closes the engine. What was not flushed is in the raft log.
func (m *Machine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.engine.Close()
}

// Applied returns the newest applied entry.
func (m *Machine) Applied() (index, term uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.group.Index, m.group.Term
}

// Apply applies the raft entry at index, of the given term, unless it was applied before. When it panics the machine
// stays locked: what is half applied is neither read nor flushed in what is left of the process's life.
func (m *Machine) Apply(index, term uint64, entry *logv1.Entry) Result {
	m.mu.Lock()
	result := m.apply(index, term, entry)
	m.mu.Unlock()
	return result
}

func (m *Machine) apply(index, term uint64, entry *logv1.Entry) Result {
	if index <= m.group.Index {
		return Result{Skipped: true}
	}
	header := entry.GetHeader()
	if header.GetLevel() > Level {
		panic(fmt.Sprintf("fsm: entry %d has level %d, this binary knows %d", index, header.GetLevel(), Level))
	}
	if m.group.Level == 0 { // the log begins
		m.group.Level = cmp.Or(header.GetLevel(), m.begins)
	}
	t := &turn{m: m, index: index, term: term, checkpoint: m.checkpoints(index), events: m.events[:0]}
	t.result.Kinds = m.kinds[:0]
	if t.checkpoint {
		t.slice = m.slice()
	}
	t.flushOrder(entry)
	t.flushBulk(entry)
	m.buildIndex()
	if n := len(entry.Commands); n > 0 {
		t.result.Outcomes = make([]Outcome, 0, n)
	}
	m.advance(term, header)
	for _, renewal := range entry.Renewals {
		t.result.Renewals = append(t.result.Renewals, t.renew(renewal))
	}
	for i, command := range entry.Commands {
		t.ordinal = i + 1
		t.result.Outcomes = append(t.result.Outcomes, t.run(command))
	}
	t.ordinal, t.cmd, t.env, t.cause = 0, nil, nil, ""
	t.tick(header)
	t.later()
	t.result.Work = t.worked()
	m.rested()
	m.group.Index, m.group.Term = index, term
	m.seal(t)
	return m.keep(t)
}

// keep returns what an entry did, and keeps the memory of its events and their types for the next one. The types are copied, in the
// size that they take: most entries have few events or none.
func (m *Machine) keep(t *turn) Result {
	m.events, m.kinds = t.events, t.result.Kinds
	if cap(m.events) > pageBytes {
		m.events = nil
	}
	t.result.events = t.events
	t.result.Kinds = append([]string(nil), t.result.Kinds...)
	return t.result
}
