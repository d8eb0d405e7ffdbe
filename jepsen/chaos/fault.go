package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/lab"
	"github.com/lockstep-dev/lockstep/jepsen/lab/disk"
)

// fault is one way to hurt a cluster. do begins it, lets it last, and ends it; observed says that it had an effect that
// was seen from outside: a fault that nobody met shows nothing.
type fault struct {
	name, what string
	lacks      string // what the lab must have: "network", "disk"
	whole      bool   // it takes the whole cluster: nothing else at the same time
	do         func(ctx context.Context, h *harm) (observed bool, err error)
}

// errBusy says that a fault found no node that another does not have: it was not injected.
var errBusy = errors.New("every node that it could take is taken")

// faults in the order of --list.
var faults = []fault{
	{"kill-leader", "SIGKILL of the leader, started again", "", false, func(ctx context.Context, h *harm) (bool, error) { return h.kill(ctx, h.leading()) }},
	{"kill-follower", "SIGKILL of a follower, started again", "", false, func(ctx context.Context, h *harm) (bool, error) { return h.kill(ctx, h.following()) }},
	{"pause-leader", "SIGSTOP of the leader", "", false, func(ctx context.Context, h *harm) (bool, error) { return h.stop(ctx, h.leading()) }},
	{"pause-follower", "SIGSTOP of a follower", "", false, func(ctx context.Context, h *harm) (bool, error) { return h.stop(ctx, h.following()) }},
	{"transfer", "leadership is handed over", "", false, func(ctx context.Context, h *harm) (bool, error) { return h.transfer(ctx) }},
	{"isolate-leader", "the leader is cut off from the others", "network", false, func(ctx context.Context, h *harm) (bool, error) { return h.isolate(ctx, h.leading(), true, true) }},
	{"isolate-follower", "a follower is cut off from the others", "network", false, func(ctx context.Context, h *harm) (bool, error) { return h.isolate(ctx, h.following(), true, true) }},
	{"mute-leader", "the leader hears and is not heard", "network", false, func(ctx context.Context, h *harm) (bool, error) { return h.isolate(ctx, h.leading(), true, false) }},
	{"deafen-leader", "the leader is heard and does not hear", "network", false, func(ctx context.Context, h *harm) (bool, error) { return h.isolate(ctx, h.leading(), false, true) }},
	{"bridge", "two halves see each other through one node only", "network", false, func(ctx context.Context, h *harm) (bool, error) { return h.bridge(ctx) }},
	{"disk-stall", "the leader's disk stalls", "disk", false, func(ctx context.Context, h *harm) (bool, error) {
		return h.disk(ctx, func(d *disk.Disk) { d.Stall(true) }, func(s disk.Seen) int { return s.Stalled })
	}},
	{"disk-error", "the leader's disk gives EIO", "disk", false, func(ctx context.Context, h *harm) (bool, error) {
		return h.disk(ctx, func(d *disk.Disk) { d.Fail(syscall.EIO) }, func(s disk.Seen) int { return s.Failed })
	}},
	{"disk-full", "the leader's disk is full", "disk", false, func(ctx context.Context, h *harm) (bool, error) {
		return h.disk(ctx, func(d *disk.Disk) { d.Fill(true) }, func(s disk.Seen) int { return s.Full })
	}},
	{"power-one", "a node loses its power, and with it what was not synced", "disk", false, func(ctx context.Context, h *harm) (bool, error) { return h.power(ctx, h.any()) }},
	{"power-all", "all nodes lose their power at once", "disk", true, func(ctx context.Context, h *harm) (bool, error) { return h.power(ctx, h.all()...) }},
	{"kill-all", "SIGKILL of all nodes at once", "", true, func(ctx context.Context, h *harm) (bool, error) { return h.kill(ctx, h.all()...) }},
	{"rolling", "every node is stopped and started, one after the other", "", true, func(ctx context.Context, h *harm) (bool, error) { return h.rolling(ctx) }},
	{"corrupt", "a bit of a follower's log is flipped while it is down; it is replaced", "disk", true, func(ctx context.Context, h *harm) (bool, error) { return h.corrupt(ctx) }},
	{"replace", "a node goes for good, and a new one comes in its place", "disk", true, func(ctx context.Context, h *harm) (bool, error) {
		n := h.following()
		if n == nil {
			return false, errBusy
		}
		return h.replace(ctx, n)
	}},
}

func known(name string) bool {
	return slices.ContainsFunc(faults, func(f fault) bool { return f.name == name })
}

// harm is what one fault may use. Nodes that another fault has are not given out.
type harm struct {
	*world
	chance *rand.Rand
	mine   []*lab.Node
	// lead is the leader that this fault has; struck is when it lost it.
	lead   *lab.Node
	struck time.Duration
}

// strikes says that the nodes are lost from now on, to whoever wants to write.
func (h *harm) strikes(nodes ...*lab.Node) {
	if h.lead != nil && slices.Contains(nodes, h.lead) {
		h.struck = h.history.Now()
	}
}

// take reserves a node for this fault; nil when another has it.
func (h *harm) take(n *lab.Node) *lab.Node {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	if n == nil || h.taken[n] {
		return nil
	}
	h.taken[n] = true
	h.mine = append(h.mine, n)
	return n
}

func (h *harm) giveBack() {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	for _, n := range h.mine {
		delete(h.taken, n)
	}
}

func (h *harm) leading() *lab.Node {
	h.lead = h.take(h.leader())
	return h.lead
}

func (h *harm) following() *lab.Node {
	lead := h.leader()
	for _, i := range h.chance.Perm(len(h.lab.Nodes)) {
		if n := h.lab.Nodes[i]; n != lead {
			if n = h.take(n); n != nil {
				return n
			}
		}
	}
	return nil
}

