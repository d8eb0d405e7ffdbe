package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/lab"
	"github.com/lockstep-dev/lockstep/jepsen/lab/disk"
)

// disk hurts the leader's disk. Its process ends by itself, or does when the disk lets it; it is started again as
// whoever supervises it would.
func (h *harm) disk(ctx context.Context, hurt func(*disk.Disk), met func(disk.Seen) int) (bool, error) {
	n := h.leading()
	if n == nil || !n.Running() {
		return false, errBusy
	}
	before := met(n.Disk.Seen())
	hurt(n.Disk)
	h.strikes(n)
	observed := h.until(ctx, 2*time.Second, 8*time.Second, func() bool { return met(n.Disk.Seen()) > before })
	n.Disk.Heal()
	return observed, h.restartIfEnded(ctx, n)
}

// restartIfEnded starts a node whose process ended by itself; it may be about to.
func (h *harm) restartIfEnded(ctx context.Context, n *lab.Node) error {
	pause(ctx, 500*time.Millisecond)
	if n.Running() && h.status(n) != nil {
		return nil
	}
	for range 100 {
		if !n.Running() {
			return n.Start()
		}
		if h.status(n) != nil {
			return nil
		}
		pause(ctx, 100*time.Millisecond)
	}
	return nil
}

// power has nodes lose what was not synced, at any moment. A loss of power that took nothing shows nothing: they lose it
// again, while they write.
func (h *harm) power(ctx context.Context, nodes ...*lab.Node) (observed bool, err error) {
	var within time.Duration
	for range 5 {
		if observed, err = h.powerOnce(ctx, within, nodes...); observed || err != nil {
			break
		}
		for _, n := range given(nodes) {
			if err := h.ready(ctx, n, 30*time.Second); err != nil {
				return false, err
			}
		}
		within = 2 * time.Second // a leader that cannot sync for longer ends by itself
	}
	return observed, err
}

func (h *harm) powerOnce(ctx context.Context, within time.Duration, nodes ...*lab.Node) (lost bool, err error) {
	if nodes = given(nodes); len(nodes) == 0 {
		return false, errBusy
	}
	keep := func() bool { return h.chance.IntN(2) == 0 }
	if h.chance.IntN(2) == 0 {
		keep = nil
	}
	if lost, err = lab.LosePower(ctx, within, keep, nodes...); err != nil {
		return lost, err
	}
	h.last(ctx, 200*time.Millisecond, 2*time.Second)
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			return false, err
		}
	}
	return lost, nil
}

func (h *harm) corrupt(ctx context.Context) (bool, error) {
	n := h.following()
	if n == nil || !n.Running() {
		return false, errBusy
	}
	// A bit in a file that is removed at the start damages nothing: then the node is well, and the next bit has its turn.
	for range 10 {
		if err := n.Kill(); err != nil {
			return false, err
		}
		// Without the mount, whose pages the kernel keeps.
		if err := n.Disk.LosePower(nil); err != nil {
			return false, err
		}
		if err := flip(n.Data()+"/groups/0/log", h.chance); err != nil {
			return false, err
		}
		said := len(n.Log())
		if err := n.Start(); err != nil {
			return false, err
		}
		for limit := time.Now().Add(20 * time.Second); n.Running() && h.status(n) == nil && time.Now().Before(limit); {
			pause(ctx, 20*time.Millisecond)
		}
		if n.Running() {
			continue
		}
		if !strings.Contains(n.Log()[said:], "damaged") {
			return false, fmt.Errorf("node %d with a flipped bit ended without saying that it is damaged: %s", n.Number, n.Log()[said:])
		}
		return h.replace(ctx, n)
	}
	return false, nil
}

// flip flips a bit somewhere in what a file of a log holds.
func flip(dir string, chance *rand.Rand) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(paths) == 0 {
		return errors.Join(err, fmt.Errorf("%s has no log", dir))
	}
	path := paths[chance.IntN(len(paths))]
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(bytes.Trim(b, "\x00")) == 0 {
		return nil // nothing was written yet
	}
	at := chance.IntN(len(b))
	for b[at] == 0 { // most of the file has never been used
		at = (at + 1) % len(b)
	}
	b[at] ^= 1 << chance.IntN(8)
	return os.WriteFile(path, b, 0o600)
}

