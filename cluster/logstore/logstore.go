// Package logstore is raft's log and stable store on disk: files of blocks sealed by checksums, under a watch.
//
// A write, which is some entries, a vote, or a deletion, is one write to a file whose size never changes, and one
// fdatasync. Files are read as a whole at open: what was flipped, lost or cut is refused, and only what can be nothing but
// a write that a loss of power tore, and that nobody was answered for, is taken back (block.go, segment.go). Any later
// error, or a stall while this node leads, ends the process, for raft would carry on.
package logstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
)

// Config of a store.
type Config struct {
	// Path of its directory, which is made if it is missing.
	Path string
	// Fatal is told once, of the first error that the disk caused, or of a stall; the store refuses every call from
	// then on. It must not block; the process must end. Nil means that the calls' own errors are enough.
	Fatal func(error)
	// Leads says whether this node leads now: only a leader stops for a stall. It must not block. Nil is never.
	Leads func() bool
	// StallAfter is how long an operation may take on a leader; 0 is 4 s.
	StallAfter time.Duration
	// SegmentBytes is the size of a file, a multiple of 512; 0 is 8 MiB. An entry that does not fit has a larger one.
	SegmentBytes int
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	switch {
	case c.Path == "":
		return errors.New("log store: the path is missing")
	case c.StallAfter < 0:
		return fmt.Errorf("log store: stall after %s: must not be negative", c.StallAfter)
	case c.SegmentBytes != 0 && (c.SegmentBytes < 8*blockSize || c.SegmentBytes > 1<<30 || c.SegmentBytes%blockSize != 0):
		return fmt.Errorf("log store: segments of %d bytes: must be a multiple of %d, between %d and 1 GiB", c.SegmentBytes, blockSize, 8*blockSize)
	}
	return nil
}

// ErrDamaged says that the bytes on disk are not those that were written.
var ErrDamaged = errors.New("the log store is damaged")

const remedy = "stop this node, remove it from the cluster, wipe its data directory, and let it join again"

func damaged(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w; %s", ErrDamaged, path, fmt.Errorf(format, args...), remedy)
}

// Store implements raft.LogStore and raft.StableStore. Its methods are safe from any goroutine. It keeps one goroutine,
// the watch, until Close, and one for the time in which it makes the next file.
type Store struct {
	path   string
	blocks int // of a segment
	fatal  func(error)
	watch  *watch
	sync   func(*os.File) error

	writing sync.Mutex // guards what follows, and where segments are written: one writes at a time
	memory  []byte     // of the last write
	marked  time.Time  // when the mark was last moved
	spare   chan spare // has the next file, when one is being made; else nil

	mu      sync.RWMutex // guards what follows, and files against being closed
	failed  error
	content *content
}

// Open opens or makes a store. It reads and verifies everything in it.
func Open(c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.StallAfter == 0 {
		c.StallAfter = 4 * time.Second
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = segmentBytes
	}
	s := &Store{path: c.Path, blocks: c.SegmentBytes / blockSize, fatal: c.Fatal, sync: datasync}
	if plant.Is(plant.AckBeforeFsync) {
		s.sync = func(*os.File) error { return nil }
	}
	if plant.Is(plant.SlowWriteCounts) {
		s.sync = slowWriteCounts
	}
	if err := os.MkdirAll(c.Path, 0o700); err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	var err error
	if s.content, err = load(c.Path, os.O_RDWR); err != nil {
		return nil, err
	}
	if err := s.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("open log store %s: %w", s.path, err), s.content.close())
	}
	s.watch = newWatch(c.StallAfter, c.Leads, func(what string, after time.Duration) {
		s.fail(fmt.Errorf("the log store %s did not %s within %s while this node led: its disk stalls", s.path, what, after.Round(look)))
	})
	return s, nil
}

// begin makes the files fit to be written: a new store has a segment, and what a crash left behind is gone.
func (s *Store) begin() error {
	c := s.content
	if extra := c.extra; extra != nil {
		c.extra = nil
		if err := errors.Join(os.Remove(extra.file.Name()), extra.file.Close()); err != nil {
			return err
		}
	}
	for _, number := range c.stale {
		if err := os.Remove(filepath.Join(s.path, segmentName(number))); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(s.path, spareName)); err != nil && !os.IsNotExist(err) {
		return err
	}
	if len(c.segments) == 0 {
		made, err := s.newSegment(1, s.blocks)
		if err != nil {
			return err
		}
		c.segments = []*segment{made}
	}
	if c.torn {
		return s.wipe(s.newest())
	}
	return errors.Join(syncDir(filepath.Dir(s.path)), syncDir(s.path))
}

// wipe takes back a write that was not finished, so that what follows it is blank again.
func (s *Store) wipe(last *segment) error {
	zeros := make([]byte, blockSize*int(last.blocks-last.next))
	if _, err := last.file.WriteAt(zeros, int64(last.next)*blockSize); err != nil {
		return err
	}
	return s.sync(last.file)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// do runs one operation under the watch. An error of it, but not found, ends the process: what is on disk is not known.
func (s *Store) do(what string, fn func() error) (err error) {
	if err := s.err(); err != nil {
		return err
	}
	defer s.watch.begin(what)()
	err = fn()
	if err == nil || notFound(err) {
		return err
	}
	if !errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%s %s: %w", what, s.path, err)
	}
	s.fail(err)
	return err
}

func (s *Store) err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
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

// Close ends the watch, moves the mark to the last write, and closes the files; unless the store has failed in a way that
// would have it wait for ever: then the process ends anyway.
func (s *Store) Close() error {
	s.watch.close()
	failed := s.err()
	if failed != nil && s.watch.busy() {
		return failed
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	var errs []error
	if s.spare != nil && failed == nil {
		if made := <-s.spare; made.err == nil {
			errs = append(errs, made.file.Close(), os.Remove(made.file.Name()))
		}
	}
	if last := s.newest(); failed == nil {
		errs = append(errs, s.mark(last), s.sync(last.file))
	}
	return errors.Join(append(errs, s.content.close())...)
}
