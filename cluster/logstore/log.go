package logstore

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// deleteAtOnce is how many entries one transaction deletes: an append waits for no more than that.
const deleteAtOnce = 1024

// extent is what a log holds: the entries first to last without a gap, or none when last is 0.
type extent struct {
	first, last uint64
	bytes       int64
	seal        uint64 // the sum of every entry's mark
}

func (x *extent) add(index uint64, sum uint32, size int) {
	if x.last == 0 {
		x.first = index
	}
	x.last = index
	x.bytes += int64(size)
	x.seal += mark(index, sum)
}

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.first, s.failed
}

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.last, s.failed
}

// Bytes returns the size of the entries from the first to the last. The file is larger, and never shrinks; what was
// deleted is used again.
func (s *Store) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.bytes
}

// IsMonotonic implements raft.MonotonicLogStore: raft need not drop the log before it leaves a gap. StoreLogs does.
func (s *Store) IsMonotonic() bool { return false }

// GetLog reads an entry and verifies it. An entry that is not there is raft.ErrLogNotFound as it is.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	return s.do("read an entry of", func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket([]byte(logBucket))
			value := bucket.Get(logKey(index))
			if value == nil {
				return s.missing(bucket, index)
			}
			// What bbolt returns is the file's memory.
			if err := decode(index, bytes.Clone(value), log); err != nil {
				return damaged(s.path, "%w", err)
			}
			return nil
		})
	})
}

// missing tells an entry that is not there from one that must be, between the first and the last.
func (s *Store) missing(bucket *bbolt.Bucket, index uint64) error {
	cursor, key := bucket.Cursor(), logKey(index)
	first, _ := cursor.First()
	last, _ := cursor.Last()
	if first == nil || bytes.Compare(key, first) < 0 || bytes.Compare(key, last) > 0 {
		return raft.ErrLogNotFound
	}
	return damaged(s.path, "entry %d is missing", index)
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries durably, all or none. One that has no checksum gets it in its Extensions; one that has must
// match it. The log stays without a gap: entries that a new one does not follow are dropped in the same transaction,
// which is what raft means by a gap, the entries before it being in a snapshot.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	return s.do("write entries to", func() error {
		for _, log := range logs {
			if err := sealed(log); err != nil {
				return err
			}
		}
		return s.update(func(tx *bbolt.Tx, x *extent) error {
			bucket := tx.Bucket([]byte(logBucket))
			bucket.FillPercent = 0.9 // entries only come at the end: half-full pages would stay so
			for _, log := range logs {
				if err := s.makeRoom(bucket, x, log.Index); err != nil {
					return err
				}
				value := encode(log)
				if err := bucket.Put(logKey(log.Index), value); err != nil {
					return err
				}
				x.add(log.Index, sumOf(log), len(value))
			}
			return bucket.SetSequence(x.seal)
		})
	})
}

// makeRoom drops what an entry at index does not follow.
func (s *Store) makeRoom(bucket *bbolt.Bucket, x *extent, index uint64) error {
	switch {
	case x.last == 0 || index == x.last+1:
		return nil
	case index > x.first && index <= x.last:
		return s.remove(bucket, x, index, x.last)
	default:
		return s.remove(bucket, x, x.first, x.last)
	}
}

// DeleteRange deletes the entries first to last, which must be the log's oldest or newest ones. It does so in slices,
// from the end of the log inwards, so that an append need not wait for all of them and a crash leaves no gap.
func (s *Store) DeleteRange(first, last uint64) error {
	return s.do("delete entries of", func() error {
		for {
			done, err := s.deleteSlice(first, last)
			if done || err != nil {
				return err
			}
		}
	})
}

func (s *Store) deleteSlice(first, last uint64) (done bool, err error) {
	err = s.update(func(tx *bbolt.Tx, x *extent) error {
		from, to := max(first, x.first), min(last, x.last)
		switch {
		case x.last == 0 || from > to:
			done = true
			return nil
		case from == x.first:
			to = min(to, from+deleteAtOnce-1)
		case to == x.last:
			from = max(from, to-min(to, deleteAtOnce-1))
		default:
			return fmt.Errorf("entries %d to %d are in the middle of %d to %d", first, last, x.first, x.last)
		}
		bucket := tx.Bucket([]byte(logBucket))
		if err := s.remove(bucket, x, from, to); err != nil {
			return err
		}
		return bucket.SetSequence(x.seal)
	})
	return done, err
}

// remove deletes the entries from the first or to the last of a log.
func (s *Store) remove(bucket *bbolt.Bucket, x *extent, from, to uint64) error {
	for index := from; index <= to; index++ {
		key := logKey(index)
		value := bucket.Get(key)
		sum, err := checksum(value)
		if err != nil {
			return damaged(s.path, "entry %d %w", index, err)
		}
		x.seal -= mark(index, sum)
		x.bytes -= int64(len(value))
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	switch {
	case from == x.first && to == x.last:
		x.first, x.last = 0, 0
	case from == x.first:
		x.first = to + 1
	default:
		x.last = from - 1
	}
	return nil
}

func (s *Store) extent() extent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log
}