// slow has disks take long for everything, and never so long that they stall. Other faults may have the nodes meanwhile.
func (h *harm) slow(ctx context.Context, nodes ...*lab.Node) (bool, error) {
	var disks []*disk.Disk // a node that is replaced meanwhile has another
	for _, n := range nodes {
		disks = append(disks, n.Disk)
	}
	seen := func() (n int) {
		for _, d := range disks {
			n += d.Seen().Slowed
		}
		return n
	}
	before := seen()
	by := h.between(20*time.Millisecond, 150*time.Millisecond)
	for _, d := range disks {
		d.Slow(by)
	}
	observed := h.until(ctx, 3*time.Second, 8*time.Second, func() bool { return seen() > before })
	for _, d := range disks {
		d.Slow(0)
	}
	return observed, nil
}

func (h *harm) slowLeader(ctx context.Context) (bool, error) {
	lead := h.leader()
	if lead == nil {
		return false, errBusy
	}
	return h.slow(ctx, lead)
}

func (h *harm) slowFollowers(ctx context.Context) (bool, error) {
	lead := h.leader()
	if lead == nil {
		return false, errBusy
	}
	return h.slow(ctx, h.others(lead)...)
}

// muteWhileSlow cuts off what a leader says while the others' disks are slow: they have what it acknowledges, and do not
// know that it is committed until one of them leads and has an entry of its own on a majority's disks.
func (h *harm) muteWhileSlow(ctx context.Context) (observed bool, err error) {
	n := h.leading()
	if n == nil || n.Disk == nil {
		return false, errBusy
	}
	var slow sync.WaitGroup
	slow.Go(func() { observed, err = h.slow(ctx, h.others(n)...) })
	pause(ctx, 500*time.Millisecond)
	muted, cut := h.isolate(ctx, n, true, false)
	slow.Wait()
	return observed && muted, errors.Join(err, cut)
}

func (h *harm) others(than *lab.Node) []*lab.Node {
	return slices.DeleteFunc(slices.Clone(h.lab.Nodes), func(n *lab.Node) bool { return n == than })
}

// lag keeps a follower away until the others have cut from their logs what it lacks: it comes back by a snapshot, while
// everybody works.
func (h *harm) lag(ctx context.Context) (bool, error) {
	n := h.following()
	if n == nil || !n.Running() {
		return false, errBusy
	}
	s := h.status(n)
	if s == nil {
		return false, errBusy
	}
	if h.alone {
		began := h.history.Now()
		h.last(ctx, 3*time.Second, 4*time.Second)
		h.report.tookAll(rest, h.pulse.took(began, h.history.Now()))
	}
	if err := n.Kill(); err != nil {
		return false, err
	}
	// The other that is needed for a majority may have left for its disk's sake, and stays away until that was well for 30 s.
	away, cancel := context.WithTimeout(ctx, 100*time.Second)
	defer cancel()
	cut := false // what it lacks is in no log any more, so only a snapshot brings it back
	h.load(away, func() bool {
		if lead := h.leader(); lead != nil {
			t := h.status(lead)
			cut = t != nil && t.FirstLogIndex > s.LastLogIndex+1
		}
		return cut
	})
	if err := n.Start(); err != nil {
		return false, err
	}
	began := h.history.Now()
	if err := h.ready(ctx, n, 60*time.Second); err != nil {
		return false, err
	}
	h.report.took(catchUp, h.history.Now()-began)
	if h.alone && cut {
		h.report.tookAll(beside, h.pulse.took(began, h.history.Now()))
	}
	return cut, nil
}

// load fills the log until it is enough.
func (h *harm) load(ctx context.Context, enough func() bool) {
	big := strings.Repeat("x", 32<<10)
	for n := 0; ctx.Err() == nil; n++ {
		if n%8 == 0 && enough() {
			return
		}
		calling, cancel := context.WithTimeout(ctx, time.Second)
		_, _ = h.client.Signal(calling, "pulse", "load", fmt.Sprint(n), big, client.SignalOptions{}) // refused by the log, for want of the instance
		cancel()
	}
}
