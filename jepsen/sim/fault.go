package sim

import (
	"slices"
	"time"
)

// A fault is begun, and returns what ends it; nil when there was nothing to do it to.
type faultKind struct {
	name  string
	begin func(w *world, d draws) (end func())
	// effect counts what such a fault does. One that counts no more when it ends than when it began did nothing.
	effect func(w *world) uint64
}

// faultKinds are all there are. What is drawn depends on their order.
var faultKinds = []faultKind{
	{"crash", (*world).crashOne, (*world).crashes},
	{"crash-all", (*world).crashAll, (*world).crashes},
	{"crash-leader", (*world).crashLeader, (*world).crashes},
	{"partition", (*world).partition, (*world).cutOff},
	{"one-way", (*world).oneWay, (*world).cutOff},
	{"isolate-leader", (*world).isolateLeader, (*world).cutOff},
	{"pause-leader", (*world).pauseLeader, (*world).deferred},
	{"pause-node", (*world).pauseNode, (*world).deferred},
	{"suspend", (*world).suspend, (*world).deferred},
	{"pause-worker", (*world).pauseWorker, (*world).deferred},
	{"lossy", (*world).lossy, (*world).lost},
	{"slow-network", (*world).slowNetwork, (*world).slowed},
	{"slow-disk", (*world).slowDisk, (*world).slowWrites},
	{"wall-jump", (*world).wallJump, (*world).jumps},
	{"snapshot", (*world).snapshotOne, (*world).snapshots},
	{"transfer", (*world).transfer, (*world).transfers},
}

// strike draws faults until the world stops. Up to three at a time overlap, or as many as Config.AtOnce says.
func (w *world) strike() {
	if slices.Contains(w.config.Without, "all") {
		return
	}
	d := w.faults
	kinds, pace := w.weather(d)
	most, apart := w.config.AtOnce, time.Duration(0)
	switch most {
	case 0:
		most = 3
	case 1:
		apart = 5 * time.Second
	}
	active, healed := 0, time.Duration(0)
	var next func()
	next = func() {
		if w.stopping {
			return
		}
		w.after(d.between(0, 2*pace), next)
		if active >= most || len(kinds) == 0 || w.now < healed {
			return
		}
		k := pick(d, kinds)
		before := k.effect(w)
		end := k.begin(w, d)
		if end == nil {
			return
		}
		f := w.report.Faults[k.name]
		if f == nil {
			f = &Fault{}
			w.report.Faults[k.name] = f
		}
		f.Injected++
		w.tell("fault %s", k.name)
		active++
		over := false
		stop := func() {
			if !over {
				over = true
				active--
				healed = w.now + apart
				end()
				if k.effect(w) > before {
					f.Observed++
				}
				w.tell("end of fault %s", k.name)
			}
		}
		w.crew.heal = append(w.crew.heal, stop)
		w.after(d.between(50*time.Millisecond, pick(d, []time.Duration{500 * time.Millisecond, 3 * time.Second, 10 * time.Second})), stop)
	}
	w.after(2*time.Second, next)
}

// weather draws which kinds of faults there are, and how thick they come. In every other seed it is a storm: a few kinds,
// of which the same ones meet again and again. Leaving out a kind brings no other in its place, unless none were left.
func (w *world) weather(d draws) (kinds []faultKind, pace time.Duration) {
	storm, few := d.one(2), 2+d.IntN(4)
	pace = d.between(time.Second, 6*time.Second)
	if storm {
		pace = d.between(200*time.Millisecond, time.Second)
	}
	var others []faultKind
	for i, at := range d.Perm(len(faultKinds)) {
		k, rare := faultKinds[at], d.one(4)
		switch {
		case slices.Contains(w.config.Without, k.name):
		case storm && i < few, !storm && !rare:
			kinds = append(kinds, k)
		default:
			others = append(others, k)
		}
	}
	if len(kinds) == 0 {
		kinds = others
	}
	return kinds, pace
}

// heal ends every fault.
func (w *world) heal() {
	for _, end := range w.crew.heal {
		end()
	}
	w.crew.heal = nil
}

func (w *world) leader() *node {
	var best *node
	for _, n := range w.nodes {
		if n.up && n.raft.role == leader && (best == nil || n.raft.term > best.raft.term) {
			best = n
		}
	}
	return best
}

func (w *world) crashNodes(list ...*node) func() {
	var down []*node
	for _, n := range list {
		if n.up {
			n.crash()
			down = append(down, n)
		}
	}
	if len(down) == 0 {
		return nil
	}
	return func() {
		for _, n := range down {
			if !n.up && n.refused == "" {
				n.start()
			}
		}
	}
}

func (w *world) crashOne(d draws) func() { return w.crashNodes(pick(d, w.nodes)) }
func (w *world) crashAll(draws) func()   { return w.crashNodes(w.nodes...) }
func (w *world) crashLeader(draws) func() {
	n := w.leader()
	if n == nil {
		return nil
	}
	return w.crashNodes(n)
}

