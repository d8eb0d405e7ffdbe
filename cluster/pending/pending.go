// Package pending is what a leader's log has and its own disk has not yet: what the disk is to write, how far it is, and
// what may be done on the strength of that. It has no IO and no lock: package cluster drives it, and so does the simulator.
package pending

import "github.com/lockstep-dev/lockstep/jepsen/plant"

// Log is consecutive entries, oldest first.
type Log[E any] struct {
	size    func(E) int64
	first   uint64 // index of the oldest, when there is one
	entries []E
	bytes   int64
}

// New returns an empty log, of whose entries size tells what they take of memory.
func New[E any](size func(E) int64) *Log[E] { return &Log[E]{size: size} }

// maxBytes bounds what the disk may be behind.
const maxBytes = 16 << 20

// Full says that nothing may be added before the disk is less far behind.
func (l *Log[E]) Full() bool { return l.bytes > maxBytes }

// Add appends entries, of which the first has an index: the one behind the newest, if there is one.
func (l *Log[E]) Add(index uint64, entries ...E) {
	if len(l.entries) == 0 {
		l.first = index
	}
	if index != l.first+uint64(len(l.entries)) {
		panic("pending: a gap in the log")
	}
	for _, e := range entries {
		l.bytes += l.size(e)
	}
	l.entries = append(l.entries, entries...)
}

// Next returns all there is, for the disk to write at once. It stays pending until Synced says otherwise.
func (l *Log[E]) Next() []E {
	return l.entries[:len(l.entries):len(l.entries)]
}

// Synced tells that the oldest n are on the disk.
func (l *Log[E]) Synced(n int) {
	for _, e := range l.entries[:n] {
		l.bytes -= l.size(e)
	}
	l.first += uint64(n)
	l.entries = l.entries[n:]
}

// Durable returns the newest entry up to which everything is on the disk; the greatest number when nothing is pending.
func (l *Log[E]) Durable() uint64 {
	if len(l.entries) == 0 {
		return 1<<64 - 1
	}
	return l.first - 1
}

// Applies says whether a committed entry may be applied, and so acknowledged: raft counts the leader's copy already, and
// it must not be the one that makes the majority before it is on the disk.
func (l *Log[E]) Applies(index uint64) bool {
	return index <= l.Durable() || plant.Is(plant.DiskNotAwaited)
}

// Tells returns how much of what raft takes for committed followers may be told of: they apply it at once.
func (l *Log[E]) Tells(commit uint64) uint64 {
	return min(commit, l.Durable())
}

// Get returns an entry that is pending.
func (l *Log[E]) Get(index uint64) (e E, found bool) {
	if index < l.first || index >= l.first+uint64(len(l.entries)) {
		return e, false
	}
	return l.entries[index-l.first], true
}

// Bounds returns the indices of the oldest and the newest entry; found is false when nothing is pending.
func (l *Log[E]) Bounds() (first, last uint64, found bool) {
	return l.first, l.first + uint64(len(l.entries)) - 1, len(l.entries) > 0
}