func (h *harm) any() *lab.Node { return h.take(h.lab.Nodes[h.chance.IntN(len(h.lab.Nodes))]) }

func (h *harm) all() (out []*lab.Node) {
	for _, n := range h.lab.Nodes {
		if n = h.take(n); n != nil {
			out = append(out, n)
		}
	}
	return out
}

// last is how long a fault lasts.
func (h *harm) last(ctx context.Context, least, most time.Duration) {
	pause(ctx, least+time.Duration(h.chance.Int64N(int64(most-least))))
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func given(nodes []*lab.Node) []*lab.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *lab.Node) bool { return n == nil || !n.Running() })
}

func (h *harm) kill(ctx context.Context, nodes ...*lab.Node) (bool, error) {
	if nodes = given(nodes); len(nodes) == 0 {
		return false, errBusy
	}
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			return false, err
		}
	}
	h.strikes(nodes...)
	h.last(ctx, 200*time.Millisecond, 3*time.Second)
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (h *harm) stop(ctx context.Context, n *lab.Node) (bool, error) {
	if n == nil || !n.Running() {
		return false, errBusy
	}
	if err := n.Pause(); err != nil {
		return false, err
	}
	h.strikes(n)
	h.last(ctx, 500*time.Millisecond, 6*time.Second)
	silent := h.status(n) == nil
	return silent, n.Resume()
}

func (h *harm) transfer(ctx context.Context) (bool, error) {
	before := h.leader()
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := h.handOver(asking); err != nil {
		return false, errBusy // somebody else broke the leader meanwhile
	}
	after := h.leader()
	return after != nil && after != before, nil
}

// isolate cuts what a node sends to the others, or what they send to it, or both.
func (h *harm) isolate(ctx context.Context, n *lab.Node, mute, deaf bool) (bool, error) {
	if n == nil {
		return false, errBusy
	}
	var cuts [][2]*lab.Node
	for _, o := range h.lab.Nodes {
		if o != n && mute {
			cuts = append(cuts, [2]*lab.Node{n, o})
		}
		if o != n && deaf {
			cuts = append(cuts, [2]*lab.Node{o, n})
		}
	}
	return h.cut(ctx, cuts, n)
}

// cut cuts, lasts, and joins again what was not cut by another fault already.
func (h *harm) cut(ctx context.Context, cuts [][2]*lab.Node, lost ...*lab.Node) (observed bool, err error) {
	var mine [][2]*lab.Node
	for _, c := range cuts {
		h.world.mu.Lock()
		free := !h.cuts[c]
		h.cuts[c] = true
		h.world.mu.Unlock()
		if free {
			mine = append(mine, c)
			if err := c[0].Cut(ctx, c[1]); err != nil {
				return false, err
			}
		}
	}
	h.strikes(lost...)
	if len(mine) > 0 {
		observed = !mine[0][0].Reaches(ctx, mine[0][1])
	}
	h.last(ctx, time.Second, 6*time.Second)
	for _, c := range mine {
		err = errors.Join(err, c[0].Join(context.WithoutCancel(ctx), c[1]))
		h.world.mu.Lock()
		delete(h.cuts, c)
		h.world.mu.Unlock()
	}
	return observed, err
}

func (h *harm) bridge(ctx context.Context) (bool, error) {
	order := h.chance.Perm(len(h.lab.Nodes))
	var cuts [][2]*lab.Node
	half := (len(order) - 1) / 2
	for _, i := range order[1 : 1+half] {
		for _, j := range order[1+half:] {
			a, b := h.lab.Nodes[i], h.lab.Nodes[j]
			cuts = append(cuts, [2]*lab.Node{a, b}, [2]*lab.Node{b, a})
		}
	}
	return h.cut(ctx, cuts)
}

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
	h.last(ctx, 2*time.Second, 8*time.Second)
	observed := met(n.Disk.Seen()) > before
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

func (h *harm) power(ctx context.Context, nodes ...*lab.Node) (observed bool, err error) {
	if nodes = given(nodes); len(nodes) == 0 {
		return false, errBusy
	}
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			return false, err
		}
	}
	for _, n := range nodes {
		before := n.Disk.Seen().Lost
		keep := func() bool { return h.chance.IntN(2) == 0 }
		if h.chance.IntN(2) == 0 {
			keep = nil
		}
		if err := n.Disk.LosePower(keep); err != nil {
			return false, err
		}
		observed = observed || n.Disk.Seen().Lost > before
	}
	h.last(ctx, 200*time.Millisecond, 2*time.Second)
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			return false, err
		}
	}
	return observed, nil
}

func (h *harm) rolling(ctx context.Context) (bool, error) {
	nodes := given(h.all())
	for _, n := range nodes {
		if err := n.Stop(); err != nil {
			return false, err
		}
		if err := n.Start(); err != nil {
			return false, err
		}
		if err := h.ready(ctx, n, 30*time.Second); err != nil {
			return false, err
		}
	}
	return len(nodes) > 0, nil
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
	at := chance.IntN(len(b))
	for b[at] == 0 { // most of the file has never been used
		at = (at + 1) % len(b)
	}
	b[at] ^= 1 << chance.IntN(8)
	return os.WriteFile(path, b, 0o600)
}

// replace takes a node's disk away: what comes back is a new node, and the old one is removed from the members.
func (h *harm) replace(ctx context.Context, n *lab.Node) (bool, error) {
	old := h.id(n)
	if err := h.lab.Wipe(n); err != nil {
		return false, err
	}
	limit, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if err := h.removeMember(limit, old); err != nil {
		return false, fmt.Errorf("remove the member that is gone, %s: %w", old, err)
	}
	if err := h.ready(limit, n, 60*time.Second); err != nil {
		return false, err
	}
	return h.voter(limit, n)
}
