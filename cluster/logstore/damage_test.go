package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// history writes a store that has been through appends, a conflict, a compaction and votes, so that its free pages are
// full of what was true once, and returns its bytes.
func history(t *testing.T, size int) []byte {
	t.Helper()
	path := at(t)
	s := open(t, path)
	for index := range uint64(30) {
		if err := s.StoreLog(entry(index+1, 1, size)); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(
		s.SetUint64([]byte("CurrentTerm"), 1), s.Set([]byte("LastVoteCand"), []byte("n1")), s.SetUint64([]byte("LastVoteTerm"), 1),
		s.DeleteRange(25, 30), s.StoreLogs(entries(25, 28, 2, size)), s.SetUint64([]byte("CurrentTerm"), 2),
		s.DeleteRange(1, 7), s.StoreLog(entry(29, 2, size)), s.StoreLog(entry(30, 2, size)), s.SetUint64([]byte("LastVoteTerm"), 2),
	)
	for round := range 3 { // too large to lie inline
		err = errors.Join(err, s.Set([]byte("big"), bytes.Repeat([]byte{byte(round)}, 5*size)))
	}
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

// contents reads bytes as Open does before bbolt sees them: what they hold, and which pages that took.
func contents(whole []byte) (out []byte, pages []bool, err error) {
	f := &file{ReaderAt: bytes.NewReader(whole), path: "log.db", pageSize: int64(os.Getpagesize())}
	if err := f.readMeta(int64(len(whole))); err != nil {
		return nil, nil, err
	}
	_, err = f.verify(func(log *raft.Log) bool {
		out = appendEntry(out, log)
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	pages, f.seen = f.seen, make([]bool, f.pages)
	buckets, err := f.buckets()
	if err != nil {
		return nil, nil, err
	}
	err = f.walkBucket(buckets[stableBucket], func(key, value []byte) error {
		out = appendValue(out, string(key), value[:len(value)-sumSize])
		return nil
	})
	return out, pages, err
}

func appendEntry(out []byte, log *raft.Log) []byte {
	out = append(binary.BigEndian.AppendUint64(out, log.Index), byte(log.Term), byte(log.Type))
	return append(out, log.Data...)
}

func appendValue(out []byte, key string, value []byte) []byte {
	return fmt.Appendf(out, "%q=%q", key, value)
}

// use opens bytes as a store, with bbolt, reads all, writes an entry, and opens it again.
func use(t *testing.T, whole []byte) (out []byte, err error) {
	t.Helper()
	path := at(t)
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range uint64(2) {
		s, err := Open(Config{Path: path})
		if err != nil {
			return nil, err
		}
		if round == 0 {
			out, err = s.readAll()
		}
		if err := errors.Join(err, s.StoreLog(entry(31+round, 2, 200)), s.Close()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Store) readAll() (out []byte, err error) {
	x := s.extent()
	for index := x.first; index <= x.last; index++ {
		var log raft.Log
		if err := s.GetLog(index, &log); err != nil {
			return nil, err
		}
		out = appendEntry(out, &log)
	}
	for _, key := range [...]string{"CurrentTerm", "LastVoteCand", "LastVoteTerm", "big"} {
		value, err := s.Get([]byte(key))
		if err != nil {
			return nil, err
		}
		out = appendValue(out, key, value)
	}
	return out, nil
}

// flips are the bits worth trying: all where meta pages and used pages are described, some elsewhere in them, which
// checksums cover, and a few of the pages that nothing points to.
func flips(random *rand.Rand, whole []byte, pages []bool) (bits []int) {
	pages[0], pages[1] = true, true
	size := os.Getpagesize()
	for at := range whole {
		switch page := at / size; {
		case page >= len(pages) || !pages[page]:
			if random.IntN(200) == 0 {
				bits = append(bits, at*8+random.IntN(8))
			}
		case at%size < pageHead+metaSize:
			for bit := range 8 {
				bits = append(bits, at*8+bit)
			}
		case random.IntN(16) == 0:
			bits = append(bits, at*8+random.IntN(8))
		}
	}
	return bits
}

// A flipped bit anywhere in the file is refused, or does no harm: what is read is what was written last, by bbolt too.
func TestAFlippedBitIsNeverServed(t *testing.T) {
	for _, size := range [...]int{30, 400} {
		whole := history(t, size)
		want, pages, err := contents(whole)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, uint64(size)))
		refused, used := 0, 0
		for _, at := range flips(random, whole, pages) {
			whole[at/8] ^= 1 << (at % 8)
			got, _, err := contents(whole)
			what := fmt.Sprintf("size %d: byte %d of page %d, bit %d", size, at/8%os.Getpagesize(), at/8/os.Getpagesize(), at%8)
			switch {
			case err != nil:
				refused++
			case !bytes.Equal(want, got):
				t.Errorf("%s: served what was not written last", what)
			case random.IntN(100) == 0:
				used++
				if got, err := use(t, whole); err != nil || !bytes.Equal(want, got) {
					t.Errorf("%s: bbolt does not read what was written last: %v", what, err)
				}
			}
			whole[at/8] ^= 1 << (at % 8)
		}
		t.Logf("size %d: %d flips refused, %d harmless ones used", size, refused, used)
		if refused < 1000 || used == 0 {
			t.Errorf("size %d: %d flips refused, %d harmless ones used: the test does not reach what is stored", size, refused, used)
		}
	}
}

func names(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "log.db") || !strings.Contains(err.Error(), "let it join again") {
		t.Errorf("%s: the refusal does not say what is damaged and what to do: %v", what, err)
	}
}

// Open refuses what the reader refuses, and says what to do. bbolt, which would panic, or take the older meta page, is
// not asked.
func TestOpenRefusesDamage(t *testing.T) {
	whole := history(t, 400)
	size := os.Getpagesize()
	_, pages, err := contents(whole)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string]func([]byte) []byte{
		"newer or older meta page": func(b []byte) []byte { b[pageHead+20] ^= 1; return b },
		"the other meta page":      func(b []byte) []byte { b[size+pageHead+20] ^= 1; return b },
		"both meta pages":          func(b []byte) []byte { clear(b[:2*size]); return b },
		"cut in a meta page":       func(b []byte) []byte { return b[:100] },
		"cut behind a meta page":   func(b []byte) []byte { return b[:size] },
		"cut behind both":          func(b []byte) []byte { return b[:2*size] },
		"cut in half":              func(b []byte) []byte { return b[:len(b)/2] },
		"not a store at all":       func([]byte) []byte { return []byte("hello, world") },
	}
	for page := 2; page < len(pages); page++ {
		if pages[page] {
			damage[fmt.Sprintf("page %d is blank", page)] = func(b []byte) []byte { clear(b[page*size : (page+1)*size]); return b }
			damage[fmt.Sprintf("page %d points to itself", page)] = func(b []byte) []byte {
				order.PutUint16(b[page*size+8:], branchPage)
				order.PutUint64(b[page*size+pageHead+8:], uint64(page))
				return b
			}
		}
	}
	for what, fn := range damage {
		_, err := use(t, fn(bytes.Clone(whole)))
		names(t, what, err)
	}
}

// Damage that comes while the store is open is found by the read, told once, and named.
func TestDamageWhileOpen(t *testing.T) {
	path := at(t)
	var told []error
	s, err := Open(Config{Path: path, Fatal: func(err error) { told = append(told, err) }})
	if err != nil {
		t.Fatal(err)
	}
	marker := []byte("what stands in the entry")
	if err := errors.Join(s.StoreLog(&raft.Log{Index: 1, Term: 1, Data: marker}), s.Set([]byte("LastVoteCand"), []byte("a candidate"))); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for at := bytes.Index(whole, marker); at >= 0; at = bytes.Index(whole, marker) { // every copy of it
		whole[at] ^= 1
		if _, err := f.WriteAt(whole[at:at+1], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	names(t, "the damaged entry", s.GetLog(1, &raft.Log{}))
	if _, err := s.Get([]byte("LastVoteCand")); !errors.Is(err, ErrDamaged) {
		t.Errorf("the store goes on: %v", err)
	}
	if len(told) != 1 {
		t.Errorf("Fatal was told %v", told)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A crash loses nothing that was answered for, and leaves a store that opens: the file is copied at every commit, as it
// is, and without the commit's pages.
func TestACrashBetweenCommits(t *testing.T) {
	path := at(t)
	s := open(t, path)
	var before []byte
	commit := s.commit
	var images [][]byte
	s.commit = func(tx *bbolt.Tx) error {
		before, _ = os.ReadFile(path)
		if err := commit(tx); err != nil {
			return err
		}
		after, err := os.ReadFile(path)
		size := os.Getpagesize()
		// bbolt writes the pages, syncs, and then a meta page: until that is there, the pages are not.
		half := bytes.Clone(after)
		copy(half[:2*size], before[:2*size])
		images = append(images, half, after)
		return err
	}
	var m model
	for index := range uint64(12) {
		logs := entries(index*3+1, index*3+3, 1, 200)
		if err := s.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
		answered := len(m)
		m = m.append(logs)
		for i, image := range images {
			crashed := at(t)
			if err := os.WriteFile(crashed, image, 0o600); err != nil {
				t.Fatal(err)
			}
			m[:answered+3*i].compare(t, crashed, fmt.Sprintf("commit %d, image %d", index, i))
		}
		images = nil
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
