package sim

import (
	"container/heap"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// clock is virtual time: events in order of their time, and of their making when the times are equal.
type clock struct {
	now   time.Duration
	queue events
	made  uint64
	trace uint64 // a hash of every event that happened
	count uint64
}

type event struct {
	at   time.Duration
	made uint64
	who  *process
	life int // of the process that it is for; anyLife when it comes from outside
	fn   func()
}

const anyLife = -1

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(a, b int) bool {
	return e[a].at < e[b].at || e[a].at == e[b].at && e[a].made < e[b].made
}
func (e events) Swap(a, b int) { e[a], e[b] = e[b], e[a] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return last
}

// process is what crashes and pauses: a node, or a client. Its events are lost in a crash and late after a pause.
type process struct {
	name   string
	site   int // its place in the network
	up     bool
	life   int
	resume time.Duration
	// A process's own monotonic clock runs at a rate of its own; its wall clock is anybody's guess.
	rate float64
	wall time.Duration
}

func (p *process) paused(now time.Duration) bool { return now < p.resume }

// mono is the process's monotonic clock.
func (p *process) mono(now time.Duration) time.Duration {
	return time.Duration(float64(now) * p.rate)
}

// sleep is how long a pause by the process's own clock takes: never less, or who waits for a time would look before it.
func (p *process) sleep(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(float64(d)/p.rate) + 2
}

func (c *clock) push(at time.Duration, who *process, life int, fn func()) {
	c.made++
	heap.Push(&c.queue, event{max(at, c.now), c.made, who, life, fn})
}

// after has the world do something.
func (c *clock) after(d time.Duration, fn func()) { c.push(c.now+d, nil, anyLife, fn) }

// by has a process do something, unless it crashes before.
func (c *clock) by(p *process, d time.Duration, fn func()) { c.push(c.now+d, p, p.life, fn) }

// to brings something to a process from outside: to whatever life it then has.
func (c *clock) to(p *process, d time.Duration, fn func()) { c.push(c.now+d, p, anyLife, fn) }

// step has the next event happen; it says whether there was one.
func (c *clock) step() bool {
	if len(c.queue) == 0 {
		return false
	}
	e := heap.Pop(&c.queue).(event)
	c.now = e.at
	if p := e.who; p != nil {
		if !p.up || e.life != anyLife && e.life != p.life {
			return true
		}
		if p.paused(c.now) {
			e.at = p.resume
			heap.Push(&c.queue, e)
			return true
		}
	}
	c.count++
	c.mix(uint64(e.at))
	c.mix(e.made)
	e.fn()
	return true
}

// mix takes a number into the trace.
func (c *clock) mix(v uint64) {
	c.trace = (c.trace ^ v) * 0x9e3779b97f4a7c15
	c.trace ^= c.trace >> 29
}

// draws is a source of chances. Each part of the world has one of its own, so that leaving out a kind of fault changes
// as little as possible of the rest.
type draws struct{ *rand.Rand }

func newDraws(seed uint64, what string) draws {
	h := fnv.New64a()
	h.Write([]byte(what))
	return draws{rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// one says yes in one of n cases.
func (d draws) one(n int) bool { return d.IntN(n) == 0 }

// between draws a time.
func (d draws) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(d.Int64N(int64(hi-lo)))
}

func pick[T any](d draws, list []T) T { return list[d.IntN(len(list))] }
