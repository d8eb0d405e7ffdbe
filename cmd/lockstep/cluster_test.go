package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// clusterCommands runs the commands of one directory's cluster, as a person would.
type clusterCommands struct {
	t   *testing.T
	dir string
}

// run gives what a command prints, and its status.
func (c *clusterCommands) run(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	var out, errs bytes.Buffer
	code = run(c.t.Context(), append([]string{"cluster", "--dir", c.dir}, args...), &bytes.Buffer{}, &out, &errs)
	return out.String(), errs.String(), code
}

func (c *clusterCommands) must(args ...string) string {
	c.t.Helper()
	stdout, stderr, code := c.run(args...)
	if code != exitOK {
		c.t.Fatalf("cluster %v: status %d: %s%s", args, code, stdout, stderr)
	}
	return stdout
}

func (c *clusterCommands) refused(want int, says string, args ...string) {
	c.t.Helper()
	if stdout, stderr, code := c.run(args...); code != want || !strings.Contains(stderr, says) {
		c.t.Errorf("cluster %v: status %d, not %d with %q: %s%s", args, code, want, says, stdout, stderr)
	}
}

// states are what status tells: each node's state, and the node that leads.
func (c *clusterCommands) states() (states []string, leader int) {
	c.t.Helper()
	var nodes []nodeStatus
	if err := json.Unmarshal([]byte(c.must("status", "--json")), &nodes); err != nil {
		c.t.Fatal(err)
	}
	for _, n := range nodes {
		states = append(states, n.State)
		if n.Role == "leader" {
			leader = n.Node
		}
	}
	return states, leader
}

func (c *clusterCommands) expect(states ...string) {
	c.t.Helper()
	if got, _ := c.states(); fmt.Sprint(got) != fmt.Sprint(states) {
		c.t.Errorf("the nodes are %v, not %v", got, states)
	}
}

// A cluster is started, hurt, healed and ended by its commands, each in an invocation of its own.
func TestClusterCommands(t *testing.T) {
	t.Parallel()
	c := &clusterCommands{t, filepath.Join(t.TempDir(), "c")}
	c.refused(exitFailed, "there is no cluster in", "status")
	c.refused(exitFailed, "1, 3 or 5 nodes, not 2", "up", "--size", "2", "--base-port", "0")
	c.refused(exitUsage, "neither pebble nor memory", "up", "--engine", "paper")
	t.Cleanup(func() { _, _, _ = c.run("down") }) // it may have gone down
	up := c.must("up", "--base-port", "0", "--log-level", "warn")
	if !strings.Contains(up, "export LOCKSTEP_SERVER=127.") {
		t.Errorf("up says no address:\n%s", up)
	}
	c.expect("running", "running", "running")
	c.refused(exitUsage, "--engine is for a new cluster", "up", "--engine", "memory")

	_, leader := c.states()
	if said := c.must("kill", "leader"); said != fmt.Sprintf("node %d killed\n", leader) {
		t.Errorf("kill leader, which is %d: %s", leader, said)
	}
	want := []string{"running", "running", "running"}
	want[leader-1] = "down"
	c.expect(want...)
	c.refused(exitFailed, fmt.Sprintf("node %d does not run", leader), "kill", fmt.Sprint(leader))
	c.refused(exitFailed, "numbered from 1 to 3", "pause", "4")
	c.refused(exitUsage, "neither a node's number nor leader", "pause", "first")
	c.must("up")
	c.expect("running", "running", "running")

	c.must("pause", "1", "2")
	c.expect("paused", "paused", "running")
	c.must("resume", "2", "1")
	c.expect("running", "running", "running")

	c.must("pause", "3")
	if said := c.must("down"); !strings.Contains(said, "its data is kept in "+c.dir) {
		t.Errorf("down: %s", said)
	}
	c.expect("down", "down", "down")
	if said := c.must("down", "--wipe"); said != "down, and wiped\n" {
		t.Errorf("down --wipe: %s", said)
	}
	if _, err := os.Stat(c.dir); !os.IsNotExist(err) {
		t.Errorf("wiped, and %s is there: %v", c.dir, err)
	}
}
