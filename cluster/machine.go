package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// machine is what raft drives: it decodes entries, applies them, and tells what they did. raft calls Apply, Snapshot
// and Restore from one goroutine.
type machine struct {
	dir        *table.Dir // nil when the state is in memory
	crashFile  string
	flushBytes int
	applied    func(fsm.Result) // must not block
	fatal      func(error)
	stall      time.Duration
	leads      func() bool

	// swap guards current: a restore puts another machine in its place.
	swap    sync.RWMutex
	current *fsm.Machine

	mu    sync.Mutex // guards what follows
	since time.Time  // when the running apply began; zero while none runs
}

// openMachine opens the state of a group, in memory when dir is empty.
func openMachine(dir string, m *machine) error {
	engine := table.NewMemory()
	if dir != "" {
		m.crashFile = filepath.Join(dir, "CRASHED")
		if poisoned, err := os.ReadFile(m.crashFile); err == nil {
			return fmt.Errorf("this node stopped in applying an entry, and would again: %s; keep %s for a report, and run a binary that can apply it", poisoned, m.crashFile)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		d, err := table.OpenDir(filepath.Join(dir, "state"), table.Options{Fatal: m.fatal})
		if err != nil {
			return err
		}
		m.dir, engine = d, d.Engine()
	}
	var err error
	m.current, err = fsm.Open(engine)
	return err
}

// view runs fn on the machine; a restore waits for it.
func (m *machine) view(fn func(*fsm.Machine) error) error {
	m.swap.RLock()
	defer m.swap.RUnlock()
	return fn(m.current)
}

// Apply implements raft.FSM. The result is nil for an entry that was applied before a restart.
func (m *machine) Apply(log *raft.Log) any {
	if log.Type != raft.LogCommand {
		return nil
	}
	m.begin()
	defer m.end()
	defer m.mark(log.Index)
	entry := &logv1.Entry{}
	if err := proto.Unmarshal(log.Data, entry); err != nil {
		panic(fmt.Sprintf("entry %d cannot be decoded: %v", log.Index, err))
	}
	result := m.current.Apply(log.Index, log.Term, entry)
	m.applied(result)
	if m.current.Dirty() >= m.flushBytes {
		m.flush()
	}
	return &result
}

// ApplyBatch implements raft.BatchingFSM. It is told of configurations too, so that raft can take a snapshot right
// behind one.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, log := range logs {
		out[i] = m.Apply(log)
	}
	return out
}

// mark leaves the index of a poisoned entry for the next start, and lets the panic go on: what diverged, or cannot be
// applied, must not be served.
func (m *machine) mark(index uint64) {
	r := recover()
	if r == nil {
		return
	}
	if m.crashFile != "" {
		_ = writeFile(m.crashFile, fmt.Appendf(nil, "entry %d: %v", index, r)) // the panic below tells it as well
	}
	panic(r)
}

func (m *machine) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since = time.Now()
}

func (m *machine) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since = time.Time{}
}

// watch stops a leader whose apply stalls: raft would keep it leading.
func (m *machine) watch(now time.Time) {
	m.mu.Lock()
	since := m.since
	m.mu.Unlock()
	if !since.IsZero() && now.Sub(since) >= m.stall && m.leads() {
		m.fatal(fmt.Errorf("an entry was not applied within %s while this node led", now.Sub(since).Round(100*time.Millisecond)))
	}
}

func (m *machine) flush() {
	if err := m.view((*fsm.Machine).Flush); err != nil {
		m.fatal(err)
	}
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	snapshot, err := m.current.Snapshot()
	if err != nil {
		m.fatal(err)
		return nil, err
	}
	return &persister{machine: m.current, snapshot: snapshot}, nil
}

// persister writes a pinned state out while entries go on being applied.
type persister struct {
	machine  *fsm.Machine
	snapshot *fsm.Snapshot
}

// Persist makes the store itself durable first: raft cuts the log behind a snapshot, and what the store has only in
// memory would be gone with it.
func (p *persister) Persist(sink raft.SnapshotSink) error {
	err := p.machine.Sync()
	if err == nil {
		_, err = p.snapshot.WriteTo(sink)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (p *persister) Release() { _ = p.snapshot.Close() } // a pin that fails to close only holds disk space

// errOld says that a snapshot is older than the state.
var errOld = errors.New("the snapshot is older than the state")

// Restore implements raft.FSM: the new state is built aside and put in place at once. A snapshot that came late, and
// is behind what was applied, changes nothing: entries were acknowledged on the strength of this state.
func (m *machine) Restore(stream io.ReadCloser) error {
	defer stream.Close()
	m.swap.Lock()
	defer m.swap.Unlock()
	next, err := m.rebuild(stream)
	if errors.Is(err, errOld) {
		return nil
	}
	if err != nil {
		err = fmt.Errorf("restore snapshot: %w", err)
		m.fatal(err)
		return err
	}
	m.current = next
	return nil
}

func (m *machine) rebuild(stream io.Reader) (*fsm.Machine, error) {
	applied, _ := m.current.Applied()
	build := func(into table.Engine) error {
		index, err := fsm.ReadSnapshot(stream, into)
		if err == nil && index < applied {
			err = errOld
		}
		return err
	}
	var engine table.Engine
	var err error
	if m.dir == nil {
		engine = table.NewMemory()
		err = build(engine)
	} else {
		engine, err = m.dir.Replace(build)
	}
	if err != nil {
		return nil, err
	}
	return fsm.Open(engine)
}

func (m *machine) close() error {
	m.swap.Lock()
	defer m.swap.Unlock()
	return m.current.Close()
}
