package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lockstep-dev/lockstep/fsm"
)

// comparison is what a node knows of the checkpoints of all voters. Replicas of one log have one digest at a checkpoint,
// and a digest tells all before it, so one index that two of them have decides. A node is judged only by checkpoints of
// its own: one that lags is not, until it gets there. It has no clock and asks nobody.
type comparison struct {
	self     string
	dir      string                      // told to people
	patience time.Duration               // how long voters that are missing may yet decide
	heard    map[string][]fsm.Checkpoint // what the others answered last; who is gone has voted all the same
	open     time.Time                   // since when digests differ and those that are missing decide; zero: they do not
	settled  uint64                      // the newest checkpoint at which every voter agreed
}

// missing are the voters who have not told their digest at the newest checkpoint; none once that is settled.
func (c *comparison) missing(own []fsm.Checkpoint, voters []string) (ask []string) {
	if len(own) == 0 || own[len(own)-1].Index == c.settled {
		return nil
	}
	for _, voter := range voters {
		if voter != c.self && c.digest(voter, own, len(own)-1) == nil {
			ask = append(ask, voter)
		}
	}
	return ask
}

// digest is what a voter has at own checkpoint i; nil when it has not told.
func (c *comparison) digest(voter string, own []fsm.Checkpoint, i int) []byte {
	if voter == c.self {
		return own[i].Digest
	}
	for _, at := range c.heard[voter] {
		if at.Index == own[i].Index {
			return at.Digest
		}
	}
	return nil
}

// judge returns why this node must stop; nil while it may go on.
func (c *comparison) judge(own []fsm.Checkpoint, voters []string, now time.Time) *divergence {
	if len(voters) == 0 {
		return nil
	}
	majority, open := len(voters)/2+1, (*divergence)(nil)
	for i := len(own) - 1; i >= 0; i-- {
		d := &divergence{self: c.self, dir: c.dir, index: own[i].Index, own: own[i].Digest, voters: len(voters)}
		agree, unknown := 0, 0
		for _, voter := range voters {
			switch digest := c.digest(voter, own, i); {
			case digest == nil:
				unknown++
			case bytes.Equal(digest, own[i].Digest):
				agree++
			default:
				d.differ(voter, digest)
			}
		}
		switch {
		case d.most() >= majority:
			d.outvoted = true
			return d
		case agree >= majority:
			if unknown == 0 && len(d.others) == 0 && i == len(own)-1 {
				c.settled = d.index
			}
			return c.wait(open, now)
		case len(d.others) == 0:
		case max(agree, d.most())+unknown < majority:
			return d
		case open == nil:
			open = d
		}
	}
	return c.wait(open, now)
}

// wait gives those who are missing time to decide between digests that differ.
func (c *comparison) wait(open *divergence, now time.Time) *divergence {
	switch {
	case open == nil:
		c.open = time.Time{}
	case c.open.IsZero():
		c.open = now
	case now.Sub(c.open) >= c.patience:
		return open
	}
	return nil
}

// divergence is a node's end: the digest of its state is not that of a majority of voters, or none has a majority.
type divergence struct {
	self, dir string
	index     uint64
	own       []byte
	voters    int
	outvoted  bool // a majority has another
	others    []dissent
}

// dissent are voters with another digest.
type dissent struct {
	digest []byte
	voters []string
}

func (d *divergence) differ(voter string, digest []byte) {
	for i := range d.others {
		if bytes.Equal(d.others[i].digest, digest) {
			d.others[i].voters = append(d.others[i].voters, voter)
			return
		}
	}
	d.others = append(d.others, dissent{digest, []string{voter}})
}

// most is how many voters have the other digest that has the most.
func (d *divergence) most() (n int) {
	for _, o := range d.others {
		n = max(n, len(o.voters))
	}
	return n
}

func (d *divergence) Error() string {
	var others []string
	for _, o := range d.others {
		others = append(others, fmt.Sprintf("%s of %d voters (%s) have %x", fmt.Sprint(len(o.voters)), d.voters, strings.Join(o.voters, ", "), o.digest))
	}
	text := fmt.Sprintf("at entry %d it has digest %x, and %s", d.index, d.own, strings.Join(others, "; "))
	if d.outvoted {
		return "the state of this node has diverged from that of a majority: " + text + ". What it has is not to be served. Remove the node from the cluster (lockstep member remove " +
			d.self + "), remove its data directory " + d.dir + ", and start it: it comes back from the others"
	}
	return "the states of the voters have diverged, and no majority agrees: " + text + ". All stop serving, for nobody can say whose state is right. Keep every data directory, and find out " +
		"what made them differ. When it is known whose state is right, remove " + filepath.Join(d.dir, divergedFile) + " if it is this node's, and recover that node alone (lockstep member recover)"
}

// divergedFile in a data directory says that its state is not to be served, and why.
const divergedFile = "DIVERGED"

// refuseDiverged refuses a directory whose state has diverged: a node that is started again by itself must not serve it
// until it is found out once more.
func refuseDiverged(dir string) error {
	path := filepath.Join(dir, divergedFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a mark of divergence: %w", err)
	}
	return fmt.Errorf("this node stopped before, and does not start from the same state (%s says so): %s", path, strings.TrimSpace(string(b)))
}
