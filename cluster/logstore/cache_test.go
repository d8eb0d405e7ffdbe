package logstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
)

// counted is a log in memory that counts what is read of it.
type counted struct {
	*raft.InmemStore
	reads int
	fails error
}

func (c *counted) GetLog(index uint64, log *raft.Log) error {
	c.reads++
	return c.InmemStore.GetLog(index, log)
}

func (c *counted) StoreLogs(logs []*raft.Log) error {
	if c.fails != nil {
		return c.fails
	}
	return c.InmemStore.StoreLogs(logs)
}

// The cache answers as the log under it would, whatever is appended and deleted, and stays within its bytes.
func TestTheCacheIsTheLog(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	under := &counted{InmemStore: raft.NewInmemStore()}
	c := NewCache(under, 8<<10).(*cache)
	var m model
	term := uint64(1)
	for step := range 2000 {
		switch random.IntN(12) {
		case 0:
			if len(m) > 0 {
				cut := m.first() + uint64(random.IntN(len(m)))
				if err := c.DeleteRange(m.first(), cut); err != nil {
					t.Fatal(err)
				}
				m = m[cut-m.first()+1:]
			}
		case 1:
			if len(m) > 0 {
				from := m.last() - uint64(random.IntN(len(m)))
				if err := c.DeleteRange(from, m.last()); err != nil {
					t.Fatal(err)
				}
				m, term = m[:from-m.first()], term+1
			}
		default:
			logs := entries(m.last()+1, m.last()+1+uint64(random.IntN(5)), term, random.IntN(3)*200)
			m = m.append(logs)
			if err := c.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
		}
		if c.bytes > c.maxBytes || len(c.logs) == 0 && c.bytes != 0 {
			t.Fatalf("step %d: %d entries of %d bytes, of at most %d", step, len(c.logs), c.bytes, c.maxBytes)
		}
		for _, want := range m {
			var got raft.Log
			if err := c.GetLog(want.Index, &got); err != nil || !equal(want, &got) {
				t.Fatalf("step %d: entry %d is %v, should be %v: %v", step, want.Index, &got, want, err)
			}
		}
		for _, index := range [...]uint64{m.first() - 1, m.last() + 1} {
			if err := c.GetLog(index, &raft.Log{}); err != raft.ErrLogNotFound {
				t.Fatalf("step %d: entry %d, beyond %d to %d: %v", step, index, m.first(), m.last(), err)
			}
		}
	}
}

// The newest entries are not read from the log, also behind a compaction; older ones, and what was not stored, are.
func TestTheCacheSparesTheLog(t *testing.T) {
	under := &counted{InmemStore: raft.NewInmemStore()}
	c := NewCache(under, 10*(200+entryOverhead))
	if err := c.StoreLogs(entries(1, 100, 1, 200)); err != nil {
		t.Fatal(err)
	}
	read := func(from, to uint64) int {
		t.Helper()
		under.reads = 0
		for index := from; index <= to; index++ {
			if err := c.GetLog(index, &raft.Log{}); err != nil {
				t.Fatal(err)
			}
		}
		return under.reads
	}
	if n := read(91, 100); n != 0 {
		t.Errorf("%d of the newest ten were read from the log", n)
	}
	if n := read(81, 90); n != 10 {
		t.Errorf("%d of the ten before were read from the log", n)
	}
	if err := c.DeleteRange(1, 50); err != nil {
		t.Fatal(err)
	}
	if n := read(91, 100); n != 0 {
		t.Errorf("%d of the newest ten were read from the log after a compaction", n)
	}
	under.fails = errors.New("broken")
	if err := c.StoreLog(entry(101, 1, 10)); !errors.Is(err, under.fails) {
		t.Errorf("stored: %v", err)
	}
	if err := c.GetLog(101, &raft.Log{}); err != raft.ErrLogNotFound {
		t.Errorf("an entry that was not stored is there: %v", err)
	}
}

// An entry larger than the cache is stored, and read from the log.
func TestAnEntryLargerThanTheCache(t *testing.T) {
	c := NewCache(raft.NewInmemStore(), 1000)
	want := entry(1, 1, 5000)
	if err := c.StoreLog(want); err != nil {
		t.Fatal(err)
	}
	var got raft.Log
	if err := c.GetLog(1, &got); err != nil || !equal(want, &got) {
		t.Errorf("%v: %v", &got, err)
	}
}

// The cache has what the store under it has sealed, and says of gaps what the store says.
func TestTheCacheOverTheStore(t *testing.T) {
	s := open(t, at(t))
	defer s.Close()
	c := NewCache(s, 1<<20)
	if err := c.StoreLogs(entries(1, 5, 1, 100)); err != nil {
		t.Fatal(err)
	}
	for index := uint64(1); index <= 5; index++ {
		var cached, stored raft.Log
		if err := errors.Join(c.GetLog(index, &cached), s.GetLog(index, &stored)); err != nil || !equal(&cached, &stored) || len(cached.Extensions) != sumSize {
			t.Errorf("cached %v, stored %v: %v", &cached, &stored, err)
		}
	}
	if got := fmt.Sprint(c.(raft.MonotonicLogStore).IsMonotonic()); got != fmt.Sprint(s.IsMonotonic()) {
		t.Errorf("the cache is monotonic: %s", got)
	}
}
