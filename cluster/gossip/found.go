package gossip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Standing is what a node says of itself to another that wants to found or join a cluster.
type Standing struct {
	NodeID string `json:"node"`
	// Expect is how many nodes it waits for to found a cluster.
	Expect int `json:"expect"`
	// HasState: it is, or was, part of a cluster.
	HasState bool `json:"hasState"`
}

// Founder brings a new node into a cluster: it founds one with others as new, or asks to be added to one that is there.
// What it is told over gossip is only where to ask; each answer comes over the authenticated peer port.
type Founder struct {
	Self   Standing
	Expect int
	Gossip *Gossip
	// HasState says whether this node is part of a cluster by now.
	HasState func() (bool, error)
	// Ask gets another node's standing; Bootstrap makes a cluster of members; Join asks a member to have this node added.
	Ask       func(ctx context.Context, peerAddress string) (Standing, error)
	Bootstrap func(members []Member) error
	Join      func(ctx context.Context, peerAddress string) error
	Logger    hclog.Logger
}

// Verdict is what a new node does now.
type Verdict int

const (
	// Wait for more to be seen or to answer.
	Wait Verdict = iota
	// Found a cluster of all that answered: every one decides the same.
	Found
	// Join the cluster that somebody is part of.
	Join
)

// Decide is the rule. answers has one for each member that gossip sees, this node among them; a member that did not
// answer makes everybody wait, for it may be part of a cluster. Only empty nodes found, as many as each of them expects,
// and never beside a cluster that is there.
func Decide(expect int, seen int, answers []Standing) (Verdict, error) {
	for _, a := range answers {
		if a.HasState {
			return Join, nil
		}
	}
	if len(answers) < seen || expect == 0 || seen < expect {
		return Wait, nil
	}
	for _, a := range answers {
		if a.Expect != expect {
			return Wait, fmt.Errorf("node %s expects a cluster of %d, this node one of %d: start both with the same --bootstrap-expect", a.NodeID, a.Expect, expect)
		}
	}
	if seen > expect {
		return Wait, fmt.Errorf("%d new nodes are here, and each expects a cluster of %d: stop the ones that are too many", seen, expect)
	}
	return Found, nil
}

// Run tries until this node is part of a cluster, or the context ends.
func (f *Founder) Run(ctx context.Context) error {
	said := ""
	for {
		if has, err := f.HasState(); err != nil || has {
			return err
		}
		if err := f.Gossip.Err(); err != nil {
			return err
		}
		changed := f.Gossip.Changed()
		if err := f.try(ctx); err != nil && err.Error() != said {
			said = err.Error()
			f.Logger.Warn("not part of a cluster yet", "reason", err)
		}
		select {
		case <-changed:
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *Founder) try(ctx context.Context) error {
	var seen []Member
	for _, m := range f.Gossip.Members() {
		if m.Alive {
			seen = append(seen, m)
		}
	}
	answers := []Standing{f.Self}
	var failed error
	for _, m := range seen {
		if m.NodeID == f.Self.NodeID {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		a, err := f.Ask(asking, m.PeerAddress)
		cancel()
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("ask node %s: %w", m.NodeID, err))
			continue
		}
		answers = append(answers, a)
	}
	verdict, err := Decide(f.Expect, len(seen), answers)
	switch verdict {
	case Found:
		return f.Bootstrap(seen)
	case Join:
		return f.join(ctx, seen)
	}
	return errors.Join(err, failed)
}

// join asks each in turn: one of them leads, or knows who does.
func (f *Founder) join(ctx context.Context, seen []Member) error {
	var failed error
	for _, m := range seen {
		if m.NodeID == f.Self.NodeID {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := f.Join(asking, m.PeerAddress)
		cancel()
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("ask node %s to add this one: %w", m.NodeID, err))
	}
	return failed
}

// Encode and DecodeStanding are a standing on the wire.
func (s Standing) Encode() ([]byte, error) { return json.Marshal(s) }

// DecodeStanding reads what Encode wrote.
func DecodeStanding(b []byte) (s Standing, err error) {
	err = json.Unmarshal(b, &s)
	return s, err
}
