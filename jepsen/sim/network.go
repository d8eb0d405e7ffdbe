package sim

import "time"

// network carries messages between sites. Each pair of sites, in each direction, can be cut by itself.
type network struct {
	w     *world
	draws draws
	cut   [][]int // by how many faults the way from one to another is cut
	slow  time.Duration
	lossy bool

	dropped, cutOff, doubled, slowed uint64
}

func newNetwork(w *world, sites int) *network {
	n := &network{w: w, draws: newDraws(w.config.Seed, "network"), cut: make([][]int, sites)}
	for i := range n.cut {
		n.cut[i] = make([]int, sites)
	}
	return n
}

// send brings fn to a process, or not. What it brings may be late, and come twice.
func (n *network) send(from, to *process, fn func()) {
	if n.cut[from.site][to.site] > 0 {
		n.cutOff++
		return
	}
	if n.lossy && n.draws.one(12) {
		n.dropped++
		return
	}
	n.w.to(to, n.delay(), fn)
	if n.lossy && n.draws.one(12) {
		n.doubled++
		n.w.to(to, n.delay(), fn)
	}
}

func (n *network) delay() time.Duration {
	d := n.draws.between(100*time.Microsecond, 900*time.Microsecond)
	if n.slow > 0 && n.draws.one(3) {
		d += n.draws.between(0, n.slow)
		n.slowed++
	}
	if n.draws.one(200) {
		d += n.draws.between(0, 20*time.Millisecond)
	}
	return d
}

// divide cuts every way between two groups, and returns what heals it. With oneWay only the way from a to b is cut.
func (n *network) divide(a, b []int, oneWay bool) (heal func()) {
	change := func(by int) {
		for _, x := range a {
			for _, y := range b {
				n.cut[x][y] += by
				if !oneWay {
					n.cut[y][x] += by
				}
			}
		}
	}
	change(1)
	return func() { change(-1) }
}

// ask is send to a server that may not be up: then the caller learns that nobody listens.
func (n *network) ask(from, to *process, fn, refused func()) {
	n.send(from, &process{site: to.site, up: true}, func() {
		if to.up {
			n.w.to(to, 0, fn)
		} else {
			refused()
		}
	})
}

// stream brings fn to a process once, as a connection does: what is lost is sent again, as long as the sender lives and
// the connection is wanted.
func (n *network) stream(from, to *process, wanted func() bool, fn func()) {
	here := false
	var try func()
	try = func() {
		if here || !wanted() {
			return
		}
		n.send(from, to, func() {
			if !here {
				here = true
				fn()
			}
		})
		n.w.by(from, 200*time.Millisecond, try)
	}
	try()
}