// sides draws a group of nodes, and of clients with it, and the rest.
func (w *world) sides(d draws, nodes int) (a, b []int) {
	order := d.Perm(len(w.nodes))
	for i, at := range order {
		if i < nodes {
			a = append(a, w.nodes[at].site)
		} else {
			b = append(b, w.nodes[at].site)
		}
	}
	for site := len(w.nodes); site < w.sites; site++ {
		if d.one(3) {
			a = append(a, site)
		} else {
			b = append(b, site)
		}
	}
	return a, b
}

func (w *world) partition(d draws) func() {
	a, b := w.sides(d, 1+d.IntN(len(w.nodes)/2))
	return w.net.divide(a, b, false)
}

func (w *world) oneWay(d draws) func() {
	a, b := w.sides(d, 1+d.IntN(len(w.nodes)/2))
	if d.one(2) {
		a, b = b, a
	}
	return w.net.divide(a, b, true)
}

// isolateLeader cuts the leader off from the other nodes, and leaves it its clients.
func (w *world) isolateLeader(d draws) func() {
	n := w.leader()
	if n == nil {
		return nil
	}
	var rest []int
	for _, o := range w.nodes {
		if o != n {
			rest = append(rest, o.site)
		}
	}
	return w.net.divide([]int{n.site}, rest, d.one(3))
}

func (w *world) pause(p *process, d draws) func() {
	if !p.up || p.paused(w.now) {
		return nil
	}
	w.report.Pauses++
	began := w.now
	most := pick(d, []time.Duration{600 * time.Millisecond, 2 * time.Second, 12 * time.Second})
	w.clock.pause(p, w.now+d.between(100*time.Millisecond, most))
	p.pauses++
	p.asleep += p.resume - began
	return func() {
		if w.now < p.resume {
			p.asleep -= p.resume - w.now
			w.clock.pause(p, w.now)
		}
	}
}

func (w *world) pauseLeader(d draws) func() {
	n := w.leader()
	if n == nil {
		return nil
	}
	return w.pause(n.process, d)
}

func (w *world) pauseNode(d draws) func() { return w.pause(pick(d, w.nodes).process, d) }

// suspend pauses every node for the same time, as a machine that has them all does when it sleeps.
func (w *world) suspend(d draws) func() {
	var ends []func()
	took := d.between(100*time.Millisecond, 8*time.Second)
	for _, n := range w.nodes {
		if end := w.pause(n.process, d); end != nil {
			n.asleep += w.now + took - n.resume
			w.clock.pause(n.process, w.now+took)
			ends = append(ends, end)
		}
	}
	if len(ends) == 0 {
		return nil
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

func (w *world) pauseWorker(d draws) func() {
	return w.pause(pick(d, w.crew.workers).c.process, d)
}

func (w *world) lossy(draws) func() {
	w.net.lossy = true
	return func() { w.net.lossy = false }
}

func (w *world) slowNetwork(d draws) func() {
	w.net.slow = pick(d, []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second})
	return func() { w.net.slow = 0 }
}

func (w *world) slowDisk(d draws) func() {
	list := []*node{pick(d, w.nodes)}
	if d.one(2) { // one array for all
		list = w.nodes
	}
	slow := pick(d, []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond, time.Second})
	for _, n := range list {
		n.disk.slow = slow
	}
	return func() {
		for _, n := range list {
			n.disk.slow = 0
		}
	}
}

func (w *world) wallJump(d draws) func() {
	n := pick(d, w.nodes)
	n.wall += d.between(-2*time.Hour, 2*time.Hour)
	return func() {}
}

func (w *world) snapshotOne(d draws) func() {
	n := pick(d, w.nodes)
	if !n.up || n.paused(w.now) {
		return nil
	}
	n.snapshot()
	return func() {}
}

// transfer has the leader hand over: it holds what comes, waits for what is in flight, and asks another to take over.
func (w *world) transfer(draws) func() {
	n := w.leader()
	if n == nil || n.handing || n.paused(w.now) {
		return nil
	}
	n.handOver()
	return func() {}
}

func (w *world) crashes() uint64   { return uint64(w.report.Crashes) }
func (w *world) cutOff() uint64    { return w.net.cutOff }
func (w *world) lost() uint64      { return w.net.dropped + w.net.doubled }
func (w *world) slowed() uint64    { return w.net.slowed }
func (w *world) deferred() uint64  { return w.held }
func (w *world) jumps() uint64     { return w.history.jumps }
func (w *world) snapshots() uint64 { return uint64(w.report.Snapshots) }
func (w *world) transfers() uint64 { return uint64(w.report.Transfers) }

func (w *world) slowWrites() (n uint64) {
	for _, node := range w.nodes {
		n += node.disk.delayed
	}
	return n
}
