package cluster

import (
	"sync"

	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/cluster/pending"
)

// ahead is raft's log, of which the leader's own disk need not have an entry yet when it is sent: the leader's write and
// its followers' go on at the same time, which Raft allows as long as the leader's is counted when it is done.
//
// raft counts the leader's copy as soon as StoreLogs returns. So what raft takes for committed may be on one disk too few,
// and two things wait for the leader's own: nothing is applied, and so acknowledged, that is not durable here (await),
// and followers are told of no more as committed (tells, in peers.go); package pending decides both. Only commands that
// this node proposes while it leads are stored this way; a vote, a configuration, a follower's entries and the first entry
// of a term are durable when the call returns, and with them whatever was before.
//
// An entry that is lost with the leader's memory was never counted: it is as if it had not been sent to this node. That
// this term had another entry at its place is impossible, for a node that starts again leads in a later term only.
type ahead struct {
	raft.LogStore
	seal  func(*raft.Log) error // gives an entry its checksum, before followers get it; nil: nothing is stored ahead
	leads func() bool           // as raft has it, in its own goroutine

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	pending *pending.Log[*raft.Log]
	ended   bool
}

func newAhead(store raft.LogStore, seal func(*raft.Log) error, leads func() bool) *ahead {
	a := &ahead{LogStore: store, seal: seal, leads: leads, pending: pending.New(sizeOf)}
	a.changed.L = &a.mu
	return a
}

// run writes what is pending until end. It ends when all is written.
func (a *ahead) run() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		logs := a.pending.Next()
		switch {
		case len(logs) == 0 && a.ended:
			return
		case len(logs) == 0:
			a.changed.Wait()
			continue
		}
		a.mu.Unlock()
		err := a.LogStore.StoreLogs(logs)
		a.mu.Lock()
		if err != nil {
			return // the store has ended the process: what is pending stays so
		}
		a.pending.Synced(len(logs))
		a.changed.Broadcast()
	}
}

func (a *ahead) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	a.changed.Broadcast()
}

// tells returns how much of what raft takes for committed followers may be told of.
func (a *ahead) tells(commit uint64) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pending.Tells(commit)
}

// await returns when an entry, and all before it, are on this node's disk. It does not if that fails: nobody must be
// answered then, and the process ends.
func (a *ahead) await(index uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.pending.Applies(index) {
		a.changed.Wait()
	}
}

// settle waits for all that is pending now.
func (a *ahead) settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, last, found := a.pending.Bounds()
	for found && a.pending.Durable() < last {
		a.changed.Wait()
	}
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
	for a.pending.Full() {
		a.changed.Wait()
	}
	for _, log := range logs {
		kept := *log // raft's own keeps the answer with it
		a.pending.Add(log.Index, &kept)
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
	kept, found := a.pending.Get(index)
	a.mu.Unlock()
	if !found {
		return a.LogStore.GetLog(index, log)
	}
	*log = *kept
	return nil
}

// FirstIndex implements raft.LogStore.
func (a *ahead) FirstIndex() (uint64, error) {
	first, err := a.LogStore.FirstIndex()
	a.mu.Lock()
	defer a.mu.Unlock()
	if oldest, _, found := a.pending.Bounds(); err == nil && first == 0 && found {
		first = oldest
	}
	return first, err
}

// LastIndex implements raft.LogStore.
func (a *ahead) LastIndex() (uint64, error) {
	a.mu.Lock()
	_, last, found := a.pending.Bounds()
	a.mu.Unlock()
	if found {
		return last, nil
	}
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
