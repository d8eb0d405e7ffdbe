package cluster

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
)

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	snapshot, err := m.current.Snapshot()
	if err != nil {
		m.fatal(err)
		return nil, err
	}
	return &persister{of: m, number: m.restores.Load(), machine: m.current, snapshot: snapshot}, nil
}

// errInterrupted says that a snapshot was given up: another state came in place of its own, or the node closes.
var errInterrupted = errors.New("the snapshot was given up")

// persister writes a pinned state out while entries go on being applied.
type persister struct {
	of       *machine
	number   int64 // of restores, when the state was pinned
	machine  *fsm.Machine
	snapshot *fsm.Snapshot
	sink     raft.SnapshotSink
}

func (p *persister) wanted() error {
	if p.of.restores.Load() != p.number {
		return errInterrupted
	}
	return nil
}

// Write is how the snapshot's stream reaches the sink, as long as it is wanted.
func (p *persister) Write(b []byte) (int, error) {
	if err := p.wanted(); err != nil {
		return 0, err
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
	if err == nil {
		err = p.wanted()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (p *persister) Release() { _ = p.snapshot.Close() } // a pin that fails to close only holds disk space
