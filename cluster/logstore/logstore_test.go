package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func at(t testing.TB) string { return filepath.Join(t.TempDir(), "log") }

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(Config{Path: path, SegmentBytes: small, Fatal: func(err error) { t.Errorf("Fatal was told: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// small is a size of files of which a test fills several.
const small = 32 << 10

func entry(index, term uint64, size int) *raft.Log {
	return &raft.Log{
		Index: index, Term: term, Type: raft.LogCommand, Data: bytes.Repeat([]byte{byte(index), byte(term)}, size/2),
		AppendedAt: time.Unix(1_700_000_000, int64(index)),
	}
}

func entries(from, to, term uint64, size int) (out []*raft.Log) {
	for index := from; index <= to; index++ {
		out = append(out, entry(index, term, size))
	}
	return out
}

// model is a log in memory, by the rules of this store.
type model []*raft.Log

func (m model) first() uint64 {
	if len(m) == 0 {
		return 0
	}
	return m[0].Index
}

func (m model) last() uint64 {
	if len(m) == 0 {
		return 0
	}
	return m[len(m)-1].Index
}

func (m model) append(logs []*raft.Log) model {
	switch first := logs[0].Index; {
	case len(m) == 0 || first > m.last()+1 || first <= m.first():
		m = nil
	default:
		m = m[:first-m.first()]
	}
	return append(m[:len(m):len(m)], logs...)
}

func (m model) check(t *testing.T, s *Store, what string) {
	t.Helper()
	first, err := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err != nil || err2 != nil || first != m.first() || last != m.last() {
		t.Fatalf("%s: the log is %d to %d, it should be %d to %d: %v %v", what, first, last, m.first(), m.last(), err, err2)
	}
	var size int64
	for _, want := range m {
		var got raft.Log
		if err := s.GetLog(want.Index, &got); err != nil || !equal(want, &got) {
			t.Fatalf("%s: entry %d is %v, it should be %v: %v", what, want.Index, &got, want, err)
		}
		size += int64(entryHead + len(want.Data))
	}
	if s.Bytes() != size {
		t.Fatalf("%s: %d bytes, should be %d", what, s.Bytes(), size)
	}
	for _, index := range [...]uint64{first - 1, last + 1} {
		if err := s.GetLog(index, &raft.Log{}); err != raft.ErrLogNotFound {
			t.Fatalf("%s: entry %d, beyond %d to %d: %v", what, index, first, last, err)
		}
	}
}

func equal(a, b *raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.Extensions, b.Extensions) && a.AppendedAt.Equal(b.AppendedAt)
}

// The store agrees with a model over appends, truncations at either end, conflicts and gaps; also after each restart,
// when everything is verified, and for the reader beside it. Files come and go with their entries.
func TestTheStoreIsTheModel(t *testing.T) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 1))
		path := at(t)
		s := open(t, path)
		var m model
		term := uint64(1)
		for step := range 120 {
			what := fmt.Sprintf("seed %d step %d", seed, step)
			switch random.IntN(10) {
			case 0: // compaction
				if cut := m.first() + uint64(random.IntN(len(m)+1)); len(m) > 0 && cut <= m.last() {
					if err := s.DeleteRange(m.first(), cut); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					m = m[cut-m.first()+1:]
				}
			case 1: // conflict: a later leader replaces the end
				if len(m) > 0 {
					from := m.last() - uint64(random.IntN(min(len(m), 10)))
					if err := s.DeleteRange(from, m.last()); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					m, term = m[:from-m.first()], term+1
				}
			case 2: // a snapshot came: raft goes on behind a gap
				if random.IntN(4) == 0 {
					logs := entries(m.last()+100, m.last()+100, term, 50)
					m = m.append(logs)
					if err := s.StoreLogs(logs); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
				}
			default:
				size := [...]int{0, 20, 20, 300, 9000}[random.IntN(5)]
				logs := entries(m.last()+1, m.last()+1+uint64(random.IntN(12)), term, size)
				m = m.append(logs)
				if err := s.StoreLogs(logs); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			if step%20 == 19 {
				m.check(t, s, what)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				m.compare(t, path, what)
				if numbers, err := list(path); err != nil || numbers[0] < s.content.segments[0].number {
					t.Fatalf("%s: segment %d is there, though the log begins in %d: %v", what, numbers[0], s.content.segments[0].number, err)
				}
				s = open(t, path)
			}
		}
		m.check(t, s, "end")
		if s.newest().number < 20 {
			t.Errorf("seed %d: only %d segments were written", seed, s.newest().number)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (m model) compare(t *testing.T, path, what string) {
	t.Helper()
	i := 0
	for log, err := range Entries(path) {
		if err != nil || i >= len(m) || !equal(&log, m[i]) {
			t.Fatalf("%s: the reader has %v as its entry %d: %v", what, &log, i, err)
		}
		i++
	}
	if i != len(m) {
		t.Fatalf("%s: the reader has %d entries, there are %d", what, i, len(m))
	}
}

func TestAnEntryThatIsStoredAgainReplacesWhatFollowed(t *testing.T) {
	s := open(t, at(t))
	defer s.Close()
	m := model{}.append(entries(5, 20, 1, 30))
	if err := s.StoreLogs(m); err != nil {
		t.Fatal(err)
	}
	for _, index := range [...]uint64{10, 5, 3, 40} {
		logs := entries(index, index, 2, 30)
		m = m.append(logs)
		if err := s.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
		m.check(t, s, fmt.Sprintf("after storing %d", index))
	}
}

// A compaction in the middle of the log is refused: it would leave a gap.
func TestDeleteRange(t *testing.T) {
	path := at(t)
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	m := model{}.append(entries(1, 3000, 1, 4))
	if err := s.StoreLogs(m); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRange(0, 2007); err != nil {
		t.Fatal(err)
	}
	m = m[2007:]
	m.check(t, s, "compacted")
	if err := s.DeleteRange(1, 5); err != nil {
		t.Fatalf("what is gone already: %v", err)
	}
	m.check(t, s, "compacted again")
	if err := s.DeleteRange(m.first()+1, m.last()-1); err == nil {
		t.Fatal("the middle of the log was deleted")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m.compare(t, path, "at the end")
}

func TestAllOfTheLogCanGo(t *testing.T) {
	path := at(t)
	s := open(t, path)
	if err := errors.Join(s.StoreLogs(entries(1, 3000, 1, 4)), s.DeleteRange(1, 3000)); err != nil {
		t.Fatal(err)
	}
	model{}.check(t, s, "empty")
	if err := errors.Join(s.StoreLogs(entries(3001, 3001, 1, 4)), s.Close()); err != nil {
		t.Fatal(err)
	}
	model(sealedAll(entries(3001, 3001, 1, 4))).compare(t, path, "after")
}

func sealedAll(logs []*raft.Log) []*raft.Log {
	for _, log := range logs {
		if err := sealed(log); err != nil {
			panic(err)
		}
	}
	return logs
}

// raft compares these errors by their text, or as they are.
func TestNotFoundGoesThrough(t *testing.T) {
	s := open(t, at(t))
	defer s.Close()
	if err := s.GetLog(5, &raft.Log{}); err != raft.ErrLogNotFound {
		t.Errorf("a log that is not there: %v", err)
	}
	if _, err := s.Get([]byte("nothing")); err == nil || err.Error() != "not found" {
		t.Errorf("a value that is not there: %v", err)
	}
	if _, err := s.GetUint64([]byte("nothing")); err == nil || err.Error() != "not found" {
		t.Errorf("a number that is not there: %v", err)
	}
}

func TestStableValues(t *testing.T) {
	path := at(t)
	s := open(t, path)
	for range 2 {
		if err := errors.Join(s.SetUint64([]byte("CurrentTerm"), 7), s.Set([]byte("LastVoteCand"), []byte("n1")), s.Set([]byte("empty"), nil)); err != nil {
			t.Fatal(err)
		}
		number, err := s.GetUint64([]byte("CurrentTerm"))
		candidate, err2 := s.Get([]byte("LastVoteCand"))
		none, err3 := s.Get([]byte("empty"))
		if err := errors.Join(err, err2, err3); err != nil || number != 7 || string(candidate) != "n1" || len(none) != 0 {
			t.Fatalf("%d %q %q: %v", number, candidate, none, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
	}
	if _, err := s.GetUint64([]byte("LastVoteCand")); err == nil {
		t.Error("a name was read as a number")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A store that another process, or this one, has open is neither opened nor called damaged.
func TestAStoreInUseIsRefused(t *testing.T) {
	path := at(t)
	s := open(t, path)
	defer s.Close()
	_, err := Open(Config{Path: path})
	if err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	for _, err := range Entries(path) {
		if err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("read while open: %v", err)
		}
	}
}

func TestConfigIsValidated(t *testing.T) {
	for _, c := range [...]Config{{}, {Path: "x", StallAfter: -1}, {Path: "x", SegmentBytes: 5000}, {Path: "x", SegmentBytes: 512}, {Path: "x", SegmentBytes: 2 << 30}} {
		if _, err := Open(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

// The first error is told once, and is the answer from then on: what is on disk is not known.
func TestAFailedWriteEndsTheStore(t *testing.T) {
	var told []error
	s, err := Open(Config{Path: at(t), Fatal: func(err error) { told = append(told, err) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StoreLogs(entries(1, 3, 1, 10)); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	s.sync = func(*os.File) error { return full }
	if err := s.StoreLog(entry(4, 1, 10)); !errors.Is(err, full) {
		t.Errorf("store: %v", err)
	}
	s.sync = datasync
	_, first := s.FirstIndex()
	_, last := s.LastIndex()
	_, get := s.Get([]byte("CurrentTerm"))
	for call, err := range map[string]error{
		"store": s.StoreLog(entry(4, 1, 10)), "delete": s.DeleteRange(1, 1), "set": s.Set([]byte("k"), nil), "get": get,
		"get log": s.GetLog(1, &raft.Log{}), "first": first, "last": last,
	} {
		if !errors.Is(err, full) {
			t.Errorf("%s goes on after a write has failed: %v", call, err)
		}
	}
	if len(told) != 1 || !errors.Is(told[0], full) || !strings.Contains(told[0].Error(), s.path) {
		t.Errorf("Fatal was told %v", told)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// An entry whose leader sealed it arrives with its checksum, which must match.
func TestAnEntryDamagedOnItsWayIsNotStored(t *testing.T) {
	s, err := Open(Config{Path: at(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log := sealedAll(entries(1, 1, 1, 10))[0]
	log.Data[3] ^= 4
	if err := s.StoreLog(log); err == nil || !strings.Contains(err.Error(), "damaged on its way") {
		t.Errorf("stored: %v", err)
	}
}
