package table

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// generation puts the same keys each time, so that what is flushed lies over what was.
func generation(t *testing.T, e Engine, n int) {
	t.Helper()
	b := &Batch{}
	for key := range 100 {
		b.Put(fmt.Appendf(nil, "key-%03d", key), fmt.Appendf(nil, "%d of generation %d", key, n))
	}
	if err := errors.Join(e.Write(b), e.Sync()); err != nil {
		t.Fatal(err)
	}
}

func isGeneration(t *testing.T, e Engine, n int) {
	t.Helper()
	for key := range 100 {
		value, found, err := e.Get(fmt.Appendf(nil, "key-%03d", key))
		if want := fmt.Sprintf("%d of generation %d", key, n); !found || err != nil || string(value) != want {
			t.Fatalf("key %d is %q (%v, %v), and not %q", key, value, found, err, want)
		}
	}
}

// What is flushed waits in the first level until there is enough of it to be worth writing again, and no longer.
func TestTheFirstLevelIsMergedWhenItIsDeep(t *testing.T) {
	e, err := openPebble("db", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	merges := func() int64 {
		m := e.db.Metrics() // a flush picks what is to be merged before it lets go of what this reads under
		return m.Compact.Count + m.Compact.NumInProgress
	}
	n := 0
	for ; n < l0Threshold/2-1; n++ {
		generation(t, e, n)
		if got := merges(); got > 0 {
			t.Fatalf("%d flushes, and %d merges", n+1, got)
		}
	}
	isGeneration(t, e, n-1)
	for ; merges() == 0; n++ {
		if n > l0Threshold {
			t.Fatalf("%d flushes, and no merge", n)
		}
		generation(t, e, n)
	}
	isGeneration(t, e, n-1)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is only appended, under several prefixes, lies side by side in the first level if each is apart: it is not merged for that.
func TestWhatIsAppendedApartMakesNoDepth(t *testing.T) {
	for _, apart := range []string{"", "ef"} {
		e, err := openPebble("db", Options{FS: vfs.NewMem(), Apart: []byte(apart)})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 2 * l0Threshold {
			b := &Batch{}
			for _, prefix := range []string{"e", "f"} {
				b.Put(fmt.Appendf(nil, "%s-%03d", prefix, n), []byte(prefix))
			}
			if err := errors.Join(e.Write(b), e.Sync()); err != nil {
				t.Fatal(err)
			}
		}
		m := e.db.Metrics()
		if merged := m.Compact.Count+m.Compact.NumInProgress > 0; merged != (apart == "") {
			t.Errorf("apart %q: merged %v, and the first level is %d deep", apart, merged, m.Levels[0].Sublevels)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A store that has tables compressed as they were before is read, and goes on.
func TestTablesOfAnotherCompressionAreRead(t *testing.T) {
	fs := vfs.NewMem()
	options := &pebble.Options{FS: fs, DisableWAL: true, Logger: pebbleLog{}, FormatMajorVersion: pebble.FormatTableFormatV6}
	for i := range options.Levels {
		options.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	}
	before, err := pebble.Open("db", options)
	if err != nil {
		t.Fatal(err)
	}
	long := bytes.Repeat([]byte("value "), 10_000)
	if err := errors.Join(before.Set([]byte("before"), long, pebble.NoSync), before.Flush(), before.Close()); err != nil {
		t.Fatal(err)
	}
	e := open(t, fs)
	b := &Batch{}
	b.Put([]byte("after"), long)
	if err := errors.Join(e.Write(b), e.Sync()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"before", "after"} {
		if value, found, err := e.Get([]byte(key)); !found || err != nil || !bytes.Equal(value, long) {
			t.Errorf("%s: %d bytes, %v, %v", key, len(value), found, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
