package cluster

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/table"
	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// machine is what raft drives: it decodes entries, applies them, and tells what they did. raft calls Apply, Snapshot
// and Restore from one goroutine.
type machine struct {
	engine     string
	dir        *table.Dir // nil when the state is in memory
	crash      crash
	flushBytes int
	applied    func(fsm.Result, time.Duration) // must not block
	restored   func()
	begins     uint32 // the cluster level of a new state
	fatal      func(error)
	stall      time.Duration
	leads      func() bool
	await      func(index uint64) // until an entry is on this node's disk; nil: each is before it is applied

	// swap guards current: a restore puts another machine in its place.
	swap    sync.RWMutex
	current *fsm.Machine

	// restores counts the states that came in place of another; one that is written out meanwhile is given up, for
	// raft would take it for the newest.
	restores atomic.Int64

	mu    sync.Mutex // guards what follows
	since time.Time  // when the running apply began; zero while none runs
}

// open opens the state of a group. In memory it is empty: raft has it restored from the newest snapshot, and applies the
// log behind that, which is never cut before the snapshot is durable and whole.
func (m *machine) open(dir string) (err error) {
	engine := table.NewMemory()
	if dir != "" {
		if err := m.crash.open(filepath.Join(dir, "CRASHED")); err != nil {
			return err
		}
	}
	if dir != "" && m.engine != EngineMemory {
		m.dir, err = table.OpenDir(filepath.Join(dir, "state"), table.Options{Fatal: m.fatal, Apart: fsm.Appended()})
		if err != nil {
			return err
		}
		engine = m.dir.Engine()
	}
	m.current, err = fsm.OpenAt(engine, m.begins)
	return err
}

// view runs fn on the machine; a restore waits for it.
func (m *machine) view(fn func(*fsm.Machine) error) error {
	m.swap.RLock()
	defer m.swap.RUnlock()
	return fn(m.current)
}

// Apply implements raft.FSM. The result is nil for what is not ours to apply.
func (m *machine) Apply(log *raft.Log) any {
	if log.Type != raft.LogCommand {
		return nil
	}
	m.begin()
	defer m.end()
	defer m.crash.mark(log.Index)
	entry := &logv1.Entry{}
	if err := proto.Unmarshal(log.Data, entry); err != nil {
		panic(fmt.Sprintf("entry %d cannot be decoded: %v", log.Index, err))
	}
	began := time.Now()
	result := m.current.Apply(log.Index, log.Term, entry)
	m.crash.passed(log.Index)
	m.applied(result, time.Since(began))
	if err := m.current.Relieve(m.flushBytes); err != nil {
		m.fatal(err)
	}
	return &result
}

// ApplyBatch implements raft.BatchingFSM. It is told of configurations too, so that raft can take a snapshot right
// behind one.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	if m.await != nil {
		m.await(logs[len(logs)-1].Index)
	}
	out := make([]any, len(logs))
	for i, log := range logs {
		out[i] = m.Apply(log)
	}
	return out
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

// pardon leaves a span out of what apply has lasted.
func (m *machine) pardon(span time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.since.IsZero() {
		m.since = m.since.Add(span)
	}
}

func (m *machine) flush() {
	if err := m.view((*fsm.Machine).Flush); err != nil {
		m.fatal(err)
	}
}

func (m *machine) close() error {
	m.swap.Lock()
	defer m.swap.Unlock()
	return m.current.Close()
}

// errOld says that a snapshot is older than the state.
var errOld = errors.New("the snapshot is older than the state")

// Restore implements raft.FSM: the new state is built aside and put in place at once, and reads go on meanwhile. A
// snapshot that came late, and is behind what was applied, changes nothing: entries were acknowledged on the strength
// of this state.
func (m *machine) Restore(stream io.ReadCloser) error {
	defer stream.Close()
	taken := false
	defer func() {
		if taken {
			m.swap.Unlock()
		}
	}()
	err := m.rebuild(func(into table.Engine) error {
		index, err := fsm.ReadSnapshot(stream, into)
		if err != nil {
			return err
		}
		if applied, _ := m.current.Applied(); index < applied {
			return errOld
		}
		// From here on nobody may use the old state: its engine is closed next.
		m.restores.Add(1)
		m.swap.Lock()
		taken = true
		return nil
	})
	if err != nil && !errors.Is(err, errOld) {
		err = fmt.Errorf("restore snapshot: %w", err)
		m.fatal(err)
		return err
	}
	if err == nil {
		m.restored()
	}
	return nil
}

func (m *machine) rebuild(build func(table.Engine) error) (err error) {
	var engine table.Engine
	if m.dir == nil {
		engine = table.NewMemory()
		err = build(engine)
	} else if plant.Is(plant.RestoreOverLive) {
		engine = m.dir.Engine()
		err = build(engine)
	} else {
		engine, err = m.dir.Replace(build)
	}
	if err != nil {
		return err
	}
	next, err := fsm.Open(engine)
	if err == nil {
		m.current = next
	}
	return err
}
