package join

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/lockstep-dev/lockstep/cluster/gossip"
)

// Around is what gossip knows. *gossip.Gossip is one.
type Around interface {
	// Members lists all, by id; Changed returns a channel that the next change closes.
	Members() []gossip.Member
	Changed() <-chan struct{}
	// Rival tells of another that goes by this node's id.
	Rival() (gossip.Member, bool)
}

// Node is the node that is brought into a cluster.
type Node interface {
	// HasState says whether it was ever part of one.
	HasState() (bool, error)
	// Bootstrap makes one of members; all must be given the same.
	Bootstrap(members []gossip.Member) error
	// PeerAddress is where the cluster that it is part of looks for it; empty when it is no member.
	PeerAddress() string
}

// Peers are the others, over the authenticated port.
type Peers interface {
	// Ask gets a node's standing.
	Ask(ctx context.Context, peerAddress string) (Standing, error)
	// Join asks a member to have this node added, or found at its new address.
	Join(ctx context.Context, peerAddress string) error
}

// Config of a Joiner.
type Config struct {
	NodeID, PeerAddress string
	// Expect is how many new nodes found a cluster; 0 when this one founds none.
	Expect int
	Node   Node
	Around Around
	Peers  Peers
	Logger hclog.Logger
}

// Joiner brings a node into a cluster. It has no goroutine but while Run runs.
type Joiner struct {
	config  Config
	process string
	began   time.Time
	said    string // the last reason that was logged; Run's alone
}

// New makes a Joiner.
func New(c Config) *Joiner {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return &Joiner{config: c, process: rand.Text(), began: time.Now()}
}

const (
	askLimit    = 2 * time.Second
	joinLimit   = 15 * time.Second
	newPause    = 300 * time.Millisecond // between looks of a node that is part of no cluster
	memberPause = 5 * time.Second        // of one that is
)

// Standing is what this node says of itself. It may be called from any goroutine.
func (j *Joiner) Standing() (Standing, error) {
	has, err := j.config.Node.HasState()
	s := Standing{NodeID: j.config.NodeID, Process: j.process, UpFor: time.Since(j.began), Expect: j.config.Expect, HasState: has}
	for _, m := range j.alive() {
		s.Sees = append(s.Sees, m.NodeID+"="+m.PeerAddress)
	}
	return s, err
}

// Answer is Standing on the wire.
func (j *Joiner) Answer() ([]byte, error) {
	s, err := j.Standing()
	if err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// Read reads what Answer wrote.
func Read(b []byte) (s Standing, err error) {
	if err = json.Unmarshal(b, &s); err != nil {
		return Standing{}, fmt.Errorf("read a node's standing: %w", err)
	}
	return s, nil
}

// alive are those that gossip sees, this node among them, by id.
func (j *Joiner) alive() []gossip.Member {
	return slices.DeleteFunc(j.config.Around.Members(), func(m gossip.Member) bool { return !m.Alive })
}

// Run works until the context ends, whose error it returns, or until this node must go: another that has run for longer
// goes by its id, or its store cannot be read.
func (j *Joiner) Run(ctx context.Context) error {
	for {
		changed := j.config.Around.Changed()
		has, err := j.config.Node.HasState()
		if err != nil {
			return fmt.Errorf("look for what this node was part of: %w", err)
		}
		pause, step := newPause, j.enter
		if has {
			pause, step = memberPause, j.move
		}
		err = errors.Join(j.giveWay(ctx), step(ctx))
		var second *secondError
		if errors.As(err, &second) {
			return second
		}
		j.say(err)
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// say logs what is waited for, once while it stays the same.
func (j *Joiner) say(err error) {
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	if reason != "" && reason != j.said {
		j.config.Logger.Info("not in its place in a cluster yet", "reason", reason)
	}
	j.said = reason
}

// enter takes an empty node a step further.
func (j *Joiner) enter(ctx context.Context) error {
	self, err := j.Standing()
	if err != nil {
		return err
	}
	seen := j.alive()
	others, silent := j.ask(ctx, seen)
	switch verdict, reason := Decide(self, others, silent); verdict {
	case Found:
		j.config.Logger.Info("founding a cluster", "members", self.Sees)
		return j.config.Node.Bootstrap(seen)
	case Join:
		return j.join(ctx, seen)
	default:
		return reason
	}
}

// ask asks all others at once, so that one that is stuck holds up no more than itself.
func (j *Joiner) ask(ctx context.Context, seen []gossip.Member) (answers []Standing, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	got, failed := make([]Standing, len(seen)), make([]error, len(seen))
	var asked sync.WaitGroup
	for i, m := range seen {
		if m.NodeID == j.config.NodeID {
			continue
		}
		asked.Go(func() {
			got[i], failed[i] = j.config.Peers.Ask(ctx, m.PeerAddress)
			if failed[i] == nil && got[i].NodeID != m.NodeID {
				failed[i] = fmt.Errorf("it is node %s", got[i].NodeID)
			}
		})
	}
	asked.Wait()
	for i, m := range seen {
		switch {
		case failed[i] != nil:
			silent = append(silent, fmt.Sprintf("node %s (%v)", m.NodeID, failed[i]))
		case m.NodeID != j.config.NodeID:
			answers = append(answers, got[i])
		}
	}
	return answers, silent
}

// join asks one after the other: one of them leads, or knows who does.
func (j *Joiner) join(ctx context.Context, seen []gossip.Member) error {
	var failed []string
	for _, m := range seen {
		if m.NodeID == j.config.NodeID {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, joinLimit)
		err := j.config.Peers.Join(asking, m.PeerAddress)
		cancel()
		if err == nil {
			j.config.Logger.Info("the cluster looks for this node here", "by", m.NodeID, "at", j.config.PeerAddress)
			return nil
		}
		failed = append(failed, fmt.Sprintf("node %s: %v", m.NodeID, err))
	}
	return fmt.Errorf("no member adds this node: %s", strings.Join(failed, "; "))
}

// move has the cluster look for this node where it is. Where it looked before nobody may go by this node's id.
func (j *Joiner) move(ctx context.Context) error {
	known := j.config.Node.PeerAddress()
	if known == "" || known == j.config.PeerAddress {
		return nil
	}
	if err := j.meet(ctx, known); err != nil {
		return err
	}
	return j.join(ctx, j.alive())
}
