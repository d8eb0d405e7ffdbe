package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// After the loss of all processes at once everything acknowledged is there, whatever had been flushed of it.
func TestNodesGoOnFromTheirDisks(t *testing.T) {
	for name, flush := range map[string]func(i int, c *Config){
		"nothing was flushed":    func(_ int, c *Config) { c.FlushEvery = time.Hour },
		"everything was flushed": func(_ int, c *Config) { c.FlushBytes = 1 },
		"each node differs": func(i int, c *Config) {
			c.FlushEvery = time.Hour
			c.FlushBytes = 1 << (10 + 2*i)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{voters: 3, disk: true, tweak: flush}, func(t *testing.T, c *bubble) {
				c.fill("a", 30)
				i, _ := c.leader()
				if err := c.group(i).machine.current.Sync(); err != nil { // makes what was flushed durable on one
					t.Fatal(err)
				}
				c.fill("b", 10)
				for i := range c.nodes {
					c.stop(i)
				}
				for i := range c.nodes {
					c.open(i)
				}
				c.put(create("after"))
				c.agree()
				_, n := c.leader()
				got := c.names(n)
				for _, want := range []string{"a0", "a29", "b0", "b9", "after"} {
					if !got[want] {
						t.Errorf("%s is gone; there are %d", want, len(got))
					}
				}
			})
		})
	}
}

func TestADataDirectoryKnowsWhoseItIs(t *testing.T) {
	inBubble(t, options{voters: 1, disk: true}, func(t *testing.T, c *bubble) {
		c.put(create("a"))
		if _, err := Open(c.config(0)); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("opened twice: %v", err)
		}
		c.stop(0)
		refused := func(what string, change func(config *Config)) {
			config := c.config(0)
			change(&config)
			n, err := Open(config)
			if err == nil {
				err = errors.Join(errors.New("opened"), n.Close())
			}
			if !strings.Contains(err.Error(), what) {
				t.Errorf("want %q: %v", what, err)
			}
		}
		refused("belongs to node n0", func(config *Config) { config.NodeID = "somebody-else" })
		path := filepath.Join(c.dirs[0], identityFile)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write := func(b string) {
			if err := os.WriteFile(path, []byte(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(strings.Replace(string(whole), fmt.Sprintf(`"format":%d`, dataFormat), `"format":99`, 1))
		refused("has format 99", func(*Config) {})
		write("{")
		refused("damaged", func(*Config) {})
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		refused("no IDENTITY", func(*Config) {})
		write(string(whole))
		was := c.open(0).ID()
		// A node that lost its disk is another node, also under the same name: it has forgotten its votes.
		c.stop(0)
		if err := os.RemoveAll(c.dirs[0]); err != nil {
			t.Fatal(err)
		}
		if now := c.open(0).ID(); now == was {
			t.Errorf("a node without its data is %s again", now)
		}
	})
}

func TestANewNodeNamesItself(t *testing.T) {
	dir := t.TempDir()
	a, err := readIdentity(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := readIdentity(dir, "")
	if err != nil || a.Node == "" || a.Node != b.Node {
		t.Errorf("first %q, then %q: %v", a.Node, b.Node, err)
	}
	other, err := readIdentity(t.TempDir(), "")
	if err != nil || other.Node == a.Node {
		t.Errorf("two new nodes are both %q: %v", a.Node, err)
	}
}

func TestAConfigIsChecked(t *testing.T) {
	for want, config := range map[string]Config{
		"Layer or Transport": {},
		"Lease":              {Transport: noTransport, Heartbeat: time.Second, Lease: 2 * time.Second},
		"Election":           {Transport: noTransport, Heartbeat: time.Second, Election: time.Millisecond},
	} {
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	c := Config{Transport: noTransport, Heartbeat: 200 * time.Millisecond}
	if err := c.Validate(); err != nil || c.Election != c.Heartbeat || c.Lease != c.Heartbeat {
		t.Error(fmt.Sprint(c, err))
	}
}

func noTransport(string) raft.Transport { return nil }
