package sim

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// clock is virtual time: events in order of their time, and of their making when the times are equal.
type clock struct {
	now   time.Duration
	queue []turn // a heap
	slots []event
	free  []int32
	made  uint64
	trace uint64 // a hash of every event that happened
	count uint64
	held  uint64 // events that a pause made late
}

// turn is an event's place in the order; it has no pointer, so that moving it about costs little.
type turn struct {
	at   time.Duration
	made uint64
	slot int32
}

func (a turn) less(b turn) bool { return a.at < b.at || a.at == b.at && a.made < b.made }

type event struct {
	who  *process
	life int // of the process that it is for; anyLife when it comes from outside
	fn   func()
}

const anyLife = -1

// put adds to the heap.
func (c *clock) put(t turn) {
	q := append(c.queue, t)
	at := len(q) - 1
	for at > 0 {
		up := (at - 1) / 4
		if !t.less(q[up]) {
			break
		}
		q[at] = q[up]
		at = up
	}
	q[at] = t
	c.queue = q
}

// first takes from the heap.
func (c *clock) first() turn {
	q := c.queue
	top, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	c.queue = q
	at := 0
	for {
		low := 4*at + 1
		if low >= len(q) {
			break
		}
		for next, end := low+1, min(low+4, len(q)); next < end; next++ {
			if q[next].less(q[low]) {
				low = next
			}
		}
		if !q[low].less(last) {
			break
		}
		q[at] = q[low]
		at = low
	}
	if len(q) > 0 {
		q[at] = last
	}
	return top
}

// process is what crashes and pauses: a node, or a client. Its events are lost in a crash and late after a pause.
type process struct {
	name   string
	site   int // its place in the network
	up     bool
	life   int
	resume time.Duration
	late   []int32 // slots of the events that wait for it
	// Pauses so far, and how long they took.
	pauses int
	asleep time.Duration
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
	slot := int32(len(c.slots))
	if n := len(c.free); n > 0 {
		slot, c.free = c.free[n-1], c.free[:n-1]
		c.slots[slot] = event{who, life, fn}
	} else {
		c.slots = append(c.slots, event{who, life, fn})
	}
	c.put(turn{max(at, c.now), c.made, slot})
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
	t := c.first()
	c.now = t.at
	e := c.slots[t.slot]
	if p := e.who; p != nil && p.up && p.paused(c.now) && (e.life == anyLife || e.life == p.life) {
		p.late = append(p.late, t.slot) // in the order in which they were due
		c.held++
		return true
	}
	c.slots[t.slot] = event{}
	c.free = append(c.free, t.slot)
	if p := e.who; p != nil && (!p.up || e.life != anyLife && e.life != p.life) {
		return true
	}
	c.count++
	c.mix(uint64(t.at))
	c.mix(t.made)
	e.fn()
	return true
}

// pause holds a process until a time, which may be earlier than that of a pause that it is in.
func (c *clock) pause(p *process, until time.Duration) {
	p.resume = until
	c.push(until, nil, anyLife, func() { c.wake(p) })
}

// wake has happen what a pause held, if the pause is over.
func (c *clock) wake(p *process) {
	if p.paused(c.now) {
		return
	}
	for _, slot := range p.late {
		c.made++
		c.put(turn{c.now, c.made, slot})
	}
	p.late = nil
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
