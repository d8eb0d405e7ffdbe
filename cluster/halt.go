package cluster

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// halt is raft's stores, which give no answer any more once the node has failed: between the failure and the end of
// the process raft must not acknowledge an entry, vote, or panic on an error that was told already.
type halt struct {
	raftLog
	live   *atomic.Bool // raft runs: before, whoever opens the group wants the error
	failed <-chan struct{}
}

func halted[T any](h halt, value T, err error) (T, error) {
	select {
	case <-h.failed:
		if h.live.Load() {
			select {}
		}
	default:
	}
	return value, err
}

func (h halt) only(err error) error {
	_, err = halted(h, struct{}{}, err)
	return err
}

// GetLog implements raft.LogStore.
func (h halt) GetLog(index uint64, log *raft.Log) error { return h.only(h.raftLog.GetLog(index, log)) }

// StoreLog implements raft.LogStore.
func (h halt) StoreLog(log *raft.Log) error { return h.only(h.raftLog.StoreLog(log)) }

// StoreLogs implements raft.LogStore.
func (h halt) StoreLogs(logs []*raft.Log) error { return h.only(h.raftLog.StoreLogs(logs)) }

// DeleteRange implements raft.LogStore.
func (h halt) DeleteRange(first, last uint64) error {
	return h.only(h.raftLog.DeleteRange(first, last))
}

// Set implements raft.StableStore.
func (h halt) Set(key, value []byte) error { return h.only(h.raftLog.Set(key, value)) }

// SetUint64 implements raft.StableStore.
func (h halt) SetUint64(key []byte, value uint64) error {
	return h.only(h.raftLog.SetUint64(key, value))
}

// Get implements raft.StableStore.
func (h halt) Get(key []byte) ([]byte, error) {
	value, err := h.raftLog.Get(key)
	return halted(h, value, err)
}

// GetUint64 implements raft.StableStore.
func (h halt) GetUint64(key []byte) (uint64, error) {
	value, err := h.raftLog.GetUint64(key)
	return halted(h, value, err)
}

// IsMonotonic implements raft.MonotonicLogStore.
func (h halt) IsMonotonic() bool {
	store, ok := h.raftLog.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}
