package logstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// torn returns what a disk may hold after a loss of power in the middle of a write: of what it was asked to write since
// the last sync, any blocks, and any names.
func torn(random *rand.Rand, synced, now files) files {
	out := files{}
	for name, content := range now {
		before, there := synced[name]
		if !there && random.IntN(2) == 0 {
			continue
		}
		content = bytes.Clone(content)
		if len(before) != len(content) {
			before = make([]byte, len(content))
		}
		for at := 0; at < len(content); at += blockSize {
			if random.IntN(2) == 0 {
				copy(content[at:at+blockSize], before[at:])
			}
		}
		out[name] = content
	}
	for name, content := range synced {
		if _, there := now[name]; !there && random.IntN(2) == 0 {
			out[name] = content
		}
	}
	return out
}

// A loss of power at any sync loses nothing that was answered for, and leaves a store that opens, with or without what
// was being written, of which the first entries may be there; and which goes on.
func TestACrashLosesNothingAnswered(t *testing.T) {
	for seed := range uint64(2) {
		random, tears := rand.New(rand.NewPCG(seed, 3)), rand.New(rand.NewPCG(seed, 4))
		path := at(t)
		s := open(t, path)
		synced := readFiles(t, path)
		var images []files
		var mu sync.Mutex // guards images, synced and tears: a file is made in the background
		s.sync = func(f *os.File) error {
			mu.Lock()
			defer mu.Unlock()
			name := filepath.Base(f.Name())
			now := readFiles(t, path)
			for name := range now {
				if synced[name] == nil && name != spareName {
					synced[name] = synced[spareName] // it was renamed, and its directory synced
				}
			}
			for range 2 {
				images = append(images, torn(tears, synced, now))
			}
			if err := datasync(f); err != nil {
				return err
			}
			synced = synced.clone()
			synced[name] = now[name]
			images = append(images, synced)
			return nil
		}
		var m model
		next, voted := uint64(1), uint64(0)
		for step := range 50 {
			answered, before := m, voted
			switch random.IntN(8) {
			case 0:
				voted++
				if err := s.SetUint64([]byte("CurrentTerm"), voted); err != nil {
					t.Fatal(err)
				}
			case 1:
				if len(m) > 4 {
					cut := m.first() + uint64(random.IntN(len(m)-1))
					if err := s.DeleteRange(m.first(), cut); err != nil {
						t.Fatal(err)
					}
					m = m[cut-m.first()+1:]
				}
			default:
				logs := entries(next, next+uint64(random.IntN(4)), 1, [...]int{20, 600, 3000}[random.IntN(3)])
				if err := s.StoreLogs(logs); err != nil {
					t.Fatal(err)
				}
				m = m.append(logs)
				next = m.last() + 1
			}
			mu.Lock()
			for i, image := range images {
				reopen(t, fmt.Sprintf("seed %d, step %d, image %d", seed, step, i), image, answered, m, before, voted)
			}
			images = nil
			mu.Unlock()
		}
		s.sync = datasync
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// reopen opens an image, which must have what was answered for, and nothing that was not asked for.
func reopen(t *testing.T, what string, image files, answered, asked model, before, voted uint64) {
	t.Helper()
	path := at(t)
	image.write(t, path)
	s, err := Open(Config{Path: path, SegmentBytes: small})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if term, err := s.GetUint64([]byte("CurrentTerm")); err == nil && (term < before || term > voted) || err != nil && before > 0 {
		t.Fatalf("%s: term %d, of %d to %d: %v", what, term, before, voted, err)
	}
	x := s.content.index
	from := min(asked.first(), max(answered.first(), 1))
	if x.empty() && len(answered) > 0 || !x.empty() && (x.last < answered.last() || x.last > asked.last() || x.first < from || x.first > asked.first()) {
		t.Fatalf("%s: entries %d to %d; answered %d to %d, asked %d to %d", what, x.first, x.last, answered.first(), answered.last(), asked.first(), asked.last())
	}
	is := asked
	if len(answered) > 0 && (len(asked) == 0 || asked.first() > answered.first()) {
		is = answered // a compaction may not have come to be
	}
	if x.empty() {
		is = nil
	} else {
		is = is[x.first-is.first() : x.last-is.first()+1]
	}
	is.check(t, s, what)
	logs := entries(s.content.index.last+1, s.content.index.last+2, 1, 900)
	if err := s.StoreLogs(logs); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	after := append(is[:len(is):len(is)], logs...)
	if err := s.Close(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	after.compare(t, path, what)
}
