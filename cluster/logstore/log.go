package logstore

import (
	"fmt"
	"os"

	"github.com/hashicorp/raft"
)

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.content.index.first, s.failed
}

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.content.index.last, s.failed
}

// Bytes returns the size of the entries from the first to the last. The files are larger.
func (s *Store) Bytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.content.index.bytes
}

// IsMonotonic implements raft.MonotonicLogStore: raft need not drop the log before it leaves a gap. StoreLogs does.
func (s *Store) IsMonotonic() bool { return false }

// GetLog reads an entry and verifies it. An entry that is not there is raft.ErrLogNotFound as it is.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	return s.do("read an entry of", func() error {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if x := &s.content.index; x.empty() || index < x.first || index > x.last {
			return raft.ErrLogNotFound
		}
		return s.content.get(index, log)
	})
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries durably. Those that do not fit into one file are several writes: if the node ends between
// them, the first ones are there. An entry that has no checksum gets it in its Extensions; one that has must match it.
// The log stays without a gap: entries that a new one does not follow are dropped, which is what raft means by a gap, the
// entries before it being in a snapshot.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	return s.do("write entries to", func() error {
		for _, log := range logs {
			if err := sealed(log); err != nil {
				return err
			}
		}
		s.writing.Lock()
		defer s.writing.Unlock()
		for len(logs) > 0 {
			n, size := s.fitting(logs)
			if err := s.store(logs[:n], size); err != nil {
				return err
			}
			logs = logs[n:]
		}
		return s.tidy()
	})
}

// Seal gives an entry the checksum that StoreLogs would give it.
func (s *Store) Seal(log *raft.Log) error { return sealed(log) }

// fitting returns how many entries fit into the newest segment, or else into a new one; at least one.
func (s *Store) fitting(logs []*raft.Log) (n, size int) {
	room := s.newest().room() * blockRoom
	if writeHead+entrySize(logs[0]) > room {
		room = (s.blocks - firstBlock - 1 - blocksFor(writeHead+len(s.state()))) * blockRoom
	}
	for n < len(logs) && (n == 0 || writeHead+size+entrySize(logs[n]) <= room) {
		size += entrySize(logs[n])
		n++
	}
	return n, size
}

func (s *Store) store(logs []*raft.Log, size int) error {
	to, block, err := s.append(size, func(l *layout) {
		for _, log := range logs {
			putEntry(l, log)
		}
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := writeHead
	for _, log := range logs {
		s.content.index.add(log.Index, place{to.number, block, uint32(at), uint32(entrySize(log))})
		to.last = max(to.last, log.Index)
		at += entrySize(log)
	}
	return nil
}

// DeleteRange deletes the entries first to last, which must be the log's oldest or newest ones.
func (s *Store) DeleteRange(first, last uint64) error {
	return s.do("delete entries of", func() error {
		s.writing.Lock()
		defer s.writing.Unlock()
		x := s.content.index // who writes may read it
		from, to := max(first, x.first), min(last, x.last)
		switch {
		case x.empty() || from > to:
			return nil
		case from == x.first && to == x.last:
			from, to = 0, 0
		case from == x.first:
			from, to = to+1, x.last
		case to == x.last:
			from, to = x.first, from-1
		default:
			return fmt.Errorf("entries %d to %d are in the middle of %d to %d", first, last, x.first, x.last)
		}
		if _, _, err := s.append(extentSize, func(l *layout) { l.put(appendExtent(nil, from, to)) }); err != nil {
			return err
		}
		s.mu.Lock()
		s.content.index.keep(from, to)
		s.mu.Unlock()
		return s.tidy()
	})
}

// tidy removes the oldest segments that have no entry of the log any more. That they do not is on disk already.
func (s *Store) tidy() error {
	for len(s.content.segments) > 1 {
		oldest, x := s.content.segments[0], s.content.index
		if !x.empty() && oldest.last >= x.first {
			return nil
		}
		s.mu.Lock()
		s.content.segments = s.content.segments[1:]
		s.mu.Unlock()
		if err := os.Remove(oldest.file.Name()); err != nil {
			return err
		}
		if err := oldest.file.Close(); err != nil {
			return err
		}
	}
	return nil
}
