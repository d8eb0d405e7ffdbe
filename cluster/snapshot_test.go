package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/cluster/logstore"
	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

func small(_ int, c *Config) { c.LogBytes = 512 << 10 }

func (c *bubble) fill(prefix string, count int) {
	for i := range count {
		c.put(described(fmt.Sprint(prefix, i), strings.Repeat("x", 8000)))
		time.Sleep(5 * time.Millisecond)
	}
}

// The log stays within its bounds by bytes, whatever an entry has, and a follower that was away for less comes back by
// the log alone; one that was away for longer gets a snapshot.
func TestASnapshotReachesALaggingFollower(t *testing.T) {
	inBubble(t, options{voters: 3, disk: true, tweak: small}, func(t *testing.T, c *bubble) {
		c.fill("a", 10)
		lead, _ := c.leader()
		short, long := (lead+1)%3, (lead+2)%3
		c.cut(long)
		c.fill("b", 150)
		c.cut(short)
		c.heal(long)
		time.Sleep(5 * time.Second)
		g := c.group(lead)
		first, _ := g.log.FirstIndex()
		kept := g.tail.behind(first)
		if newest := g.snapshots.newest.Load(); newest == 0 || first == 1 || kept < g.config.LogBytes/2 || kept > 3*g.config.LogBytes {
			t.Errorf("after %d entries the newest snapshot is at %d, the log begins at %d and has %d bytes", g.raft.LastIndex(), newest, first, kept)
		}
		c.agree()
		if got := c.group(long).snapshots.newest.Load(); got < 50 {
			t.Errorf("the newest snapshot of the one that was away is at %d: it did not need one, and this shows nothing", got)
		}
		before := c.group(short).snapshots.newest.Load()
		c.fill("c", 10)
		c.heal(short)
		c.agree()
		if after := c.group(short).snapshots.newest.Load(); after != before {
			t.Errorf("one that was away for 10 entries needed a snapshot (%d, then %d)", before, after)
		}
	})
}

// After a restart the log's bytes are known again, though they were written by another process.
func TestTheLogIsMeasuredAtOpen(t *testing.T) {
	inBubble(t, options{voters: 1, disk: true}, func(t *testing.T, c *bubble) {
		c.fill("a", 50)
		before := c.group(0).tail.behind(10)
		c.stop(0)
		c.open(0)
		if after := c.group(0).tail.behind(10); after < before*3/4 || after > before*5/4 {
			t.Errorf("%d bytes before the restart, %d after", before, after)
		}
	})
}

// A crash in the middle of installing a snapshot leaves the snapshot and a state that is older: raft would go on behind
// a gap. The state is restored first.
func TestAStateBehindItsSnapshotIsRestored(t *testing.T) {
	inBubble(t, options{voters: 3, disk: true, tweak: small}, func(t *testing.T, c *bubble) {
		c.fill("a", 10)
		lead, _ := c.leader()
		away := (lead + 1) % 3
		c.stop(away)
		c.fill("b", 10)
		if err := c.group(lead).snapshot(); err != nil {
			t.Fatal(err)
		}
		from := filepath.Join(c.dirs[lead], "groups", "0", "snapshots")
		if err := os.CopyFS(filepath.Join(c.dirs[away], "groups", "0", "snapshots"), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		c.open(away)
		c.put(create("last"))
		c.agree()
	})
}

// A state that was lost comes back from the snapshot and the log.
func TestALostStateIsRebuilt(t *testing.T) {
	inBubble(t, options{voters: 3, disk: true, tweak: small}, func(t *testing.T, c *bubble) {
		c.fill("a", 10)
		i, _ := c.leader()
		if err := c.group(i).snapshot(); err != nil {
			t.Fatal(err)
		}
		c.fill("b", 10)
		c.stop(i)
		if err := os.RemoveAll(filepath.Join(c.dirs[i], "groups", "0", "state")); err != nil {
			t.Fatal(err)
		}
		c.open(i)
		c.put(create("last"))
		c.agree()
	})
}

// A node whose log was cut away behind its back must not go on from its state alone.
func TestALostLogIsRefused(t *testing.T) {
	lost := map[string]func(path string) error{
		"removed": os.RemoveAll,
		"emptied": func(path string) error { return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)) },
		"cut":     func(path string) error { return os.Truncate(filepath.Join(path, "0000000001.log"), 0) },
	}
	for how, lose := range lost {
		for _, engine := range []string{EnginePebble, EngineMemory} {
			t.Run(how+" "+engine, func(t *testing.T) {
				tweak := func(_ int, c *Config) { c.Engine, c.FlushEvery = engine, time.Hour } // its state knows nothing yet
				inBubble(t, options{voters: 1, disk: true, tweak: tweak}, func(t *testing.T, c *bubble) {
					c.put(create("a"))
					c.stop(0)
					if err := lose(filepath.Join(c.dirs[0], "groups", "0", "log")); err != nil {
						t.Fatal(err)
					}
					if _, err := Open(c.config(0)); err == nil || !strings.Contains(err.Error(), "join again") {
						t.Fatalf("opened without its log: %v", err)
					}
				})
			})
		}
	}
}

