package cluster

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
)

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.writing.mu.Lock()
	snapshot, err := m.current.Snapshot()
	if err != nil {
		m.writing.mu.Unlock()
		m.fatal(err)
		return nil, err
	}
	return &persister{writing: &m.writing, machine: m.current, snapshot: snapshot}, nil
}

// writing is the one snapshot that is being written out, which keeps its engine open.
type writing struct {
	mu          sync.Mutex // held from Snapshot to Release
	interrupted atomic.Bool
}

// interrupt ends the writing that goes on and keeps another from beginning, until resume.
func (w *writing) interrupt() {
	w.interrupted.Store(true)
	w.mu.Lock()
}

func (w *writing) resume() {
	w.interrupted.Store(false)
	w.mu.Unlock()
}

// errInterrupted says that a snapshot was given up: its state is replaced, or the node closes.
var errInterrupted = errors.New("the snapshot was given up")

// persister writes a pinned state out while entries go on being applied.
type persister struct {
	writing  *writing
	machine  *fsm.Machine
	snapshot *fsm.Snapshot
	sink     raft.SnapshotSink
}

// Write is how the snapshot's stream reaches the sink, as long as it is wanted.
func (p *persister) Write(b []byte) (int, error) {
	if p.writing.interrupted.Load() {
		return 0, errInterrupted
	}
	return p.sink.Write(b)
}

// Persist makes the store itself durable first: raft cuts the log behind a snapshot, and what the store has only in
// memory would be gone with it.
func (p *persister) Persist(sink raft.SnapshotSink) error {
	p.sink = sink
	err := p.machine.Sync()
	if err == nil {
		_, err = p.snapshot.WriteTo(p)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (p *persister) Release() {
	_ = p.snapshot.Close() // a pin that fails to close only holds disk space
	p.writing.mu.Unlock()
}
