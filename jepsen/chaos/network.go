package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/lab"
)

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
	if len(mine) == 0 {
		return false, errBusy
	}
	h.strikes(lost...)
	observed = !mine[0][0].Reaches(ctx, mine[0][1])
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

// wire has packets take bad wires from and to the nodes that are given, or everywhere, for a while and until they met
// what is bad; meanwhile does what goes with it.
func (h *harm) wire(ctx context.Context, wire lab.Wire, met func(lab.Carried) bool, meanwhile func() error, nodes ...*lab.Node) (observed bool, err error) {
	var mine [][2]*lab.Node
	for _, from := range h.lab.Nodes {
		for _, to := range h.lab.Nodes {
			pair := [2]*lab.Node{from, to}
			if from == to || len(nodes) > 0 && !slices.Contains(nodes, from) && !slices.Contains(nodes, to) || !h.takeWire(pair) {
				continue
			}
			mine = append(mine, pair)
			if err := from.Wire(ctx, to, wire); err != nil {
				return false, err
			}
		}
	}
	if len(mine) == 0 {
		return false, errBusy
	}
	err = meanwhile()
	observed = h.until(ctx, 0, 1, func() bool { return met(carried(mine)) })
	for _, pair := range mine {
		err = errors.Join(err, pair[0].Unwire(context.WithoutCancel(ctx), pair[1]))
		h.giveWire(pair)
	}
	return observed, err
}

// carried is what wires did since they are as they are.
func carried(pairs [][2]*lab.Node) (sum lab.Carried) {
	for _, pair := range pairs {
		sum = sum.Plus(pair[0].Carried(pair[1]))
	}
	return sum
}

func (h *harm) takeWire(pair [2]*lab.Node) bool {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	if h.wired[pair] {
		return false
	}
	h.wired[pair] = true
	return true
}

func (h *harm) giveWire(pair [2]*lab.Node) {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	delete(h.wired, pair)
}

// between draws a time.
func (h *harm) between(least, most time.Duration) time.Duration {
	return least + time.Duration(h.chance.Int64N(int64(most-least)))
}

func (h *harm) slowWires(ctx context.Context) (bool, error) {
	wire := lab.Wire{Delay: h.between(5*time.Millisecond, 100*time.Millisecond)}
	wire.Jitter = h.between(wire.Delay/4, wire.Delay)
	return h.wire(ctx, wire, func(c lab.Carried) bool { return c.Delayed > 0 && c.Overtaken > 0 }, h.lasts(ctx))
}

func (h *harm) lossyWires(ctx context.Context) (bool, error) {
	wire := lab.Wire{Loss: 0.02 + 0.18*h.chance.Float64(), Twice: 0.05}
	return h.wire(ctx, wire, func(c lab.Carried) bool { return c.Lost > 0 && c.Twice > 0 }, h.lasts(ctx))
}

// slowLeaderWires has everything late that the leader says and hears: by up to more than an election.
func (h *harm) slowLeaderWires(ctx context.Context) (bool, error) {
	n := h.leader()
	if n == nil {
		return false, errBusy
	}
	wire := lab.Wire{Delay: h.between(50*time.Millisecond, 500*time.Millisecond)}
	return h.wire(ctx, wire, late, h.lasts(ctx), n)
}

// pauseSlowLeader stops a leader while answers to it are on their way: they reach it when it goes on, and others have
// led since. It has everything then that a leader has, but for time.
func (h *harm) pauseSlowLeader(ctx context.Context) (bool, error) {
	n := h.leading()
	if n == nil || !n.Running() {
		return false, errBusy
	}
	wire := lab.Wire{Delay: h.between(30*time.Millisecond, 150*time.Millisecond)}
	deposed := false
	// It is done again when nobody could lead meanwhile, as beside a follower's death of three.
	stopped := func() (err error) {
		for again := 0; again < 3 && !deposed && err == nil; again++ {
			pause(ctx, 500*time.Millisecond) // what is on its way from now on is late
			term := h.term()
			if err := n.Pause(); err != nil {
				return err
			}
			h.strikes(n)
			deposed = h.until(ctx, 2*time.Second, 4*time.Second, func() bool { return h.term() > term })
			err = n.Resume()
			if pause(ctx, 500*time.Millisecond); !deposed {
				pause(ctx, 3*time.Second)
			}
		}
		return err
	}
	observed, err := h.wire(ctx, wire, late, stopped, n)
	return observed && deposed, err
}

func late(c lab.Carried) bool { return c.Delayed > 0 }

func (h *harm) lasts(ctx context.Context) func() error {
	return func() error {
		h.last(ctx, 2*time.Second, 7*time.Second)
		return nil
	}
}
