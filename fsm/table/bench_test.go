package table

import (
	"encoding/binary"
	"testing"
)

// An engine of 100,000 rows, 200 bytes each under keys of 24, which is what a run and its payload are about. A batch is of 1,024
// rows, a third of them new, as a flush of the state machine has them.
const (
	benchRows  = 100_000
	benchBatch = 1024
)

func benchKey(n int) []byte {
	key := append(make([]byte, 0, 24), "default/run/"...)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(key, uint64(n/10)), uint32(n%10))
}

func benchValue(n int) []byte {
	value := make([]byte, 200)
	for i := 0; i < len(value); i += 8 { // half of it is different in each row
		binary.LittleEndian.PutUint32(value[i:], uint32(n)*2654435761+uint32(i))
	}
	return value
}

func eachEngine(b *testing.B, run func(*testing.B, Engine)) {
	open := map[string]func(*testing.B) (Engine, error){
		"memory": func(*testing.B) (Engine, error) { return NewMemory(), nil },
		"pebble": func(b *testing.B) (Engine, error) { return OpenPebble(b.TempDir(), Options{}) },
	}
	for _, name := range [...]string{"memory", "pebble"} {
		b.Run(name, func(b *testing.B) {
			e, err := open[name](b)
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := e.Close(); err != nil {
					b.Error(err)
				}
			}()
			for n := 0; n < benchRows; n += benchBatch {
				write(b, e, n, 1)
			}
			if err := e.Sync(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			run(b, e)
		})
	}
}

// write puts a batch of rows, from one on and so many apart.
func write(b *testing.B, e Engine, from, apart int) {
	batch := &Batch{}
	for i := range benchBatch {
		n := from + i*apart
		batch.Put(benchKey(n), benchValue(n))
	}
	if err := e.Write(batch); err != nil {
		b.Fatal(err)
	}
}

// One batch, its rows made here; the bytes are those of keys and values.
func BenchmarkWrite(b *testing.B) {
	eachEngine(b, func(b *testing.B, e Engine) {
		b.SetBytes(benchBatch * 224)
		next := 0
		for b.Loop() {
			write(b, e, next%benchRows, 1+benchRows/benchBatch/2)
			next += 7919
		}
	})
}

func BenchmarkGet(b *testing.B) {
	eachEngine(b, func(b *testing.B, e Engine) {
		n := 0
		for b.Loop() {
			if _, found, err := e.Get(benchKey(n % benchRows)); err != nil || !found {
				b.Fatalf("row %d: %v, %v", n%benchRows, found, err)
			}
			n += 7919
		}
	})
}

// What is not there is asked for at each start of an instance: is its id taken?
func BenchmarkGetAbsent(b *testing.B) {
	eachEngine(b, func(b *testing.B, e Engine) {
		n := 0
		for b.Loop() {
			if _, found, err := e.Get(append(benchKey(n%benchRows), 'x')); err != nil || found {
				b.Fatalf("row %d: %v, %v", n, found, err)
			}
			n += 7919
		}
	})
}

// Thirty-two rows in order.
func BenchmarkScan(b *testing.B) {
	eachEngine(b, func(b *testing.B, e Engine) {
		for n := 0; b.Loop(); n += 7919 {
			left := 32
			from := n % (benchRows - 2*left)
			if err := e.Scan(benchKey(from), nil, func(_, _ []byte) bool { left--; return left > 0 }); err != nil || left > 0 {
				b.Fatalf("from row %d: %d are missing, %v", from, left, err)
			}
		}
	})
}

func BenchmarkSnapshot(b *testing.B) {
	eachEngine(b, func(b *testing.B, e Engine) {
		for b.Loop() {
			if err := e.Snapshot().Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
