package table

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockstep-dev/lockstep/jepsen/require"
)

// rows reads a whole reader, forward, and checks that backward is the same.
func rows(t testing.TB, r Reader, lo, hi []byte) (out []string) {
	t.Helper()
	if err := r.Scan(lo, hi, func(k, v []byte) bool { out = append(out, fmt.Sprintf("%x=%s", k, v)); return true }); err != nil {
		t.Fatal(err)
	}
	back := len(out)
	if err := r.ScanBack(lo, hi, func(k, v []byte) bool {
		back--
		if back < 0 || out[back] != fmt.Sprintf("%x=%s", k, v) {
			t.Fatalf("backward differs from forward at %d: %x=%s", back, k, v)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if back != 0 {
		t.Fatalf("backward misses %d of %d rows", back, len(out))
	}
	return out
}

func same(t testing.TB, what string, a, b []string) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%s: %d rows and %d", what, len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("%s: row %d is %s and %s", what, i, a[i], b[i])
		}
	}
}

func randomKey(random *rand.Rand) []byte {
	key := make([]byte, 1+random.IntN(3))
	for i := range key {
		key[i] = [...]byte{0, 1, 'a', 'b', 0xfe, 0xff}[random.IntN(6)]
	}
	return key
}

func randomBatch(random *rand.Rand, step int) *Batch {
	b := &Batch{}
	for range 1 + random.IntN(8) {
		switch random.IntN(8) {
		case 0:
			b.DeleteRange(randomKey(random), randomKey(random))
		case 1, 2:
			b.Delete(randomKey(random))
		default:
			b.Put(randomKey(random), fmt.Appendf(nil, "%d/%d", step, b.Len()))
		}
	}
	return b
}

// Both engines hold the same rows after any sequence of batches, now and in every snapshot, also after a restart.
func TestEnginesAgree(t *testing.T) {
	require.WithoutRace(t)
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewMem()
		options := Options{FS: fs, MemtableBytes: 64 << 10}
		disk, err := OpenPebble("db", options)
		if err != nil {
			t.Fatal(err)
		}
		memory := NewMemory()
		type pair struct{ disk, memory Snapshot }
		var pinned []pair
		for step := range 200 {
			b := randomBatch(random, step)
			if err := disk.Write(b); err != nil {
				t.Fatal(err)
			}
			if err := memory.Write(b); err != nil {
				t.Fatal(err)
			}
			lo, hi := randomKey(random), randomKey(random)
			if bytes.Compare(lo, hi) > 0 {
				lo, hi = hi, lo
			}
			same(t, fmt.Sprintf("seed %d step %d", seed, step), rows(t, disk, lo, hi), rows(t, memory, lo, hi))
			a, foundA, errA := disk.Get(lo)
			b2, foundB, errB := memory.Get(lo)
			if foundA != foundB || !bytes.Equal(a, b2) || errA != nil || errB != nil {
				t.Fatalf("seed %d step %d: get %x: %s %v %v and %s %v %v", seed, step, lo, a, foundA, errA, b2, foundB, errB)
			}
			if step%40 == 0 {
				pinned = append(pinned, pair{disk.Snapshot(), memory.Snapshot()})
			}
			if step%100 == 99 {
				disk = reopened(t, disk, options, func() {
					for _, p := range pinned {
						same(t, "snapshot", rows(t, p.disk, nil, nil), rows(t, p.memory, nil, nil))
						if err := p.disk.Close(); err != nil {
							t.Fatal(err)
						}
					}
					pinned = nil
				})
			}
		}
		same(t, "all", rows(t, disk, nil, nil), rows(t, memory, nil, nil))
		if err := disk.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// reopened closes a synced engine, lets its snapshots be read once more, and opens it again.
func reopened(t *testing.T, e Engine, o Options, between func()) Engine {
	t.Helper()
	if err := e.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	between()
	e, err := OpenPebble("db", o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A scan reads one point in time: a write in the middle does not show, and does not block.
func TestReadersDoNotSeeLaterWrites(t *testing.T) {
	for name, e := range map[string]Engine{"memory": NewMemory(), "pebble": open(t, vfs.NewMem())} {
		put := func(v string) {
			b := &Batch{}
			b.Put([]byte("k"), []byte(v))
			if err := e.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		put("1")
		err := e.Scan(nil, nil, func(_, v []byte) bool {
			put("2")
			if string(v) != "1" {
				t.Errorf("%s: a scan sees what was written behind it: %s", name, v)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if v, _, _ := e.Get([]byte("k")); string(v) != "2" {
			t.Errorf("%s: wrote 2, read %s", name, v)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t testing.TB, fs vfs.FS) Engine {
	t.Helper()
	e, err := OpenPebble("db", Options{FS: fs, MemtableBytes: 64 << 10, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAnEmptyRangeRemovesNothing(t *testing.T) {
	for name, e := range map[string]Engine{"memory": NewMemory(), "pebble": open(t, vfs.NewMem())} {
		b := &Batch{}
		b.Put([]byte("b"), []byte("1"))
		b.DeleteRange([]byte("c"), []byte("a"))
		b.DeleteRange([]byte("a"), []byte("a"))
		b.DeleteRange([]byte("a"), nil)
		if err := e.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, found, err := e.Get([]byte("b")); !found || err != nil {
			t.Errorf("%s: an empty range removed a row: %v", name, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What was taken of a batch is taken again behind an engine that copies, and is not behind one that keeps it.
func TestABatchsMemoryIsUsedAgain(t *testing.T) {
	disk, err := openPebble("db", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	for name, engine := range map[string]Engine{"memory": NewMemory(), "pebble": disk} {
		b := &Batch{}
		sizes := []int{1, blockBytes, blockBytes - 1, blockBytes + 1, 17, 3 * blockBytes}
		for round := range 3 {
			for n, size := range append(sizes, make([]int, 2*maxBlocks)...) {
				value := b.Take(max(size, blockBytes/2+1))
				if len(value) != 0 || cap(value) < size {
					t.Fatalf("%s: %d bytes of %d were taken", name, cap(value), size)
				}
				value = append(value, bytes.Repeat([]byte{byte(round), byte(n)}, size/2)...)
				b.Put(append(b.Take(5), byte(round), byte(n), byte(n>>8), byte(size), byte(size>>8)), value)
			}
			if err := engine.Write(b); err != nil {
				t.Fatal(err)
			}
			b.Reset()
			if again := len(b.blocks); again > maxBlocks || (again > 0) != (engine == disk) {
				t.Fatalf("%s: %d blocks are used again", name, again)
			}
		}
		err := engine.Scan(nil, nil, func(k, value []byte) bool {
			if size := len(value); size > 0 && !bytes.Equal(value, bytes.Repeat([]byte{k[0], k[1]}, size/2)) {
				t.Errorf("%s: the value of %x is another's", name, k)
			}
			return true
		})
		if err := errors.Join(err, engine.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
