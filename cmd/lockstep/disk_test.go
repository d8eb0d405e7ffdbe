package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/jepsen/lab/disk"
	"github.com/lockstep-dev/lockstep/jepsen/require"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

var (
	diskLong = flag.Bool("disk.long", false, "losses of power on 3 and on 5 nodes, ten times each, and disks that come back")
	diskSeed = flag.Uint64("disk.seed", 1, "which pages of lost writes stay")
)

// onDisks is a cluster each of whose nodes has a disk of its own, which can be hurt.
func onDisks(t *testing.T, size int) (*hurt, []*disk.Disk) {
	t.Helper()
	h := createHurt(t, size)
	var disks []*disk.Disk
	for _, n := range h.Nodes {
		at := h.Data(n.Number)
		back := at + ".back"
		if err := errors.Join(os.Mkdir(at, 0o700), os.Mkdir(back, 0o700)); err != nil {
			t.Fatal(err)
		}
		d, err := disk.Mount(back, at)
		if errors.Is(err, disk.ErrNotHere) {
			require.Missing(t, "fuse", err.Error())
		}
		if err != nil {
			t.Fatal(err)
		}
		disks = append(disks, d)
	}
	// The processes end before their disks do, and cannot while one stalls.
	t.Cleanup(func() {
		for i, d := range disks {
			d.Heal()
			if h.Running(i + 1) {
				h.kill(i + 1)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	for _, n := range h.Nodes {
		h.start(n.Number)
	}
	return h, disks
}

// All nodes lose their power at once, with everything that was not synced, again and again: what was acknowledged is
// there. This is S3.
func TestALossOfPowerLosesNothingAcknowledged(t *testing.T) {
	sizes, rounds := []int{3}, 2
	if *diskLong {
		sizes, rounds = []int{3, 5}, 10
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size, " nodes"), func(t *testing.T) {
			h, disks := onDisks(t, size)
			h.leader()
			c := &cli{servers: h.APIs()}
			if _, err := c.registerSource(t.Context(), []byte("workflow: w\nsteps: {a: {queue: q}}\n"), 0); err != nil {
				t.Fatal(err)
			}
			chance := rand.New(rand.NewPCG(*diskSeed, 0))
			var all []*writer
			for round := range rounds {
				ctx, stop := context.WithCancel(t.Context())
				writers, total := h.write(ctx, fmt.Sprint("round-", round, "-"), 0)
				all = append(all, writers...)
				h.until("writing", func() bool { return total() > 1000 })
				for _, n := range h.Nodes {
					h.kill(n.Number)
				}
				stop()
				h.tasks.Wait()
				lost := 0
				for i, d := range disks {
					before := d.Seen().Lost
					keep := func() bool { return chance.IntN(2) == 0 }
					if round%2 == 0 {
						keep = nil
					}
					if err := d.LosePower(keep); err != nil {
						t.Fatal(err)
					}
					lost += d.Seen().Lost - before
					h.start(i + 1)
				}
				h.leader()
				h.nothingIsLost(c, all)
				t.Logf("round %d: %d acknowledged writes are there; the disks lost %d changes that were not synced", round+1, total(), lost)
				if lost == 0 {
					t.Error("the disks lost nothing: this round shows nothing")
				}
			}
		})
	}
}

// The leader's disk stalls, fails or fills up: another leads within 10 s, nothing acknowledged is lost, a lease that is
// renewed lives on, one that is not ends in time, and the node is not elected while its disk is bad.
func TestALeaderWithABadDisk(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		hurt, heal func(*disk.Disk)
		met        func(disk.Seen) int
		holds      bool // even SIGKILL waits for the disk
	}{
		"stalls":  {func(d *disk.Disk) { d.Stall(true) }, func(d *disk.Disk) { d.Stall(false) }, func(s disk.Seen) int { return s.Stalled }, true},
		"fails":   {func(d *disk.Disk) { d.Fail(syscall.EIO) }, func(d *disk.Disk) { d.Fail(0) }, func(s disk.Seen) int { return s.Failed }, false},
		"is full": {func(d *disk.Disk) { d.Fill(true) }, func(d *disk.Disk) { d.Fill(false) }, func(s disk.Seen) int { return s.Full }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, disks := onDisks(t, 3)
			ctx, stop := context.WithCancel(t.Context())
			defer h.tasks.Wait()
			defer stop()
			lead := h.leader()
			c := &cli{servers: h.APIs()}
			if _, err := c.registerSource(t.Context(), []byte("workflow: w\nsteps: {a: {queue: q}}\n"), 0); err != nil {
				t.Fatal(err)
			}
			p := h.pulse(ctx)
			live, silent, changes := h.lease("live", 3*time.Second), h.lease("silent", 3*time.Second), h.since()
			h.keep(ctx, live)
			writers, total := h.write(ctx, "w", 25*time.Millisecond) // the fault is what is tested, not saturation
			h.until("writing", func() bool { return total() > 500 })
			bad := disks[lead-1]
			hurt := time.Now()
			x.hurt(bad)
			h.hangs.Store(int32(lead))
			h.until("another leads", func() bool { return h.leader() != lead })
			h.until("writing goes on", h.more(total, 100))
			outage, longest := p.outage(hurt, time.Now())
			t.Logf("another led and wrote %s after the disk; nothing was acknowledged for %s, %s in one", time.Since(hurt).Round(time.Millisecond), outage.Round(time.Millisecond), longest.Round(time.Millisecond))
			if longest > 10*time.Second {
				t.Errorf("nothing was acknowledged for %s", longest)
			}
			h.end(silent, p, changes)
			h.stillHeld(live)
			if x.holds {
				x.heal(bad)
			}
			h.until("the node with the bad disk ends", func() bool { return !h.Running(lead) })
			term := h.term()
			h.start(lead) // as whoever supervises it would
			h.hangs.Store(0)
			h.until("it is back, or says that it waits", func() bool {
				return h.logged(lead, "disk has been well for a while") || h.logged(lead, "once it has been for a while") || x.holds && h.follows(lead)
			})
			if now := h.leader(); now == lead || h.term() != term {
				t.Errorf("node %d leads in term %d; node %d has the bad disk and the term was %d", now, h.term(), lead, term)
			}
			if x.met(bad.Seen()) == 0 {
				t.Errorf("nothing met the fault: %+v", bad.Seen())
			}
			x.heal(bad)
			if *diskLong {
				h.until("the node is back", func() bool { return h.follows(lead) })
			}
			stop()
			h.tasks.Wait()
			h.nothingIsLost(c, writers)
		})
	}
}

