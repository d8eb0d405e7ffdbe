package table

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// filled makes a directory with a store of a few tables, closed.
func filled(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	d, err := OpenDir("/state", Options{FS: fs, MemtableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range [...]uint64{100, 250} {
		if err := errors.Join(numbered(to-99, to)(d.Engine()), d.Engine().Sync()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Replace(numbered(1, 250)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

func files(t *testing.T, fs vfs.FS, dir string) (out []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name = path.Join(dir, name)
		info, err := fs.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			out = append(out, files(t, fs, name)...)
		} else {
			out = append(out, name)
		}
	}
	return out
}

// replaced copies a file system with one file changed; nil content removes it.
func replaced(t *testing.T, fs vfs.FS, name string, content []byte) vfs.FS {
	t.Helper()
	out := vfs.NewMem()
	if _, err := vfs.Clone(fs, out, "/state", "/state"); err != nil {
		t.Fatal(err)
	}
	if content == nil {
		if err := out.Remove(name); err != nil {
			t.Fatal(err)
		}
		return out
	}
	f, err := out.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func contentOf(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// readAll opens a directory and reads all of it. It fails the test if what is there without an error is not what some
// prefix of the batches wrote.
func readAll(t *testing.T, what string, fs vfs.FS) error {
	t.Helper()
	var told atomic.Int32
	d, err := OpenDir("/state", Options{FS: fs, CacheBytes: 1 << 20, Fatal: func(error) { told.Add(1) }})
	if err != nil {
		return err
	}
	_, err = count(d.Engine())
	if err != nil && !errors.Is(err, ErrDamaged) {
		t.Fatalf("%s: served as if nothing were wrong: %v", what, err)
	}
	if err != nil && told.Load() != 1 {
		t.Errorf("%s: Fatal was told %d times of %v", what, told.Load(), err)
	}
	if closed := d.Close(); err == nil && closed != nil {
		t.Errorf("%s: close: %v", what, closed)
	}
	return err
}

func names(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "/state") || !strings.Contains(err.Error(), "let it join again") {
		t.Errorf("%s: the refusal does not say what is damaged and what to do: %v", what, err)
	}
}

// A flipped bit in CURRENT is refused. One elsewhere is refused at open or at the read, or does no harm: what is
// served is what some prefix of the batches wrote, and how far that is stands in it.
func TestAFlippedBitIsNeverServed(t *testing.T) {
	fs := filled(t)
	random := rand.New(rand.NewPCG(1, 1))
	for _, name := range files(t, fs, "/state") {
		whole := contentOf(t, fs, name)
		refused := 0
		const flips = 12
		for range min(flips, len(whole)) {
			at, bit := random.IntN(len(whole)), random.IntN(8)
			broken := bytes.Clone(whole)
			broken[at] ^= 1 << bit
			what := fmt.Sprintf("%s, byte %d, bit %d", name, at, bit)
			if err := readAll(t, what, replaced(t, fs, name, broken)); err != nil {
				refused++
				names(t, what, err)
			}
		}
		switch {
		case path.Base(name) == currentFile && refused != flips:
			t.Errorf("%s: %d of %d flips refused", name, refused, flips)
		case strings.HasSuffix(name, ".sst") && refused < flips/2: // some of its bytes are never needed
			t.Errorf("%s: %d of %d flips refused: the test does not reach what is stored", name, refused, flips)
		}
	}
}

// A missing file is refused, and so is a cut table. A cut manifest is what a crash leaves.
func TestACutOrMissingFileIsRefused(t *testing.T) {
	fs := filled(t)
	for _, name := range files(t, fs, "/state") {
		base := path.Base(name)
		if !strings.HasSuffix(base, ".sst") && !strings.HasPrefix(base, "MANIFEST") && base != currentFile {
			continue // nothing is kept in the others
		}
		whole := contentOf(t, fs, name)
		what := name + " cut"
		if err := readAll(t, what, replaced(t, fs, name, whole[:len(whole)/2])); err != nil || !strings.HasPrefix(base, "MANIFEST") {
			names(t, what, err)
		}
		what = name + " missing"
		names(t, what, readAll(t, what, replaced(t, fs, name, nil)))
	}
}

// The first error of the disk is told once, ends what waits, and is the answer from then on.
func TestTheDiskFails(t *testing.T) {
	for _, part := range [...]string{".sst", "MANIFEST"} {
		var on atomic.Bool
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if on.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, part) {
				return syscall.EIO
			}
			return nil
		}))
		var told atomic.Int32
		e, err := OpenPebble("/state", Options{FS: fs, MemtableBytes: 64 << 10, Fatal: func(err error) {
			told.Add(1)
			if !errors.Is(err, syscall.EIO) && !strings.Contains(err.Error(), syscall.EIO.Error()) {
				t.Errorf("%s: Fatal is told %v", part, err)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writeNumber(e, 1), e.Sync(), writeNumber(e, 2)); err != nil {
			t.Fatal(err)
		}
		pin := e.Snapshot()
		on.Store(true)
		if err := e.Sync(); err == nil {
			t.Errorf("%s: Sync answers for what the disk refused", part)
		}
		on.Store(false)
		_, _, read := e.Get([]byte("m/count"))
		_, pinned := count(pin)
		_, fresh := count(e.Snapshot())
		for call, err := range map[string]error{"write": writeNumber(e, 3), "sync": e.Sync(), "get": read, "pinned": pinned, "snapshot": fresh, "close": e.Close()} {
			if err == nil {
				t.Errorf("%s: %s goes on after the disk has failed", part, call)
			}
		}
		if told.Load() != 1 {
			t.Errorf("%s: Fatal was told %d times", part, told.Load())
		}
	}
}

// A flip of which it is not known whether it took place ends the old engine: what it wrote next might be lost.
func TestAnUnknownFlipEndsTheEngine(t *testing.T) {
	var on, renamed atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && op.Kind == errorfs.OpRename && strings.Contains(op.Path, currentFile) {
			renamed.Store(true)
		}
		if renamed.Load() && op.Kind == errorfs.OpFileSync {
			return syscall.EIO
		}
		return nil
	}))
	var told atomic.Int32
	d, err := OpenDir("/state", Options{FS: fs, Fatal: func(error) { told.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	on.Store(true)
	if _, err := d.Replace(numbered(1, 3)); !errors.Is(err, syscall.EIO) {
		t.Fatalf("replace: %v", err)
	}
	if err := writeNumber(d.Engine(), 1); !errors.Is(err, syscall.EIO) || told.Load() != 1 {
		t.Fatalf("the old engine goes on: %v; Fatal was told %d times", err, told.Load())
	}
}
