package table

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of an engine on disk. The zero value has the defaults.
type Options struct {
	// FS is the file system; nil is the machine's own.
	FS vfs.FS
	// CacheBytes is the block cache; 0 is 64 MiB. MemtableBytes is one of three memtables; 0 is 16 MiB.
	CacheBytes    int64
	MemtableBytes uint64
	// Apart are bytes, in ascending order, and below 0xff: the keys that begin with one of them are in files of their own. So what
	// is only appended under each of them lies side by side in the first level, which it does not make deeper.
	Apart []byte
	// Fatal is told once of the first error of the disk, after which the engine refuses every call: the process
	// must end. It must not block. Nil means that the calls' own errors are enough.
	Fatal func(error)
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = 16 << 20
	}
	return o
}

// span says where files end: it has no other policy than that.
func (o Options) span(key []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	for _, first := range o.Apart {
		for _, border := range [...]byte{first, first + 1} {
			if end := []byte{border}; bytes.Compare(key, end) < 0 {
				return policy, end, nil
			}
		}
	}
	return policy, nil, nil
}

// l0Threshold is twice the sublevels that wait in the first level before they are merged into the next.
const l0Threshold = 24

// remedy is the next step after damage: a replica is rebuilt from the others, never repaired.
const remedy = "stop this node, remove it from the cluster, wipe its data directory, and let it join again"

// ErrDamaged says that the bytes on disk are not those that were written.
var ErrDamaged = errors.New("the store is damaged")

func damaged(dir, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w; %s", ErrDamaged, dir, fmt.Errorf(format, args...), remedy)
}

// ErrClosed is what an engine answers once it is closed.
var ErrClosed = errors.New("the store is closed")

// OpenPebble opens or makes an engine in a directory. Its own write-ahead log is off: the raft log is that. What
// was written is durable when Sync has returned; after a crash the engine has every batch up to some point, each
// whole. It keeps goroutines until Close.
//
// Damage to a table is refused at the read. Damage to pebble's manifest looks to it like a crash: the engine may then
// open at an earlier point than was synced, so the caller keeps in each batch how far it is, and compares at open.
func OpenPebble(dir string, o Options) (Engine, error) {
	e, err := openPebble(dir, o)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func openPebble(dir string, o Options) (*pebbleEngine, error) {
	o = o.withDefaults()
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref()
	e := &pebbleEngine{dir: dir, opening: true, pins: 1, stopped: make(chan struct{})}
	options := &pebble.Options{
		FS: o.FS, Cache: cache, DisableWAL: true,
		// The first version whose tables have a checksum in their footers as well. Nodes need not agree on it:
		// what they exchange is logical.
		FormatMajorVersion: pebble.FormatTableFormatV6,
		MemTableSize:       o.MemtableBytes, MemTableStopWritesThreshold: 3,
		// A flush of the state is a file or two in the first level, and one of its sublevels. They are merged when there are
		// half as many sublevels as this: each time that they are, what they overlap is written again, and reads ask filters
		// before files.
		L0CompactionThreshold: l0Threshold, L0StopWritesThreshold: 3 * l0Threshold,
		Logger: pebbleLog{e},
		EventListener: &pebble.EventListener{
			BackgroundError: e.fail,
			DataCorruption:  func(info pebble.DataCorruptionInfo) { e.stop(damaged(dir, "%w", info.Details)) },
		},
	}
	// What is removed goes with the compactions that there are anyway. Pebble's own for it begin where a tenth of a file is tombstones, and rewrite
	// all that lies below: while instances are removed they took a third of the processor, 25 MB for each MB that they gave back.
	options.Experimental.TombstoneDenseCompactionThreshold = -1
	options.Experimental.SpanPolicyFunc = o.span
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		options.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
	}
	err := unwound(func() (err error) { e.db, err = pebble.Open(dir, options); return err })
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.failed != nil:
		return nil, e.failed
	case refusedBySystem(err):
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	case err != nil:
		return nil, damaged(dir, "%w", err)
	}
	e.opening, e.fatal = false, o.Fatal
	return e, nil
}

// refusedBySystem says that the machine stood in the way, and not what the files hold: no permission, no space, a lock.
func refusedBySystem(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) && !errors.Is(err, fs.ErrNotExist)
}

// pebbleEngine closes its files when it is closed and the last of its snapshots is: a reader is never cut off.
type pebbleEngine struct {
	db  *pebble.DB
	dir string

	stopped chan struct{} // closed once failed is set

	mu      sync.Mutex // guards what follows
	fatal   func(error)
	opening bool
	failed  error
	closed  bool
	pins    int          // one for the engine until Close, one for each snapshot and each call under way
	retire  func() error // runs once the files are closed
}

