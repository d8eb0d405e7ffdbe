// Package join brings a node into a cluster, and keeps its place there: it founds one together with others that are as
// new, or asks to be added to one that is there; later it tells the cluster when it has moved, and gives way to
// another process that runs under its id. What gossip says is only where to ask; every answer comes over the
// authenticated peer port.
package join

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Standing is what a node says of itself to another that asks.
type Standing struct {
	NodeID string `json:"node"`
	// Process is random: two processes that go by one id differ in it. UpFor is how long this one runs.
	Process string        `json:"process"`
	UpFor   time.Duration `json:"upForNanoseconds"`
	// Expect is how many nodes it waits for to found a cluster; Sees are those that it would found it with, sorted.
	Expect int      `json:"expect"`
	Sees   []string `json:"sees"`
	// HasState: it is, or was, part of a cluster.
	HasState bool `json:"hasState"`
}

// Verdict is what a new node does now.
type Verdict int

const (
	// Wait for more to be seen, or to answer, or for somebody to put right what is wrong.
	Wait Verdict = iota
	// Found a cluster of all that are seen: every one of them comes to the same.
	Found
	// Join the cluster that somebody is part of.
	Join
)

// Decide is the rule for an empty node, given its own standing and those of all others that it sees. Silent ones did not
// answer; they may be part of a cluster, so they make everybody wait. Only empty nodes found, as many as each of them
// expects, when each sees the same; never beside a cluster that is there. The error says what is waited for.
func Decide(self Standing, others []Standing, silent []string) (Verdict, error) {
	for _, a := range others {
		if a.HasState {
			return Join, nil
		}
	}
	if self.Expect == 0 {
		return Wait, errors.New("no cluster is seen, and this node is not to found one: start it with --join, or with --bootstrap-expect")
	}
	for _, a := range others {
		if a.Expect != self.Expect && a.Expect != 0 {
			return Wait, fmt.Errorf("node %s expects a cluster of %d, this node one of %d: start both with the same --bootstrap-expect", a.NodeID, a.Expect, self.Expect)
		}
	}
	if seen := len(self.Sees); seen != self.Expect {
		if seen > self.Expect {
			return Wait, fmt.Errorf("%d new nodes are here, and a cluster of %d is expected: stop the ones that are too many until it is there (%s)", seen, self.Expect, strings.Join(self.Sees, ", "))
		}
		return Wait, fmt.Errorf("%d of %d expected new nodes are here (%s)", seen, self.Expect, strings.Join(self.Sees, ", "))
	}
	if len(silent) > 0 {
		return Wait, fmt.Errorf("no answer from %s", strings.Join(silent, ", "))
	}
	if len(others) != self.Expect-1 {
		return Wait, fmt.Errorf("%d of %d other nodes answered", len(others), self.Expect-1)
	}
	for _, a := range others {
		if a.Expect == 0 {
			return Wait, fmt.Errorf("node %s is not to found a cluster: start it with --bootstrap-expect %d", a.NodeID, self.Expect)
		}
		if !slices.Equal(a.Sees, self.Sees) {
			return Wait, fmt.Errorf("node %s sees %s, and this node %s", a.NodeID, strings.Join(a.Sees, ", "), strings.Join(self.Sees, ", "))
		}
	}
	return Found, nil
}
