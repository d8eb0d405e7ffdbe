package logstore

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

func write(t *testing.T, path string, entries int) {
	t.Helper()
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= entries; i++ {
		if err := s.StoreLog(&raft.Log{Index: uint64(i), Term: 1, Data: bytes.Repeat([]byte{byte(i)}, 200)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.SetUint64([]byte("CurrentTerm"), 7), s.Set([]byte("LastVoteCand"), []byte("n1")), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// read opens a store and reads all of it; the first error is where damage was found.
func read(path string, entries int) (err error) {
	var mu sync.Mutex
	var told error
	s, err := Open(Config{Path: path, Fatal: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		told = errors.Join(told, err)
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	last, err := s.LastIndex()
	if err != nil || last != uint64(entries) {
		return errors.Join(err, errors.New("entries are missing"))
	}
	for i := 1; i <= entries; i++ {
		var log raft.Log
		if err := s.GetLog(uint64(i), &log); err != nil {
			return err
		}
		if !bytes.Equal(log.Data, bytes.Repeat([]byte{byte(i)}, 200)) {
			return errors.New("SERVED: entry is not what was written")
		}
	}
	if v, err := s.GetUint64([]byte("CurrentTerm")); err != nil || v != 7 {
		return errors.Join(err, errors.New("SERVED unless an error stands before: term"))
	}
	return nil
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	write(t, path, 20)
	if err := read(path, 20); err != nil {
		t.Fatal(err)
	}
}

// A flipped byte is refused at open or at the read, or does no harm; it is never served.
func TestAFlippedByteIsNeverServed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	write(t, path, 20)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewSource(1))
	refused := 0
	positions := []int{20, 30, 60, 4096 + 20, 4096 + 60}
	for range 150 {
		positions = append(positions, random.Intn(len(whole)))
	}
	for _, at := range positions {
		broken := bytes.Clone(whole)
		broken[at] ^= 1 << random.Intn(8)
		other := filepath.Join(t.TempDir(), "log.db")
		if err := os.WriteFile(other, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := read(other, 20); err != nil {
			refused++
			if strings.Contains(err.Error(), "SERVED") && !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d: %v", at, err)
			}
		}
	}
	if refused < 5 {
		t.Fatalf("%d of %d flips were seen: the test does not reach what is stored", refused, len(positions))
	}
}

func TestACutFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	write(t, path, 200)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{100, 4096, 8192, info.Size() / 2} {
		other := filepath.Join(t.TempDir(), "log.db")
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(other, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := read(other, 200); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "join again") {
			t.Errorf("cut to %d bytes: %v", size, err)
		}
	}
}

func TestNotFoundGoesThrough(t *testing.T) {
	s, err := Open(Config{Path: filepath.Join(t.TempDir(), "log.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.GetLog(5, &raft.Log{}); err != raft.ErrLogNotFound {
		t.Errorf("a log that is not there: %v", err)
	}
	if _, err := s.Get([]byte("nothing")); err == nil || err.Error() != "not found" {
		t.Errorf("a value that is not there: %v", err)
	}
}

// A write that stalls ends the process once the node leads, also when it comes to lead in the middle.
func TestAStallIsToldWhileLeading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leads, told bool
		var mu sync.Mutex
		w := newWatch(4*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return leads }, func(what string, after time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			told = true
		})
		defer w.close()
		saw := func() bool { mu.Lock(); defer mu.Unlock(); return told }
		w.begin("write")()
		time.Sleep(10 * time.Second)
		done := w.begin("write")
		time.Sleep(10 * time.Second)
		if saw() {
			t.Error("told while another led, or while nothing was written")
		}
		mu.Lock()
		leads = true
		mu.Unlock()
		time.Sleep(300 * time.Millisecond)
		if !saw() {
			t.Error("not told although the stall goes on and the node leads now")
		}
		done()
	})
}
