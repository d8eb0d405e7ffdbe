package core

import "time"

// Doubt says when to ask others about a server that does not answer. Its calls may be slow because it has much to do, and
// then it must not be left: whoever leaves asks another to do all that again. So others are asked who leads, which costs
// them next to nothing, and seldom: the pauses grow for as long as the server is silent. Times are of a clock of the
// caller's.
type Doubt struct {
	heard, asked time.Duration
	asks         int
}

// A server that has answered nothing for DoubtAfter is doubted: by about then the others notice that a leader is gone.
const (
	DoubtAfter = 500 * time.Millisecond
	maxPause   = 2 * time.Second
)

// Heard says that the server answered, whatever it was.
func (d *Doubt) Heard(now time.Duration) { d.heard, d.asks = now, 0 }

// Step says, for a call that has been on its way since a time, whether to ask another now, which counts as done, and else
// when to look again. nth counts the questions, so that each goes to another server.
func (d *Doubt) Step(now, since time.Duration) (ask bool, nth int, again time.Duration) {
	due := max(since, d.heard) + DoubtAfter
	if d.asks > 0 {
		due = max(due, d.asked+min(DoubtAfter/2<<(d.asks-1), maxPause))
	}
	if now < due {
		return false, 0, due
	}
	d.asked, nth = now, d.asks
	d.asks = min(d.asks+1, 16)
	return true, nth, now
}

// Silent says whether the server has answered nothing for so long, to a call of since.
func (d *Doubt) Silent(now, since time.Duration) bool { return now-max(since, d.heard) >= DoubtAfter }

// Moved says that a server is silent, and that another leads. It is left for that one if we were told of it: an address
// that we were not told of may be this server's other name.
func (f *Failover) Moved(silent, leader string) bool {
	if silent != f.Server() || leader == silent || !f.knows(leader) {
		return false
	}
	f.Failed(silent, leader)
	return f.Server() != silent
}

// Others are the servers that we were told of, less one.
func (f *Failover) Others(than string) (out []string) {
	for _, s := range f.servers {
		if s != than {
			out = append(out, s)
		}
	}
	return out
}
