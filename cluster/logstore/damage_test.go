package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// files are what a directory holds.
type files map[string][]byte

func readFiles(t testing.TB, dir string) files {
	t.Helper()
	out := files{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (f files) write(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range f {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (f files) clone() files {
	out := files{}
	for name, content := range f {
		out[name] = bytes.Clone(content)
	}
	return out
}

// history writes a store that has been through appends, a conflict, a compaction, votes and several files, and returns
// what it is on disk.
func history(t *testing.T, size int) files {
	t.Helper()
	path := at(t)
	s, err := Open(Config{Path: path, SegmentBytes: 16 * blockSize, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	for index := range uint64(30) {
		if err := s.StoreLog(entry(index+1, 1, size)); err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(
		s.SetUint64([]byte("CurrentTerm"), 1), s.Set([]byte("LastVoteCand"), []byte("n1")), s.SetUint64([]byte("LastVoteTerm"), 1),
		s.DeleteRange(25, 30), s.StoreLogs(entries(25, 28, 2, size)), s.SetUint64([]byte("CurrentTerm"), 2),
		s.DeleteRange(1, 7), s.StoreLog(entry(29, 2, size)), s.StoreLog(entry(30, 2, 2500)), s.SetUint64([]byte("LastVoteTerm"), 2),
		s.StoreLog(entry(31, 2, size)),
	)
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return readFiles(t, path)
}

// use opens what is on disk, reads all, writes an entry, and opens it again.
func use(t *testing.T, f files) (out []byte, err error) {
	t.Helper()
	path := at(t)
	f.write(t, path)
	for round := range uint64(2) {
		s, err := Open(Config{Path: path, SegmentBytes: 16 * blockSize})
		if err != nil {
			return nil, err
		}
		if round == 0 {
			out, err = s.readAll()
		}
		if err := errors.Join(err, s.StoreLog(entry(32+round, 2, 200)), s.Close()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Store) readAll() (out []byte, err error) {
	x := s.content.index
	for index := x.first; index <= x.last; index++ {
		var log raft.Log
		if err := s.GetLog(index, &log); err != nil {
			return nil, err
		}
		out = append(binary.BigEndian.AppendUint64(out, log.Index), byte(log.Term), byte(log.Type))
		out = append(out, log.Data...)
	}
	for _, key := range [...]string{"CurrentTerm", "LastVoteCand", "LastVoteTerm"} {
		value, err := s.Get([]byte(key))
		if err != nil {
			return nil, err
		}
		out = fmt.Appendf(out, "%q=%q", key, value)
	}
	return out, nil
}

// A flipped bit anywhere is refused, whatever it meets, and the refusal says what is damaged and what to do.
func TestAFlippedBitIsNeverServed(t *testing.T) {
	for _, size := range [...]int{0, 30, 400} {
		whole := history(t, size)
		if want, err := use(t, whole.clone()); err != nil || len(want) == 0 || len(whole) < 3 {
			t.Fatalf("size %d: %d files, %d bytes: %v", size, len(whole), len(want), err)
		}
		random := rand.New(rand.NewPCG(1, uint64(size)))
		flips := 0
		for _, name := range slices.Sorted(maps.Keys(whole)) {
			path := at(t)
			whole.write(t, path)
			content := whole[name]
			for place := 0; place < len(content); place++ {
				if random.IntN(3) != 0 || content[place] == 0 && random.IntN(8) != 0 { // most of it is blank
					continue
				}
				bit := byte(1) << random.IntN(8)
				content[place] ^= bit
				if err := os.WriteFile(filepath.Join(path, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
				flips++
				c, err := load(path, os.O_RDWR)
				if err == nil {
					t.Errorf("size %d: %s: byte %d of block %d: a flipped bit was not refused", size, name, place%blockSize, place/blockSize)
					err = c.close()
				} else {
					names(t, fmt.Sprintf("size %d: %s: byte %d", size, name, place), err)
					err = nil
				}
				if err != nil {
					t.Fatal(err)
				}
				content[place] ^= bit
			}
		}
		if flips < 500 {
			t.Errorf("size %d: only %d flips", size, flips)
		}
	}
}

func names(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "log") || !strings.Contains(err.Error(), "let it join again") {
		t.Errorf("%s: the refusal does not say what is damaged and what to do: %v", what, err)
	}
}

// Open refuses files that are gone, cut, empty, blank, another's, or older than they should be, and blocks that a disk
// has lost although it was answered for.
func TestOpenRefusesDamage(t *testing.T) {
	whole := history(t, 400)
	ascending := slices.Sorted(maps.Keys(whole))
	newest := ascending[len(ascending)-1]
	damage := map[string]func(files){
		"the newest has another's name": func(f files) { f[segmentName(99)] = f[newest]; delete(f, newest) },
		"two are exchanged":             func(f files) { f[ascending[0]], f[ascending[1]] = f[ascending[1]], f[ascending[0]] },
	}
	for _, name := range ascending {
		damage[name+" is gone"] = func(f files) { delete(f, name) }
		for _, size := range [...]int{0, 100, blockSize, 3 * blockSize, len(whole[name]) / 2, len(whole[name]) - 1, len(whole[name]) - blockSize} {
			damage[fmt.Sprintf("%s is cut to %d bytes", name, size)] = func(f files) { f[name] = f[name][:size] }
		}
		damage[name+" is longer"] = func(f files) { f[name] = append(f[name], make([]byte, blockSize)...) }
		damage[name+" is not a segment"] = func(f files) { copy(f[name], "hello, world") }
		for block := range len(whole[name]) / blockSize {
			if bytes.Equal(whole[name][block*blockSize:][:blockSize], make([]byte, blockSize)) {
				continue
			}
			damage[fmt.Sprintf("%s: block %d is blank", name, block)] = func(f files) { clear(f[name][block*blockSize:][:blockSize]) }
			damage[fmt.Sprintf("%s: all from block %d is blank", name, block)] = func(f files) { clear(f[name][block*blockSize:]) }
			damage[fmt.Sprintf("%s: block %d is another", name, block)] = func(f files) {
				copy(f[name][block*blockSize:], f[name][(block+1)%5*blockSize:][:blockSize])
			}
		}
	}
	for what, fn := range damage {
		f := whole.clone()
		if fn(f); fmt.Sprint(f) == fmt.Sprint(whole) {
			continue
		}
		_, err := use(t, f)
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
	f := readFiles(t, path)
	for name, content := range f {
		if at := bytes.Index(content, marker); at >= 0 {
			content[at] ^= 1
			f.write(t, path)
			t.Logf("damaged %s", name)
		}
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
