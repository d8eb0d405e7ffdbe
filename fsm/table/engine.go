// Package table keeps typed rows in an ordered key-value engine: in memory for tests, simulation and
// small clusters, in Pebble for everything else. It knows nothing of workflows.
package table

import "bytes"

// Reader reads one point in time of an engine. Keys are ordered by their bytes.
type Reader interface {
	// Get returns a copy of the value of key, and whether there is one.
	Get(key []byte) (value []byte, found bool, err error)
	// Scan calls fn for each key in [lo, hi) in ascending order until fn returns false. An empty hi means the end.
	// key and value are valid only during the call.
	Scan(lo, hi []byte, fn func(key, value []byte) bool) error
	// ScanBack is Scan in descending order.
	ScanBack(lo, hi []byte, fn func(key, value []byte) bool) error
}

// Engine is an ordered key-value store. One goroutine writes; any number read at the same time.
type Engine interface {
	Reader
	// Write applies the batch atomically: after a crash all of it is there, or nothing, and never without
	// every batch written before it. It is durable only when a later Sync has returned. An engine that keeps the keys and
	// values, and does not copy them, tells the batch.
	Write(*Batch) error
	// Snapshot pins the present point in time until it is closed, also beyond the engine's Close. It costs O(1).
	Snapshot() Snapshot
	// Sync returns when everything written before is durable.
	Sync() error
	// Close ends the engine. What was written since the last Sync may be lost.
	Close() error
}

// Snapshot is a pinned point in time.
type Snapshot interface {
	Reader
	Close() error
}

// Batch collects puts, deletes and range deletes. They take effect in the order in which they were added.
type Batch struct {
	ops  []op
	size int

	blocks [][]byte // memory of keys and values
	block  int      // of blocks, that with room
	used   int      // of that block
	kept   bool     // an engine has the keys and values
}

const (
	blockBytes = 16 << 10
	maxBlocks  = 128 // kept for the next batch
)

type op struct {
	kind       opKind
	key, value []byte // value is the end of the range of a range delete
}

type opKind uint8

const (
	opPut opKind = iota
	opDelete
	opDeleteRange
)

// Take returns room for n bytes of a key or a value, which is the batch's own until Reset.
func (b *Batch) Take(n int) []byte {
	if n > blockBytes {
		return make([]byte, 0, n)
	}
	if b.block < len(b.blocks) && blockBytes-b.used < n {
		b.block, b.used = b.block+1, 0
	}
	if b.block == len(b.blocks) {
		b.blocks = append(b.blocks, make([]byte, blockBytes))
	}
	taken := b.blocks[b.block][b.used : b.used : b.used+n]
	b.used += n
	return taken
}

// Put sets key to value. Both are kept by the batch and must not be changed by the caller any more.
func (b *Batch) Put(key, value []byte) { b.add(op{opPut, key, value}) }

// Delete removes key, which may be absent.
func (b *Batch) Delete(key []byte) { b.add(op{opDelete, key, nil}) }

// DeleteRange removes every key in [lo, hi). A range that does not end behind its begin is empty; so is one whose hi
// is, unlike in a scan.
func (b *Batch) DeleteRange(lo, hi []byte) {
	if bytes.Compare(lo, hi) < 0 {
		b.add(op{opDeleteRange, lo, hi})
	}
}

// Size returns the bytes of all keys and values in the batch.
func (b *Batch) Size() int { return b.size }

// Len returns how many operations the batch has.
func (b *Batch) Len() int { return len(b.ops) }

// Reset empties the batch. What was taken of it is taken again, unless an engine has it.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops, b.size = b.ops[:0], 0
	switch {
	case b.kept:
		b.blocks = nil
	case len(b.blocks) > maxBlocks:
		clear(b.blocks[maxBlocks:])
		b.blocks = b.blocks[:maxBlocks]
	}
	b.block, b.used, b.kept = 0, 0, false
}

func (b *Batch) add(o op) {
	b.ops = append(b.ops, o)
	b.size += len(o.key) + len(o.value)
}
