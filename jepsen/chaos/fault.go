package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
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
	takes      bool   // it takes a member for good, or until the others have done much: one at a time, or no majority is left
	do         func(ctx context.Context, h *harm) (observed bool, err error)
}

// errBusy says that a fault found no node that another does not have: it was not injected.
var errBusy = errors.New("every node that it could take is taken")

// faults in the order of --list.
var faults = []fault{
	{"kill-leader", "SIGKILL of the leader, started again", "", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.kill(ctx, h.leading()) }},
	{"kill-follower", "SIGKILL of a follower, started again", "", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.kill(ctx, h.following()) }},
	{"pause-leader", "SIGSTOP of the leader", "", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.stop(ctx, h.leading()) }},
	{"pause-follower", "SIGSTOP of a follower", "", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.stop(ctx, h.following()) }},
	{"transfer", "leadership is handed over", "", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.transfer(ctx) }},
	{"isolate-leader", "the leader is cut off from the others", "network", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.isolate(ctx, h.leading(), true, true) }},
	{"isolate-follower", "a follower is cut off from the others", "network", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.isolate(ctx, h.following(), true, true) }},
	{"mute-leader", "the leader hears and is not heard", "network", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.isolate(ctx, h.leading(), true, false) }},
	{"deafen-leader", "the leader is heard and does not hear", "network", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.isolate(ctx, h.leading(), false, true) }},
	{"bridge", "two halves see each other through one node only", "network", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.bridge(ctx) }},
	{"wires-slow", "every packet between nodes is late, and some overtake others", "wire", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.slowWires(ctx) }},
	{"wires-lossy", "packets between nodes are lost, or arrive twice", "wire", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.lossyWires(ctx) }},
	{"wires-slow-leader", "what the leader says and hears is late", "wire", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.slowLeaderWires(ctx) }},
	{"pause-slow-leader", "SIGSTOP of the leader, to which answers are on their way that reach it when others have led", "wire", false, true, func(ctx context.Context, h *harm) (bool, error) { return h.pauseSlowLeader(ctx) }},
	{"disk-stall", "the leader's disk stalls", "disk", false, false, func(ctx context.Context, h *harm) (bool, error) {
		return h.disk(ctx, func(d *disk.Disk) { d.Stall(true) }, func(s disk.Seen) int { return s.Stalled })
	}},
	{"disk-error", "the leader's disk gives EIO", "disk", false, false, func(ctx context.Context, h *harm) (bool, error) {
		return h.disk(ctx, func(d *disk.Disk) { d.Fail(syscall.EIO) }, func(s disk.Seen) int { return s.Failed })
	}},
	{"disk-full", "the leader's disk is full", "disk", false, false, func(ctx context.Context, h *harm) (bool, error) {
		return h.disk(ctx, func(d *disk.Disk) { d.Fill(true) }, func(s disk.Seen) int { return s.Full })
	}},
	{"disk-slow-leader", "the leader's disk is slow, and does not stall", "disk", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.slowLeader(ctx) }},
	{"disks-slow-followers", "the followers' disks are slow, and do not stall", "disk", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.slowFollowers(ctx) }},
	{"disks-slow", "every disk is slow, and does not stall", "disk", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.slow(ctx, h.lab.Nodes...) }},
	{"mute-leader-slow-disks", "the leader is not heard any more, while the others' disks are slow: what it acknowledges they may not know yet", "network", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.muteWhileSlow(ctx) }},
	{"clock-step", "a node's wall clock is set to another time, and back", "clock", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.clockStep(ctx) }},
	{"clock-rate", "a node's wall clock runs too fast or too slow", "clock", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.clockRate(ctx) }},
	{"power-one", "a node takes its power, and with it what was not synced", "disk", false, false, func(ctx context.Context, h *harm) (bool, error) { return h.power(ctx, h.any()) }},
	{"power-all", "all nodes lose their power at once", "disk", true, false, func(ctx context.Context, h *harm) (bool, error) { return h.power(ctx, h.all()...) }},
	{"kill-all", "SIGKILL of all nodes at once", "", true, false, func(ctx context.Context, h *harm) (bool, error) { return h.kill(ctx, h.all()...) }},
	{"rolling", "every node is stopped and started, one after the other", "", true, false, func(ctx context.Context, h *harm) (bool, error) { return h.rolling(ctx) }},
	{"corrupt", "a bit of a follower's log is flipped while it is down; it is replaced", "disk", true, true, func(ctx context.Context, h *harm) (bool, error) { return h.corrupt(ctx) }},
	{"lag", "a follower is away until it must be sent a snapshot", "", false, true, func(ctx context.Context, h *harm) (bool, error) { return h.lag(ctx) }},
	{"remove", "a member that is well is removed, and comes back as a new one", "", false, true, func(ctx context.Context, h *harm) (bool, error) { return h.remove(ctx) }},
	{"replace", "a node goes for good, and a new one comes in its place", "", false, true, func(ctx context.Context, h *harm) (bool, error) {
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
	alone  bool // no other fault goes on
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

// longest is how much longer than it was drawn a fault lasts, for want of an effect.
const longest = 20 * time.Second

// until has a fault last, and then go on until it had its effect, which is bound to come while there is work: one that
// met nobody shows nothing. It says whether it had.
func (h *harm) until(ctx context.Context, least, most time.Duration, met func() bool) bool {
	h.last(ctx, least, most)
	for limit := time.Now().Add(longest); !met(); pause(ctx, 50*time.Millisecond) {
		if ctx.Err() != nil || time.Now().After(limit) {
			return false
		}
	}
	return true
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
