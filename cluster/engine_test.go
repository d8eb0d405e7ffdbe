package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func inMemory(_ int, c *Config) { c.Engine, c.LogBytes = EngineMemory, 256<<10 }

func (c *bubble) has(want ...string) {
	c.t.Helper()
	_, n := c.leader()
	got := c.names(n)
	for _, name := range want {
		if !got[name] {
			c.t.Errorf("%s is gone; there are %d", name, len(got))
		}
	}
}

// A node that keeps its state in memory has all of it again after a start, from its newest snapshot and the log behind
// that: of a log that was cut several times, and with no other node to ask.
func TestAStateInMemoryIsRebuilt(t *testing.T) {
	inBubble(t, options{voters: 3, disk: true, tweak: inMemory}, func(t *testing.T, c *bubble) {
		c.fill("a", 150)
		c.agree()
		for i := range c.nodes {
			first, err := c.group(i).log.FirstIndex()
			if newest := c.group(i).snapshots.newest.Load(); err != nil || first < 50 || newest < first {
				t.Errorf("node %d: the log begins at %d and the newest snapshot is at %d (%v): this shows nothing", i, first, newest, err)
			}
			c.stop(i)
			if _, err := os.Stat(filepath.Join(c.dirs[i], "groups", "0", "state")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("node %d has a state on disk: %v", i, err)
			}
		}
		for i := range c.nodes {
			c.open(i)
		}
		c.put(create("after"))
		c.agree()
		c.has("a0", "a75", "a149", "after")
	})
}

// A node may change its engine at any start, and back, also when its log was cut meanwhile.
func TestANodeChangesItsEngine(t *testing.T) {
	engine := EnginePebble
	tweak := func(_ int, c *Config) { c.Engine, c.LogBytes = engine, 256<<10 }
	inBubble(t, options{voters: 1, disk: true, tweak: tweak}, func(t *testing.T, c *bubble) {
		c.fill("a", 10)
		for _, next := range []struct{ engine, prefix string }{{EngineMemory, "b"}, {EnginePebble, "c"}, {EngineMemory, "d"}} {
			c.stop(0)
			engine = next.engine
			c.open(0)
			before, _ := c.group(0).log.FirstIndex()
			c.fill(next.prefix, 120)
			if after, _ := c.group(0).log.FirstIndex(); after == before {
				t.Errorf("the log begins at %d still: this shows nothing", after)
			}
			c.has("a0", "a9", next.prefix+"0", next.prefix+"119")
		}
		c.has("b0", "b119", "c0", "c119")
	})
}

// A state that is to be rebuilt from a snapshot that is damaged is refused: from the one before, it would have a gap.
func TestADamagedSnapshotIsRefused(t *testing.T) {
	inBubble(t, options{voters: 1, disk: true, tweak: inMemory}, func(t *testing.T, c *bubble) {
		c.fill("a", 150)
		newest := c.group(0).snapshots
		list, err := newest.List()
		if err != nil || len(list) < 2 {
			t.Fatalf("%d snapshots, %v: this shows nothing", len(list), err)
		}
		c.stop(0)
		path := filepath.Join(c.dirs[0], "groups", "0", "snapshots", list[0].ID, "state.bin")
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := append([]byte(nil), whole...)
		flipped[len(flipped)/2] ^= 4
		for how, content := range map[string][]byte{"flipped": flipped, "cut": whole[:len(whole)/2], "empty": nil} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(c.config(0)); err == nil || !strings.Contains(err.Error(), "join again") {
				t.Errorf("opened with a snapshot that is %s: %v", how, err)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		c.open(0)
		c.put(create("after"))
		c.has("a0", "a149", "after")
	})
}

func TestAnUnknownEngineIsRefused(t *testing.T) {
	if _, err := Open(Config{Engine: "paper"}); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("opened on paper: %v", err)
	}
}
