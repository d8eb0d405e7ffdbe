package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// ahead is raft's log, of which the leader's own disk need not have an entry yet when it is sent: the leader's write and
// its followers' go on at the same time, which Raft allows as long as the leader's is counted when it is done.
//
// raft counts the leader's copy as soon as StoreLogs returns. So what raft takes for committed may be on one disk too few,
// and two things wait for the leader's own: nothing is applied, and so acknowledged, that is not durable here (await),
// and followers are told of no more as committed (durable, in peers.go). Only commands that this node proposes while it
// leads are stored this way; a vote, a configuration, a follower's entries and the first entry of a term are durable when
// the call returns, and with them whatever was before.
//
// An entry that is lost with the leader's memory was never counted: it is as if it had not been sent to this node. That
// this term had another entry at its place is impossible, for a node that starts again leads in a later term only.
type ahead struct {
	raft.LogStore
	seal  func(*raft.Log) error // gives an entry its checksum, before followers get it; nil: nothing is stored ahead
	leads func() bool           // as raft has it, in its own goroutine

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	pending []*raft.Log // not durable yet, consecutive
	bytes   int64       // of pending
	ended   bool
}

// maxPending bounds what the leader's disk may be behind: beyond it, raft waits.
const maxPending = 16 << 20

func newAhead(store raft.LogStore, seal func(*raft.Log) error, leads func() bool) *ahead {
	a := &ahead{LogStore: store, seal: seal, leads: leads}
	a.changed.L = &a.mu
	return a
}

// run writes what is pending until end. It ends when all is written.
func (a *ahead) run() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		for len(a.pending) == 0 && !a.ended {
			a.changed.Wait()
		}
		if len(a.pending) == 0 {
			return
		}
		logs := a.pending[:len(a.pending):len(a.pending)]
		a.mu.Unlock()
		err := a.LogStore.StoreLogs(logs)
		a.mu.Lock()
		if err != nil {
			return // the store has ended the process: what is pending stays so
		}
		a.pending = a.pending[len(logs):]
		for _, log := range logs {
			a.bytes -= sizeOf(log)
		}
		a.changed.Broadcast()
	}
}

func (a *ahead) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	a.changed.Broadcast()
}

// durable returns the newest entry up to which everything that was stored is on this node's disk.
func (a *ahead) durable() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.behind()
}

func (a *ahead) behind() uint64 {
	if len(a.pending) == 0 {
		return 1<<64 - 1
	}
	return a.pending[0].Index - 1
}

// await returns when an entry, and all before it, are on this node's disk. It does not if that fails: nobody must be
// answered then, and the process ends.
func (a *ahead) await(index uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.behind() < index {
		a.changed.Wait()
	}
}

// settle waits for all that is pending now.
func (a *ahead) settle() {
	a.mu.Lock()
	var last uint64
	if n := len(a.pending); n > 0 {
		last = a.pending[n-1].Index
	}
	for len(a.pending) > 0 && a.pending[0].Index <= last {
		a.changed.Wait()
	}
	a.mu.Unlock()
}

// StoreLog implements raft.LogStore.
func (a *ahead) StoreLog(log *raft.Log) error { return a.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (a *ahead) StoreLogs(logs []*raft.Log) error {
	if !a.mine(logs) {
		a.settle()
		return a.LogStore.StoreLogs(logs)
	}
	for _, log := range logs {
		if err := a.seal(log); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.bytes > maxPending {
		a.changed.Wait()
	}
	for _, log := range logs {
		kept := *log // raft's own keeps the answer with it
		a.pending = append(a.pending, &kept)
		a.bytes += sizeOf(log)
	}
	a.changed.Broadcast()
	return nil
}

// mine says whether entries are commands that this node, leading, has just made: others come with their checksum.
func (a *ahead) mine(logs []*raft.Log) bool {
	if a.seal == nil || !a.leads() {
		return false
	}
	for _, log := range logs {
		if log.Type != raft.LogCommand || len(log.Extensions) > 0 {
			return false
		}
	}
	return true
}

// GetLog implements raft.LogStore. A node that does not lead any more has what is pending on its disk before raft sees
// it: raft tells the next leader that it has an entry when it finds it here.
func (a *ahead) GetLog(index uint64, log *raft.Log) error {
	if a.seal != nil && !a.leads() {
		a.settle()
	}
	a.mu.Lock()
	if n := len(a.pending); n > 0 && index >= a.pending[0].Index && index <= a.pending[n-1].Index {
		*log = *a.pending[index-a.pending[0].Index]
		a.mu.Unlock()
		return nil
	}
	a.mu.Unlock()
	return a.LogStore.GetLog(index, log)
}

// FirstIndex implements raft.LogStore.
func (a *ahead) FirstIndex() (uint64, error) {
	first, err := a.LogStore.FirstIndex()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && first == 0 && len(a.pending) > 0 {
		first = a.pending[0].Index
	}
	return first, err
}

// LastIndex implements raft.LogStore.
func (a *ahead) LastIndex() (uint64, error) {
	a.mu.Lock()
	if n := len(a.pending); n > 0 {
		defer a.mu.Unlock()
		return a.pending[n-1].Index, nil
	}
	a.mu.Unlock()
	return a.LogStore.LastIndex()
}

// DeleteRange implements raft.LogStore.
func (a *ahead) DeleteRange(first, last uint64) error {
	a.settle()
	return a.LogStore.DeleteRange(first, last)
}

// IsMonotonic implements raft.MonotonicLogStore.
func (a *ahead) IsMonotonic() bool {
	m, ok := a.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}
