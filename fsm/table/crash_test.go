package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// writeNumber writes the n-th batch: a counter, and a row at either end of the key space, so that a torn batch shows.
func writeNumber(e Engine, n uint64) error {
	b := &Batch{}
	b.Put([]byte("m/count"), binary.BigEndian.AppendUint64(nil, n))
	b.Put(AppendUint64([]byte("a/"), n), bytes.Repeat([]byte{byte(n)}, 300))
	b.Put(AppendUint64([]byte("z/"), n), bytes.Repeat([]byte{byte(n)}, 300))
	if n > 5 {
		b.Delete(AppendUint64([]byte("a/"), n-5))
		b.DeleteRange([]byte("z/"), AppendUint64([]byte("z/"), n-5))
	}
	return e.Write(b)
}

// count checks that an engine has the batches 1 to n, each whole, and returns n.
func count(e Reader) (n uint64, err error) {
	value, found, err := e.Get([]byte("m/count"))
	if err != nil {
		return 0, err
	}
	if found {
		n = binary.BigEndian.Uint64(value)
	}
	var want [][]byte
	for _, row := range [...]struct {
		prefix string
		kept   uint64
	}{{"a/", 5}, {"z/", 6}} {
		for i := uint64(1); i <= n; i++ {
			if i+row.kept > n {
				want = append(want, AppendUint64([]byte(row.prefix), i))
			}
		}
	}
	for _, prefix := range [...]string{"a/", "z/"} {
		err = errors.Join(err, e.Scan([]byte(prefix), End([]byte(prefix)), func(k, v []byte) bool {
			if len(want) == 0 || !bytes.Equal(k, want[0]) || len(v) != 300 || v[0] != k[len(k)-1] {
				err = fmt.Errorf("the counter says %d, and row %x is there", n, k)
				return false
			}
			want = want[1:]
			return true
		}))
	}
	if err == nil && len(want) != 0 {
		err = fmt.Errorf("the counter says %d, and row %x is not there", n, want[0])
	}
	return n, err
}

// After a crash at any moment an engine has the batches up to some point, each whole, and at least those that a
// Sync was answered for.
func TestACrashLeavesAPrefix(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	fs := vfs.NewCrashableMem()
	e := open(t, fs)
	var written, synced uint64
	prefixes := 0
	for range 1500 {
		written++
		if err := writeNumber(e, written); err != nil {
			t.Fatal(err)
		}
		if random.IntN(200) == 0 {
			if err := e.Sync(); err != nil {
				t.Fatal(err)
			}
			synced = written
		}
		if random.IntN(25) != 0 {
			continue
		}
		crashed := open(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(2) * random.IntN(101), RNG: random}))
		n, err := count(crashed)
		if err != nil || n < synced || n > written {
			t.Fatalf("%d batches written, %d synced, %d there: %v", written, synced, n, err)
		}
		if n > synced && n < written {
			prefixes++ // a memtable that filled up was flushed
		}
		if err := crashed.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if prefixes == 0 {
		t.Fatal("no crash fell between a flush and the last write: the test shows nothing")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// watched has fn called before every change of a file system.
func watched(fs vfs.FS, fn func()) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			fn()
		}
		return nil
	}))
}

func numbered(from, to uint64) func(Engine) error {
	return func(e Engine) error {
		for n := from; n <= to; n++ {
			if err := writeNumber(e, n); err != nil {
				return err
			}
		}
		return nil
	}
}

// A crash at any moment of a replacement leaves the old engine or the new one, whole; once Replace has returned, the
// new one. Each file system that a crash can leave opens, also the first time that the directory is made.
func TestACrashDuringReplaceLeavesOneOfThem(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	disk := vfs.NewCrashableMem()
	var crashes []vfs.FS
	take := func() {
		crashes = append(crashes, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(2) * 50, RNG: random}))
	}
	options := Options{FS: watched(disk, take), MemtableBytes: 64 << 10, CacheBytes: 1 << 20}
	const path = "/state"
	d, err := OpenDir(path, options)
	if err != nil {
		t.Fatal(err)
	}
	born := crashes
	if err := errors.Join(numbered(1, 20)(d.Engine()), d.Engine().Sync()); err != nil {
		t.Fatal(err)
	}
	crashes = nil
	if _, err := d.Replace(numbered(1, 70)); err != nil {
		t.Fatal(err)
	}
	during := crashes
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]int{}
	look := func(fs vfs.FS) uint64 {
		d, err := OpenDir(path, Options{FS: fs, CacheBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		n, err := count(d.Engine())
		if err := errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
		names, err := fs.List(path)
		if err != nil || len(names) != 2 {
			t.Fatalf("what the crash left half done is still there: %q, %v", names, err)
		}
		return n
	}
	for _, fs := range born {
		if n := look(fs); n != 0 {
			t.Fatalf("a new store has %d batches", n)
		}
	}
	for _, fs := range during {
		seen[look(fs)]++
	}
	if len(seen) != 2 || seen[20] == 0 || seen[70] == 0 {
		t.Fatalf("crashes left stores with these batches: %v", seen)
	}
	if n := look(disk.CrashClone(vfs.CrashCloneCfg{})); n != 70 {
		t.Fatalf("Replace returned, and the store has %d batches", n)
	}
}

// What a reader has pinned is there until it lets go, also when the engine was replaced meanwhile; then its files go.
func TestReplaceKeepsWhatIsPinned(t *testing.T) {
	fs := vfs.NewMem()
	d, err := OpenDir("state", Options{FS: fs, MemtableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(numbered(1, 10)(d.Engine()), d.Engine().Sync()); err != nil {
		t.Fatal(err)
	}
	old, pin := d.Engine(), d.Engine().Snapshot()
	if _, err := d.Replace(numbered(1, 3)); err != nil {
		t.Fatal(err)
	}
	if n, err := count(pin); n != 10 || err != nil {
		t.Errorf("the pinned point in time has %d batches: %v", n, err)
	}
	if err := old.Sync(); !errors.Is(err, ErrClosed) {
		t.Errorf("sync of a replaced engine: %v", err)
	}
	if err := writeNumber(old, 11); !errors.Is(err, ErrClosed) {
		t.Errorf("write to a replaced engine: %v", err)
	}
	if _, err := count(old.Snapshot()); !errors.Is(err, ErrClosed) {
		t.Errorf("snapshot of a replaced engine: %v", err)
	}
	if err := pin.Close(); err != nil {
		t.Error(err)
	}
	if names, err := fs.List("state"); err != nil || len(names) != 2 {
		t.Errorf("the replaced store is still there: %q, %v", names, err)
	}
	if n, err := count(d.Engine()); n != 3 || err != nil {
		t.Errorf("the engine in force has %d batches: %v", n, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A replacement that cannot be built leaves the old engine in force, and nothing behind.
func TestAFailedBuildChangesNothing(t *testing.T) {
	fs := vfs.NewMem()
	d, err := OpenDir("state", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := numbered(1, 10)(d.Engine()); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the stream broke")
	if _, err := d.Replace(func(e Engine) error { return errors.Join(writeNumber(e, 1), broken) }); !errors.Is(err, broken) {
		t.Fatalf("replace: %v", err)
	}
	if n, err := count(d.Engine()); n != 10 || err != nil {
		t.Fatalf("the engine in force has %d batches: %v", n, err)
	}
	if names, err := fs.List("state"); err != nil || len(names) != 2 {
		t.Fatalf("the half-built store is still there: %q, %v", names, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