// The leader's disk stalls for longer than a lease, with its renewals in the queue, and goes on before anybody else
// leads: the time that passed counts, and the renewals come before it.
func TestRenewalsThatAStalledDiskHeldUp(t *testing.T) {
	t.Parallel()
	h, disks := onDisks(t, 3)
	lead := h.leader()
	ctx, stop := context.WithCancel(t.Context())
	defer h.tasks.Wait()
	defer stop()
	p := h.pulse(ctx)
	live, silent, changes := h.lease("live", 1500*time.Millisecond), h.lease("silent", 1500*time.Millisecond), h.since()
	h.keep(ctx, live)
	const stall = 2500 * time.Millisecond
	disks[lead-1].Stall(true)
	healed := make(chan time.Time, 1)
	time.AfterFunc(stall, func() { disks[lead-1].Stall(false); healed <- time.Now() })
	h.end(silent, p, changes)
	// The leader ran, and counted: the lease, whose time was over long before, ends as soon as it can write again.
	if late := time.Since(<-healed); late > time.Second {
		t.Errorf("the lease ended %s after the disk went on: its time had passed while it stalled", late)
	}
	h.stillHeld(live)
	if n := changes(); n != 0 {
		t.Errorf("leadership changed %d times: the renewals did not wait for this disk", n)
	}
	if disks[lead-1].Seen().Stalled == 0 {
		t.Error("nothing met the stall")
	}
}

// follows says whether a node answers as a follower that knows its leader.
func (h *hurt) follows(number int) bool {
	ctx, cancel := context.WithTimeout(h.t.Context(), 500*time.Millisecond)
	defer cancel()
	res, err := h.services(number-1).cluster.GetStatus(ctx, connect.NewRequest(&v1.GetStatusRequest{}))
	return err == nil && res.Msg.Groups[0].State == "Follower" && res.Msg.Groups[0].LeaderId != ""
}

// logged says whether a node's log has a text.
func (h *hurt) logged(number int, text string) bool {
	log, err := os.ReadFile(h.Log(number))
	return err == nil && strings.Contains(string(log), text)
}