// pin keeps the files open until unpin.
func (e *pebbleEngine) pin() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed != nil {
		return e.failed
	}
	if e.closed {
		return ErrClosed
	}
	e.pins++
	return nil
}

// unpin lets go of the files, and closes them when nothing else holds them.
func (e *pebbleEngine) unpin() error {
	e.mu.Lock()
	e.pins--
	last, failed, retire := e.pins == 0, e.failed, e.retire
	e.mu.Unlock()
	switch {
	case failed != nil:
		return failed // pebble may be stuck, or about to write what is not known to be right: it is left as it is
	case !last:
		return nil
	}
	if err := e.db.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	if retire != nil {
		return retire()
	}
	return nil
}

// fail keeps the first error and has the process end. A flush that failed is not durable, and pebble would try it
// for ever; what was read wrong once must not be asked for again.
func (e *pebbleEngine) fail(err error) {
	if pebble.IsCorruptionError(err) {
		e.stop(damaged(e.dir, "%w", err))
		return
	}
	e.stop(fmt.Errorf("the disk failed the store in %s: %w", e.dir, err))
}

func (e *pebbleEngine) stop(err error) {
	e.mu.Lock()
	if e.failed != nil || e.closed {
		e.mu.Unlock()
		return
	}
	e.failed = err
	fatal := e.fatal
	close(e.stopped)
	e.mu.Unlock()
	if fatal != nil {
		fatal(err)
	}
}

// call runs one use of the database. An error of it is the engine's last.
func (e *pebbleEngine) call(fn func() error) (err error) {
	if err := e.pin(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.unpin()) }()
	return e.checked(fn())
}

// checked turns an error of the database into the engine's failure.
func (e *pebbleEngine) checked(err error) error {
	if err == nil {
		return nil
	}
	e.fail(err)
	return err
}

// maxRetained is how much memory of a batch is used for another one: what is written often is not larger.
const maxRetained = blockBytes * maxBlocks

func (e *pebbleEngine) Write(b *Batch) error {
	return e.call(func() error {
		size := b.size + 16*len(b.ops)
		size += -size & (blockBytes - 1) // so that the next one, which is like it, has room there too
		batch := e.db.NewBatch(pebble.WithInitialSizeBytes(size), pebble.WithMaxRetainedSizeBytes(maxRetained))
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
				return errors.Join(err, batch.Close())
			}
		}
		return errors.Join(batch.Commit(pebble.NoSync), batch.Close())
	})
}

// Sync flushes the memtables and waits until their tables and the manifest are on disk, or the disk has failed.
func (e *pebbleEngine) Sync() error {
	return e.call(func() error {
		flushed, err := e.db.AsyncFlush()
		if err != nil {
			return err
		}
		select {
		case <-flushed:
			return nil
		case <-e.stopped:
			return e.err()
		}
	})
}

func (e *pebbleEngine) err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}

// Close refuses calls from now on. The files are closed at once, or with the last snapshot.
func (e *pebbleEngine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return ErrClosed
	}
	e.closed = true
	e.mu.Unlock()
	return e.unpin()
}

// closeThen is Close, and has retire run once the files are closed.
func (e *pebbleEngine) closeThen(retire func() error) error {
	e.mu.Lock()
	e.retire = retire
	e.mu.Unlock()
	return e.Close()
}

// pebbleLog hears what pebble says.
type pebbleLog struct{ engine *pebbleEngine }

// Infof and Errorf are chatter: what matters comes as an event.
func (pebbleLog) Infof(string, ...any)  {}
func (pebbleLog) Errorf(string, ...any) {}

// unwinding is what Fatalf leaves pebble.Open with.
type unwinding struct{ error }

// Fatalf is where pebble wants the process to end, for it does not know what it has written. A library must not end
// the process: while the engine opens, the opening unwinds; later the goroutine rests here, so that it writes nothing
// more, until the process ends because Fatal was told.
func (l pebbleLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.engine.fail(err)
	l.engine.mu.Lock()
	opening := l.engine.opening
	l.engine.mu.Unlock()
	if opening {
		panic(unwinding{err})
	}
	select {}
}

// unwound runs the opening of a database. Pebble panics on some damage.
func unwound(open func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case unwinding:
			err = r.error
		default:
			err = fmt.Errorf("%v", r)
		}
	}()
	return open()
}
