package logstore

import (
	"sync"

	"github.com/hashicorp/raft"
)

// NewCache keeps the newest entries of a log in memory, up to a number of bytes. raft's own cache counts entries, which
// are packed here and can be a megabyte each, and forgets all of them at each compaction. Its entries have the checksums
// that the store under it has given them.
func NewCache(store raft.LogStore, maxBytes int64) raft.LogStore {
	return &cache{LogStore: store, maxBytes: maxBytes}
}

// entryOverhead is about what an entry takes beside its data.
const entryOverhead = 160

type cache struct {
	raft.LogStore
	maxBytes int64

	mu    sync.RWMutex // guards what follows
	logs  []raft.Log   // without a gap; the oldest is first
	bytes int64
}

// IsMonotonic implements raft.MonotonicLogStore as the store does.
func (c *cache) IsMonotonic() bool {
	store, ok := c.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

// GetLog implements raft.LogStore. The data of an entry is shared, and must not be changed.
func (c *cache) GetLog(index uint64, log *raft.Log) error {
	if c.cached(index, log) {
		return nil
	}
	return c.LogStore.GetLog(index, log)
}

func (c *cache) cached(index uint64, log *raft.Log) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.logs) == 0 || index < c.logs[0].Index || index-c.logs[0].Index >= uint64(len(c.logs)) {
		return false
	}
	*log = c.logs[index-c.logs[0].Index]
	return true
}

// StoreLog implements raft.LogStore.
func (c *cache) StoreLog(log *raft.Log) error { return c.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (c *cache) StoreLogs(logs []*raft.Log) error {
	if err := c.LogStore.StoreLogs(logs); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, log := range logs {
		if n := len(c.logs); n > 0 && log.Index != c.logs[n-1].Index+1 {
			c.drop(0, n)
		}
		c.logs = append(c.logs, *log)
		c.bytes += sizeOf(log)
	}
	oldest := 0
	for left := c.bytes; left > c.maxBytes; oldest++ {
		left -= sizeOf(&c.logs[oldest])
	}
	c.drop(0, oldest)
	return nil
}

func sizeOf(log *raft.Log) int64 { return int64(len(log.Data)) + entryOverhead }

// DeleteRange implements raft.LogStore.
func (c *cache) DeleteRange(first, last uint64) error {
	c.forget(first, last)
	return c.LogStore.DeleteRange(first, last)
}

func (c *cache) forget(first, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.logs) == 0 || last < c.logs[0].Index || first > c.logs[len(c.logs)-1].Index {
		return
	}
	begin := c.logs[0].Index
	if first <= begin {
		c.drop(0, int(min(last-begin+1, uint64(len(c.logs)))))
		return
	}
	c.drop(int(first-begin), len(c.logs)) // what follows a deleted entry is gone with it
}

// drop forgets the entries from one place up to another, which is the end unless the first is 0.
func (c *cache) drop(from, to int) {
	for i := from; i < to; i++ {
		c.bytes -= sizeOf(&c.logs[i])
		c.logs[i] = raft.Log{}
	}
	if from == 0 {
		c.logs = c.logs[to:]
		return
	}
	c.logs = c.logs[:from]
}
