// Package logstore is raft's log and stable store on disk: raft-boltdb, under checksums, under a watch.
//
// bbolt checks nothing but its two meta pages, and of those silently takes the older when the newer is damaged.
// So every entry and every stable value carries a CRC32C; both meta pages and the log's contiguity are checked at
// open; and any error, or a stall while this node leads, ends the process, for raft would carry on.
package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// Config of a store.
type Config struct {
	// Path of the file.
	Path string
	// Fatal is told of the first error that the disk caused, or of a stall. It must not block; the process must end.
	Fatal func(error)
	// Leads says whether this node leads now: only a leader stops for a stall. It must not block.
	Leads func() bool
	// StallAfter is how long a write may take on a leader: 4 s.
	StallAfter time.Duration
}

// ErrDamaged says that the bytes on disk are not those that were written.
var ErrDamaged = errors.New("the log store is damaged")

const remedy = "stop this node, remove it from the cluster, wipe its data directory, and let it join again"

func damaged(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s; %s", ErrDamaged, path, fmt.Sprintf(format, args...), remedy)
}

// Store implements raft.LogStore and raft.StableStore. It keeps one goroutine, the watch, until Close.
type Store struct {
	bolt  *raftboltdb.BoltStore
	path  string
	fatal func(error)
	watch *watch
}

// Open opens or makes a store, and checks what can be checked without reading every entry: the meta pages, the
// file's length, the first and the last entry, and that none is missing between them.
func Open(c Config) (s *Store, err error) {
	if c.StallAfter == 0 {
		c.StallAfter = 4 * time.Second
	}
	if err := checkMeta(c.Path); err != nil {
		return nil, err
	}
	defer recovered(c.Path, &err)
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path:                    c.Path,
		BoltOptions:             &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
		MsgpackUseNewTimeFormat: true,
	})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, fmt.Errorf("open log store %s: another process holds it", c.Path)
	}
	if err != nil {
		return nil, damaged(c.Path, "%v", err)
	}
	s = &Store{bolt: bolt, path: c.Path, fatal: c.Fatal}
	if err := s.check(); err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	if err := syncDir(filepath.Dir(c.Path)); err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	s.watch = newWatch(c.StallAfter, c.Leads, func(what string, after time.Duration) {
		s.fail(fmt.Errorf("the log store did not %s within %s while this node led: its disk stalls", what, after.Round(100*time.Millisecond)))
	})
	return s, nil
}

// recovered turns a panic of bbolt, which is how it finds damage, into the refusal to start.
func recovered(path string, err *error) {
	if r := recover(); r != nil {
		*err = damaged(path, "%v", r)
	}
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) check() error {
	first, err := s.bolt.FirstIndex()
	if err != nil {
		return damaged(s.path, "%v", err)
	}
	last, err := s.bolt.LastIndex()
	if err != nil {
		return damaged(s.path, "%v", err)
	}
	if first == 0 && last == 0 {
		return nil
	}
	for _, index := range [...]uint64{first, last} {
		if err := s.GetLog(index, &raft.Log{}); err != nil {
			return err
		}
	}
	return nil
}

// fail tells of the first error.
func (s *Store) fail(err error) {
	if s.fatal != nil {
		s.fatal(err)
	}
}

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) { return s.bolt.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) { return s.bolt.LastIndex() }

// IsMonotonic implements raft.MonotonicLogStore: raft must not drop the log behind a snapshot that it installs.
func (s *Store) IsMonotonic() bool { return false }

// GetLog reads an entry and verifies it. raft's not-found error goes through as it is.
func (s *Store) GetLog(index uint64, log *raft.Log) (err error) {
	defer s.guard(&err)
	if err := s.bolt.GetLog(index, log); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		err = damaged(s.path, "entry %d cannot be read: %v", index, err)
		s.fail(err)
		return err
	}
	if log.Index != index || len(log.Extensions) != 4 || binary.BigEndian.Uint32(log.Extensions) != sumOf(log) {
		err := damaged(s.path, "entry %d does not match its checksum", index)
		s.fail(err)
		return err
	}
	return nil
}

// guard turns a panic of bbolt into a fatal error.
func (s *Store) guard(err *error) {
	if r := recover(); r != nil {
		*err = damaged(s.path, "%v", r)
		s.fail(*err)
	}
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries durably. An entry that has a checksum already, from its leader, must match it.
func (s *Store) StoreLogs(logs []*raft.Log) (err error) {
	defer s.guard(&err)
	for _, log := range logs {
		sum := sumOf(log)
		if len(log.Extensions) == 0 {
			log.Extensions = binary.BigEndian.AppendUint32(nil, sum)
			continue
		}
		if len(log.Extensions) != 4 || binary.BigEndian.Uint32(log.Extensions) != sum {
			err := fmt.Errorf("entry %d came with a checksum that it does not match: it was damaged on its way", log.Index)
			s.fail(err)
			return err
		}
	}
	return s.write("write entries", func() error { return s.bolt.StoreLogs(logs) })
}

// DeleteRange implements raft.LogStore.
func (s *Store) DeleteRange(first, last uint64) (err error) {
	defer s.guard(&err)
	return s.write("delete entries", func() error { return s.bolt.DeleteRange(first, last) })
}

// write runs a write under the watch; an error ends the process, for its bytes may be on disk or not.
func (s *Store) write(what string, fn func() error) error {
	done := s.watch.begin(what)
	defer done()
	if err := fn(); err != nil {
		err = fmt.Errorf("%s to %s: %w", what, s.path, err)
		s.fail(err)
		return err
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf covers what replicas must agree on: index, term, type and data.
func sumOf(log *raft.Log) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], log.Index)
	binary.BigEndian.PutUint64(head[8:], log.Term)
	head[16] = byte(log.Type)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, log.Data)
}

// Set writes a stable value with its checksum.
func (s *Store) Set(key, value []byte) (err error) {
	defer s.guard(&err)
	sealed := binary.BigEndian.AppendUint32(append([]byte(nil), value...), stableSum(key, value))
	return s.write("write a vote", func() error { return s.bolt.Set(key, sealed) })
}

func stableSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// Get reads a stable value. raft's not-found error goes through as it is: raft compares its text.
func (s *Store) Get(key []byte) (value []byte, err error) {
	defer s.guard(&err)
	sealed, err := s.bolt.Get(key)
	if err != nil {
		return nil, err
	}
	cut := len(sealed) - 4
	if cut < 0 || binary.BigEndian.Uint32(sealed[cut:]) != stableSum(key, sealed[:cut]) {
		err := damaged(s.path, "the stable value %q does not match its checksum", key)
		s.fail(err)
		return nil, err
	}
	return sealed[:cut], nil
}

// SetUint64 writes a stable number.
func (s *Store) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 reads a stable number.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		err := damaged(s.path, "the stable value %q is %d bytes long", key, len(value))
		s.fail(err)
		return 0, err
	}
	return binary.BigEndian.Uint64(value), nil
}

// Bytes is the size of the file. It never shrinks; what compaction freed is used again.
func (s *Store) Bytes() int64 {
	info, err := os.Stat(s.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Close ends the watch and closes the file.
func (s *Store) Close() error {
	s.watch.close()
	return s.bolt.Close()
}
