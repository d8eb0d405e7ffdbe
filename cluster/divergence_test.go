package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/lockstep-dev/lockstep/fsm"
)

// ballots are checkpoints as a test writes them: "5a 6b" is digest a at entry 5 and b at entry 6.
func ballots(text string) (out []fsm.Checkpoint) {
	for _, word := range strings.Fields(text) {
		c := fsm.Checkpoint{}
		var digest string
		if _, err := fmt.Sscanf(word, "%d%s", &c.Index, &digest); err != nil {
			panic(err)
		}
		c.Digest = []byte(digest)
		out = append(out, c)
	}
	return out
}

func TestWhoIsJudged(t *testing.T) {
	for _, x := range []struct {
		what, voters, own string
		heard             map[string]string
		at, later         string // nothing, outvoted or none, at once and when patience has ended
		settled           uint64
	}{
		{what: "all agree", voters: "a b c", own: "5x 6y", heard: map[string]string{"b": "5x 6y", "c": "5x 6y"}, settled: 6},
		{what: "nobody was heard", voters: "a b c", own: "5x"},
		{what: "a majority agrees, one is gone", voters: "a b c", own: "5x", heard: map[string]string{"b": "5x"}},
		{what: "the other differs from a majority", voters: "a b c", own: "5x", heard: map[string]string{"b": "5x", "c": "5z"}},
		{what: "a majority differs", voters: "a b c", own: "5x", heard: map[string]string{"b": "5z", "c": "5z"}, at: "outvoted"},
		{what: "a majority differs at an older entry", voters: "a b c", own: "5x 6y 7y", heard: map[string]string{"b": "4w 5z", "c": "5z 6z"}, at: "outvoted"},
		{what: "it lags", voters: "a b c", own: "5x", heard: map[string]string{"b": "6z 7z", "c": "6z 7z"}},
		{what: "the others lag", voters: "a b c", own: "6x 7x", heard: map[string]string{"b": "5z", "c": "4z 5z"}},
		{what: "nothing is known of itself", voters: "a b c", heard: map[string]string{"b": "5z", "c": "5z"}},
		{what: "all differ", voters: "a b c", own: "5x", heard: map[string]string{"b": "5y", "c": "5z"}, at: "none"},
		{what: "two of two differ", voters: "a b", own: "5x", heard: map[string]string{"b": "5y"}, at: "none"},
		{what: "the third decides", voters: "a b c", own: "5x", heard: map[string]string{"b": "5y"}, later: "none"},
		{what: "the third decides, all agreed before", voters: "a b c", own: "4w 5x", heard: map[string]string{"b": "4w 5y", "c": "4w"}, later: "none"},
		{what: "two and two of four", voters: "a b c d", own: "5x", heard: map[string]string{"b": "5x", "c": "5y", "d": "5y"}, at: "none"},
		{what: "two, two and one of five", voters: "a b c d e", own: "5x", heard: map[string]string{"b": "5x", "c": "5y", "d": "5y", "e": "5z"}, at: "none"},
		{what: "three of five", voters: "a b c d e", own: "5x", heard: map[string]string{"b": "5x", "c": "5x", "d": "5y", "e": "5z"}},
		{what: "three of five differ", voters: "a b c d e", own: "5x", heard: map[string]string{"b": "5x", "c": "5y", "d": "5y", "e": "5y"}, at: "outvoted"},
		{what: "one that does not vote agrees", voters: "b c", own: "5x", heard: map[string]string{"b": "5x", "c": "5x"}, settled: 5},
		{what: "one that does not vote differs", voters: "b c", own: "5x", heard: map[string]string{"b": "5z", "c": "5z"}, at: "outvoted"},
		{what: "who does not vote has no say", voters: "a b", own: "5x", heard: map[string]string{"b": "5x", "c": "5z", "d": "5z"}, settled: 5},
		{what: "alone", voters: "a", own: "5x", settled: 5},
		{what: "no configuration is known", own: "5x", heard: map[string]string{"b": "5z", "c": "5z"}},
	} {
		t.Run(x.what, func(t *testing.T) {
			c := comparison{self: "a", patience: time.Minute, heard: map[string][]fsm.Checkpoint{}}
			for id, text := range x.heard {
				c.heard[id] = ballots(text)
			}
			now := time.Unix(1, 0)
			verdict := func(now time.Time) string {
				switch d := c.judge(ballots(x.own), strings.Fields(x.voters), now); {
				case d == nil:
					return ""
				case d.outvoted:
					return "outvoted"
				}
				return "none"
			}
			if got := verdict(now); got != x.at {
				t.Errorf("judged %q, want %q", got, x.at)
			}
			if c.settled != x.settled {
				t.Errorf("settled at %d, want %d", c.settled, x.settled)
			}
			if got := verdict(now.Add(59 * time.Second)); got != x.at {
				t.Errorf("judged %q before patience ends, want %q", got, x.at)
			}
			later := x.later
			if later == "" {
				later = x.at
			}
			if got := verdict(now.Add(time.Minute)); got != later {
				t.Errorf("judged %q when patience ends, want %q", got, later)
			}
		})
	}
}

// Patience begins anew when the digests that differed were decided on.
func TestPatienceBeginsAnew(t *testing.T) {
	c := comparison{self: "a", patience: time.Minute, heard: map[string][]fsm.Checkpoint{"b": ballots("5y")}}
	own, voters, now := ballots("5x"), []string{"a", "b", "c"}, time.Unix(1, 0)
	c.judge(own, voters, now)
	c.heard["c"] = ballots("5x")
	c.judge(own, voters, now.Add(30*time.Second))
	own, c.heard = ballots("5x 6x"), map[string][]fsm.Checkpoint{"b": ballots("6y")}
	if d := c.judge(own, voters, now.Add(70*time.Second)); d != nil {
		t.Fatalf("judged at once: %v", d)
	}
	if d := c.judge(own, voters, now.Add(130*time.Second)); d == nil {
		t.Fatal("never judged")
	}
}

// A node whose state has diverged ends, and does not start from that state again: whoever starts it by itself must not
// have it served until it is found out once more.
func TestADivergedStateIsNotStartedAgain(t *testing.T) {
	dir := t.TempDir()
	_, transport := raft.NewInmemTransport("peer0")
	config := Config{DataDir: dir, NodeID: "n0", Transport: func(string) raft.Transport { return transport }}
	n, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	d := &divergence{self: n.ID(), dir: dir, index: 1024, own: []byte{1}, voters: 3, outvoted: true}
	d.differ("b", []byte{2})
	d.differ("c", []byte{2})
	n.fail(d)
	<-n.Done()
	if err := n.Close(); !errors.Is(err, d) {
		t.Fatalf("it ends with %v", err)
	}
	if _, err := n.Exchange([]byte("{}")); !errors.Is(err, d) {
		t.Errorf("it answers others with %v", err)
	}
	_ = n.unlock() // as the end of the process does
	if err := AwaitDisk(t.Context(), dir, hclog.NewNullLogger()); err != nil {
		t.Errorf("its disk is blamed: %v", err)
	}
	_, err = Open(config)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, divergedFile)) || !strings.Contains(err.Error(), d.Error()) {
		t.Fatalf("opened again: %v", err)
	}
}
