// Package logstore is raft's log and stable store on disk: a bbolt file, sealed by checksums, under a watch.
//
// bbolt checks nothing but its two meta pages, and of those it silently takes the older when the newer is damaged. So
// every entry and every stable value carries a CRC32C, and each bucket a seal over all that is in it, which is kept
// elsewhere in the file and changes in the same transaction: what was flipped, lost, or came back from a page that was
// overwritten does not match. Open reads everything by a reader of its own before bbolt, which panics on damage, sees it.
// Any later error, or a stall while this node leads, ends the process, for raft would carry on.
//
// raft-boltdb is not used because it gives no way into its transactions, and so none to seal them.
package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

// Config of a store.
type Config struct {
	// Path of the file.
	Path string
	// Fatal is told once, of the first error that the disk caused, or of a stall; the store refuses every call from
	// then on. It must not block; the process must end. Nil means that the calls' own errors are enough.
	Fatal func(error)
	// Leads says whether this node leads now: only a leader stops for a stall. It must not block. Nil is never.
	Leads func() bool
	// StallAfter is how long an operation may take on a leader; 0 is 4 s.
	StallAfter time.Duration
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	switch {
	case c.Path == "":
		return errors.New("log store: the path is missing")
	case c.StallAfter < 0:
		return fmt.Errorf("log store: stall after %s: must not be negative", c.StallAfter)
	}
	return nil
}

// ErrDamaged says that the bytes on disk are not those that were written.
var ErrDamaged = errors.New("the log store is damaged")

const remedy = "stop this node, remove it from the cluster, wipe its data directory, and let it join again"

func damaged(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w; %s", ErrDamaged, path, fmt.Errorf(format, args...), remedy)
}

// Store implements raft.LogStore and raft.StableStore. Its methods are safe from any goroutine. It keeps one
// goroutine, the watch, until Close.
type Store struct {
	db     *bbolt.DB
	path   string
	fatal  func(error)
	watch  *watch
	commit func(*bbolt.Tx) error

	writing sync.Mutex // held by the one transaction that writes, until log tells of it

	mu       sync.Mutex // guards what follows
	failed   error
	panicked bool // bbolt may hold its locks
	log      extent
}

// Open opens or makes a store. It reads and verifies everything in it.
func Open(c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.StallAfter == 0 {
		c.StallAfter = 4 * time.Second
	}
	log, err := verify(c.Path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: c.Path, fatal: c.Fatal, log: log, commit: (*bbolt.Tx).Commit}
	if err := s.open(); err != nil {
		return nil, err
	}
	s.watch = newWatch(c.StallAfter, c.Leads, func(what string, after time.Duration) {
		s.fail(fmt.Errorf("the log store %s did not %s within %s while this node led: its disk stalls", s.path, what, after.Round(look)))
	})
	return s, nil
}

func (s *Store) open() (err error) {
	defer s.recovered(&err)
	// Every page that is not reachable is free: the list of them is not worth two writes of it for each commit.
	s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, NoSync: plant.Is(plant.AckBeforeFsync)})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			return errHeld(s.path)
		}
		return fmt.Errorf("open log store %s: %w", s.path, err)
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte(logBucket))
		_, err2 := tx.CreateBucketIfNotExists([]byte(stableBucket))
		return errors.Join(err, err2)
	})
	if err == nil {
		err = syncDir(filepath.Dir(s.path))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open log store %s: %w", s.path, err), s.db.Close())
	}
	return nil
}

func errHeld(path string) error {
	return fmt.Errorf("open log store %s: another process holds it", path)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// verify reads a file and everything in it. A file that is not there, or is empty, is a new one.
func verify(path string) (extent, error) {
	f, err := openFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && f == nil {
		return extent{}, nil
	}
	if err != nil {
		return extent{}, err
	}
	log, err := f.verify(func(*raft.Log) bool { return true })
	return log, errors.Join(err, f.close())
}

// do runs one operation under the watch. An error of it, but not found, ends the process: what is on disk is not known.
func (s *Store) do(what string, fn func() error) (err error) {
	if err := s.err(); err != nil {
		return err
	}
	defer s.watch.begin(what)()
	defer func() {
		if err != nil && !notFound(err) {
			s.fail(err)
		}
	}()
	defer s.recovered(&err)
	// bbolt maps its file: damage that came after Open is a fault of memory.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if err = fn(); err != nil && !notFound(err) && !errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%s %s: %w", what, s.path, err)
	}
	return err
}

// notFound tells raft's own two words for it, which go through as they are: raft compares them.
func notFound(err error) bool { return err == raft.ErrLogNotFound || err == errNotFound }

// update runs a transaction, which may change what the log holds, and commits it durably.
func (s *Store) update(fn func(tx *bbolt.Tx, log *extent) error) (err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	log := s.extent()
	tx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	if err := fn(tx, &log); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := s.commit(tx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = log
	return nil
}

// recovered turns a panic, which is how bbolt finds damage, into an error.
func (s *Store) recovered(err *error) {
	if r := recover(); r != nil {
		*err = damaged(s.path, "%v", r)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.panicked = true
	}
}

func (s *Store) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// fail keeps the first error, and tells of it.
func (s *Store) fail(err error) {
	s.mu.Lock()
	first := s.failed == nil
	if first {
		s.failed = err
	}
	s.mu.Unlock()
	if first && s.fatal != nil {
		s.fatal(err)
	}
}

// Close ends the watch and closes the file, unless the store has failed in a way that would have it wait for ever: then
// the process ends anyway.
func (s *Store) Close() error {
	s.watch.close()
	s.mu.Lock()
	failed, panicked := s.failed, s.panicked
	s.mu.Unlock()
	if failed != nil && (panicked || s.watch.busy()) {
		return failed
	}
	return s.db.Close()
}