// A state that is ahead of its log, which is another one, is refused as well.
func TestAnotherLogIsRefused(t *testing.T) {
	inBubble(t, options{voters: 2, disk: true}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		c.agree()
		if err := errors.Join(c.group(0).machine.current.Flush(), c.group(0).machine.current.Sync()); err != nil {
			t.Fatal(err)
		}
		c.stop(0)
		c.stop(1)
		path := filepath.Join(c.dirs[0], "groups", "0", "log")
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		other, err := logstore.Open(logstore.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(c.config(0)); err == nil || !strings.Contains(err.Error(), "another's") {
			t.Fatalf("opened with another log: %v", err)
		}
	})
}

// machineOn is a machine alone, with some entries applied.
func machineOn(t *testing.T, dir string, entries int) *machine {
	m := &machine{applied: func(fsm.Result, time.Duration) {}, restored: func() {}, fatal: func(err error) { t.Error(err) }, leads: func() bool { return false }, flushBytes: 4 << 20}
	if err := m.open(dir); err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		m.Apply(entry(t, uint64(i+1), described(fmt.Sprint("a", i), strings.Repeat("x", 1000))))
	}
	return m
}

func entry(t *testing.T, index uint64, commands ...*logv1.Command) *raft.Log {
	data, err := proto.Marshal(&logv1.Entry{Header: &logv1.Header{Term: 1, Level: fsm.Level}, Commands: commands})
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: data}
}

// slot is a snapshot in memory, and may stop in the middle of being written.
type slot struct {
	bytes.Buffer
	onWrite   func()
	cancelled bool
}

func (s *slot) Write(b []byte) (int, error) {
	if s.onWrite != nil {
		s.onWrite()
	}
	return s.Buffer.Write(b)
}
func (s *slot) ID() string    { return "slot" }
func (s *slot) Close() error  { return nil }
func (s *slot) Cancel() error { s.cancelled = true; return nil }

// A snapshot that is being written when another state comes in its place is given up: raft would take it for the
// newest. Reads see the one state or the other.
func TestARestoreEndsASnapshotOfTheOldState(t *testing.T) {
	ahead := machineOn(t, t.TempDir(), 500)
	defer ahead.close()
	newer, err := ahead.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer newer.Release()
	stream := &slot{}
	if err := newer.Persist(stream); err != nil {
		t.Fatal(err)
	}

	m := machineOn(t, t.TempDir(), 300)
	defer m.close()
	older, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	writing := &slot{}
	writing.onWrite = func() {
		writing.onWrite = nil
		if err := m.Restore(io.NopCloser(bytes.NewReader(stream.Bytes()))); err != nil {
			t.Error(err)
		}
	}
	if err := older.Persist(writing); !errors.Is(err, errInterrupted) || !writing.cancelled {
		t.Errorf("the snapshot of the old state ended with %v, cancelled: %v", err, writing.cancelled)
	}
	older.Release()
	index, digest := m.current.Digest()
	wantIndex, want := ahead.current.Digest()
	if index != wantIndex || string(digest) != string(want) {
		t.Errorf("restored entry %d of %d", index, wantIndex)
	}

	// A snapshot that came late changes nothing; a damaged one neither, and it is fatal.
	late := machineOn(t, t.TempDir(), 600)
	defer late.close()
	if err := late.Restore(io.NopCloser(bytes.NewReader(stream.Bytes()))); err != nil {
		t.Error(err)
	}
	if index, _ := late.current.Applied(); index != 600 {
		t.Errorf("a late snapshot took the state back to entry %d", index)
	}
	fatal := 0
	late.fatal = func(error) { fatal++ }
	if err := late.Restore(io.NopCloser(bytes.NewReader(stream.Bytes()[:stream.Len()/2]))); !errors.Is(err, fsm.ErrDamaged) || fatal != 1 {
		t.Errorf("half a snapshot: %v, fatal %d times", err, fatal)
	}
	if index, _ := late.current.Applied(); index != 600 {
		t.Errorf("half a snapshot left entry %d", index)
	}
}
