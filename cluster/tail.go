package cluster

import (
	"errors"
	"sort"
	"sync"

	"github.com/hashicorp/raft"
)

// tail is raft's log with its newest entries in memory, bounded by bytes, and a measure of how many bytes lie behind
// any entry: raft counts entries, and ours are between nothing and a megabyte.
type tail struct {
	raft.LogStore
	limit int64 // of what is in memory

	mu    sync.Mutex  // guards what follows
	logs  []*raft.Log // consecutive, oldest first
	bytes int64       // of logs
	total int64       // ever measured
	marks []mark      // ascending
}

// mark says how much had been measured when an entry was in.
type mark struct {
	index uint64
	total int64
}

const (
	perEntry  = 64       // what an entry costs beside its data
	markEvery = 64 << 10 // bytes between marks
	samples   = 64       // entries that are measured at open
)

func sizeOf(log *raft.Log) int64 { return int64(len(log.Data)) + perEntry }

// newTail measures a log by samples.
func newTail(store raft.LogStore, limit int64) (*tail, error) {
	t := &tail{LogStore: store, limit: limit}
	first, err := store.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := store.LastIndex()
	if err != nil || last == 0 {
		return t, err
	}
	step := max(1, (last-first+1)/samples)
	for index := first; index <= last; index += step {
		var log raft.Log
		err := store.GetLog(index, &log)
		if errors.Is(err, raft.ErrLogNotFound) { // behind a snapshot that was installed, the log has a gap
			continue
		}
		if err != nil {
			return nil, err
		}
		t.total += sizeOf(&log) * int64(step)
		t.marks = append(t.marks, mark{index, t.total})
	}
	return t, nil
}

// GetLog implements raft.LogStore.
func (t *tail) GetLog(index uint64, log *raft.Log) error {
	t.mu.Lock()
	if n := len(t.logs); n > 0 && index >= t.logs[0].Index && index <= t.logs[n-1].Index {
		*log = *t.logs[index-t.logs[0].Index]
		t.mu.Unlock()
		return nil
	}
	t.mu.Unlock()
	return t.LogStore.GetLog(index, log)
}

// StoreLog implements raft.LogStore.
func (t *tail) StoreLog(log *raft.Log) error { return t.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (t *tail) StoreLogs(logs []*raft.Log) error {
	if err := t.LogStore.StoreLogs(logs); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, log := range logs {
		if n := len(t.logs); n > 0 && t.logs[n-1].Index+1 != log.Index {
			t.logs, t.bytes = nil, 0
		}
		// A copy: raft's own is part of the future that it answers, and would keep the answer, and every event of it, with it.
		kept := *log
		t.logs = append(t.logs, &kept)
		t.bytes += sizeOf(log)
		t.total += sizeOf(log)
		if n := len(t.marks); n == 0 || t.total-t.marks[n-1].total >= markEvery {
			t.marks = append(t.marks, mark{log.Index, t.total})
		}
	}
	n := 0
	for t.bytes > t.limit && n < len(t.logs)-1 {
		t.bytes -= sizeOf(t.logs[n])
		n++
	}
	clear(t.logs[:n]) // what is before a slice is kept with it
	t.logs = t.logs[n:]
	return nil
}

// DeleteRange implements raft.LogStore.
func (t *tail) DeleteRange(first, last uint64) error {
	t.drop(first, last)
	return t.LogStore.DeleteRange(first, last)
}

func (t *tail) drop(first, last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.logs); n > 0 && first <= t.logs[n-1].Index && last >= t.logs[0].Index {
		t.logs, t.bytes = nil, 0
	}
	n := 0
	for _, m := range t.marks {
		if m.index < first || m.index > last {
			t.marks[n] = m
			n++
		}
	}
	t.marks = t.marks[:n]
}

// IsMonotonic implements raft.MonotonicLogStore.
func (t *tail) IsMonotonic() bool {
	m, ok := t.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// behind returns about how many bytes of log follow an entry.
func (t *tail) behind(index uint64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].index > index })
	switch {
	case len(t.marks) == 0:
		return 0
	case i == 0:
		return t.total - t.marks[0].total + markEvery
	}
	return t.total - t.marks[i-1].total
}

// keeping returns the oldest entry that is among about the newest so many bytes; zero when all are.
func (t *tail) keeping(bytes int64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := sort.Search(len(t.marks), func(i int) bool { return t.total-t.marks[i].total <= bytes })
	if i == 0 || i == len(t.marks) {
		return 0
	}
	return t.marks[i].index
}
