package table

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of an engine on disk. The zero value has the defaults.
type Options struct {
	// FS is the file system; nil is the machine's own.
	FS vfs.FS
	// CacheBytes is the block cache; default 64 MiB. MemtableBytes is one of three memtables; default 16 MiB.
	CacheBytes    int64
	MemtableBytes uint64
	// Fatal is told of an error in the background, after which the engine refuses every call: the process must
	// stop. It must not block. Nil means that the calls' own errors are enough.
	Fatal func(error)
}

func (o Options) fs() vfs.FS {
	if o.FS == nil {
		return vfs.Default
	}
	return o.FS
}

// OpenPebble opens or makes an engine in a directory. Its own write-ahead log is off: the raft log is that. What
// was written is durable when Sync has returned; after a crash the engine has every batch up to some point, each
// whole. It keeps goroutines until Close.
func OpenPebble(dir string, o Options) (Engine, error) {
	e := &pebbleEngine{fatal: o.Fatal}
	cache := pebble.NewCache(max(o.CacheBytes, 8<<20))
	if o.CacheBytes == 0 {
		cache.Unref()
		cache = pebble.NewCache(64 << 20)
	}
	defer cache.Unref()
	if o.MemtableBytes == 0 {
		o.MemtableBytes = 16 << 20
	}
	options := &pebble.Options{
		FS: o.fs(), Cache: cache, DisableWAL: true, FormatMajorVersion: pebble.FormatVirtualSSTables,
		MemTableSize: o.MemtableBytes, MemTableStopWritesThreshold: 3,
		L0CompactionThreshold: 4, L0StopWritesThreshold: 24,
		Logger:        e,
		EventListener: &pebble.EventListener{BackgroundError: e.background},
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	var err error
	err = e.guard(func() error { e.db, err = pebble.Open(dir, options); return err })
	if err != nil {
		return nil, fmt.Errorf("the store in %s is damaged or not ours: %w; stop this node, remove it from the cluster, wipe its data directory, and let it join again", dir, err)
	}
	return e, nil
}

type pebbleEngine struct {
	db    *pebble.DB
	fatal func(error)

	mu     sync.Mutex // guards failed
	failed error
}

// stopped is what Fatalf unwinds with: pebble must not go on, and a library must not end the process.
type stopped struct{ error }

func (e *pebbleEngine) guard(fn func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stopped:
			err = r.error
		default:
			panic(r)
		}
	}()
	if err := e.err(); err != nil {
		return err
	}
	return fn()
}

func (e *pebbleEngine) err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}

// background keeps the first error, and has the process stop: a flush that failed is not durable, and pebble would
// try it for ever.
func (e *pebbleEngine) background(err error) {
	if errors.Is(err, pebble.ErrClosed) {
		return
	}
	e.mu.Lock()
	first := e.failed == nil
	if first {
		e.failed = fmt.Errorf("write store: %w", err)
	}
	failed := e.failed
	e.mu.Unlock()
	if first && e.fatal != nil {
		e.fatal(failed)
	}
}

// Infof and Errorf are pebble's chatter.
func (e *pebbleEngine) Infof(string, ...any)  {}
func (e *pebbleEngine) Errorf(string, ...any) {}

// Fatalf is where pebble wants the process to end.
func (e *pebbleEngine) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	e.background(err)
	panic(stopped{err})
}

func (e *pebbleEngine) Write(b *Batch) error {
	return e.guard(func() error {
		batch := e.db.NewBatchWithSize(b.size + 16*len(b.ops))
		defer batch.Close()
		for _, o := range b.ops {
			var err error
			switch o.kind {
			case opPut:
				err = batch.Set(o.key, o.value, nil)
			case opDelete:
				err = batch.Delete(o.key, nil)
			case opDeleteRange:
				err = batch.DeleteRange(o.key, o.value, nil)
			}
			if err != nil {
				return err
			}
		}
		return batch.Commit(pebble.NoSync)
	})
}

// Sync flushes the memtables and waits until their tables and the manifest are on disk.
func (e *pebbleEngine) Sync() error {
	return e.guard(func() error {
		if err := e.db.Flush(); err != nil {
			return err
		}
		return e.err()
	})
}

func (e *pebbleEngine) Snapshot() Snapshot { return &pebbleSnapshot{e.db.NewSnapshot()} }
func (e *pebbleEngine) Close() error       { return e.db.Close() }

func (e *pebbleEngine) Get(key []byte) ([]byte, bool, error) { return pebbleGet(e.db, key) }
func (e *pebbleEngine) Scan(lo, hi []byte, fn func(key, value []byte) bool) error {
	return pebbleScan(e.db, lo, hi, fn, false)
}
func (e *pebbleEngine) ScanBack(lo, hi []byte, fn func(key, value []byte) bool) error {
	return pebbleScan(e.db, lo, hi, fn, true)
}

type pebbleSnapshot struct{ view *pebble.Snapshot }

func (s *pebbleSnapshot) Get(key []byte) ([]byte, bool, error) { return pebbleGet(s.view, key) }
func (s *pebbleSnapshot) Scan(lo, hi []byte, fn func(key, value []byte) bool) error {
	return pebbleScan(s.view, lo, hi, fn, false)
}
func (s *pebbleSnapshot) ScanBack(lo, hi []byte, fn func(key, value []byte) bool) error {
	return pebbleScan(s.view, lo, hi, fn, true)
}
func (s *pebbleSnapshot) Close() error { return s.view.Close() }

func pebbleGet(r pebble.Reader, key []byte) ([]byte, bool, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = slices.Clone(value)
	return value, true, closer.Close()
}

func pebbleScan(r pebble.Reader, lo, hi []byte, fn func(key, value []byte) bool, back bool) (err error) {
	bounds := &pebble.IterOptions{LowerBound: lo}
	if len(hi) > 0 {
		bounds.UpperBound = hi
	}
	it, err := r.NewIter(bounds)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	first, next := it.First, it.Next
	if back {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if !fn(it.Key(), value) {
			break
		}
	}
	return it.Error()
}
