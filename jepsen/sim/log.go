package sim

import (
	"time"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// entry is one of raft's log.
type entry struct {
	index, term uint64
	data        []byte // nil: the first of a term, which is raft's own
	// For the checkers, which nobody in the cluster sees: who proposed it, when, and for which calls.
	by       int
	proposed time.Duration
	asleep   time.Duration // of the proposer, so far
	pauses   int
	backlog  time.Duration // how long the oldest call had waited then that the proposer had received and this has not
	calls    []*serverCall
	renewals [][]*serverCall
	barriers []*serverCall
	// decoded is what data says, for the nodes that share it, until every node has had it.
	decoded *logv1.Entry
	had     int
}

// log is raft's log behind what was cut away. It is a value: whoever has one keeps it, whatever others append.
type log struct {
	base, baseTerm uint64
	entries        []*entry
}

func (l *log) last() uint64 { return l.base + uint64(len(l.entries)) }

// term of an entry; false when it is not here.
func (l *log) term(index uint64) (uint64, bool) {
	switch {
	case index == l.base:
		return l.baseTerm, true
	case index < l.base || index > l.last():
		return 0, false
	}
	return l.entries[index-l.base-1].term, true
}

func (l *log) lastTerm() uint64 {
	term, _ := l.term(l.last())
	return term
}

func (l *log) at(index uint64) *entry { return l.entries[index-l.base-1] }

// between returns up to n entries behind an index, up to another.
func (l *log) between(index, last uint64, n int) []*entry {
	if last <= index {
		return nil
	}
	return l.entries[index-l.base:][:min(n, int(last-index))]
}

// append returns the log with entries behind it.
func (l *log) append(list ...*entry) log {
	return log{l.base, l.baseTerm, append(l.entries, list...)}
}

// upTo returns the log without what is behind an index; what is appended to it overwrites nothing.
func (l *log) upTo(index uint64) log {
	n := index - l.base
	return log{l.base, l.baseTerm, l.entries[:n:n]}
}

// from returns the log without what a snapshot covers.
func (l *log) from(index uint64) log {
	term, _ := l.term(index)
	return log{index, term, l.entries[index-l.base:]}
}
