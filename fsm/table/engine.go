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
	// every batch written before it. It is durable only when a later Sync has returned.
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
}

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

// Reset empties the batch and keeps its memory, but no key or value.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops, b.size = b.ops[:0], 0
}

func (b *Batch) add(o op) {
	b.ops = append(b.ops, o)
	b.size += len(o.key) + len(o.value)
}
