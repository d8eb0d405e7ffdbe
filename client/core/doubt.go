package core

import "time"

// Doubt says when to ask others about a server that does not answer. Its calls may be slow because it has much to do, and
// then it must not be left: whoever leaves asks another to do all that again. So others are asked who leads, which costs
// them next to nothing, and seldom: the pauses grow for as long as the server is silent. Times are of a clock of the
// caller's.
type Doubt struct {
	open  int           // calls that are on their way
	since time.Duration // since when an answer is owed
	ended time.Duration // when the last call ended
	asked time.Duration
	asks  int
}

// A server that has answered nothing for DoubtAfter is doubted: by about then the others notice that a leader is gone.
const (
	DoubtAfter = 500 * time.Millisecond
	maxPause   = 2 * time.Second
)

// Sent says that a call begins. That a call before it was given up unanswered just now counts: calls may have less time
// than it takes to doubt.
func (d *Doubt) Sent(now time.Duration) {
	if d.open == 0 && (d.since == 0 || now-d.ended > DoubtAfter) {
		d.since, d.asks = now, 0
	}
	d.open++
}

// Ended says that a call that was Sent is over, answered or not.
func (d *Doubt) Ended(now time.Duration) { d.open, d.ended = d.open-1, now }

// Heard says that the server answered, whatever it was: after Ended, if that call was Sent.
func (d *Doubt) Heard(now time.Duration) {
	d.since, d.asks = now, 0
	if d.open == 0 {
		d.since = 0
	}
}

// Due is when the next question is to be asked if no answer comes.
func (d *Doubt) Due() time.Duration {
	due := d.since + DoubtAfter
	if d.asks > 0 {
		due = max(due, d.asked+min(DoubtAfter/2<<(d.asks-1), maxPause))
	}
	return due
}

// Step says, while a call is on its way, whether to ask another now, which counts as done, and else when to look again.
// nth counts the questions, so that each goes to another server.
func (d *Doubt) Step(now time.Duration) (ask bool, nth int, again time.Duration) {
	due := d.Due()
	if now < due {
		return false, 0, due
	}
	d.asked, nth = now, d.asks
	d.asks = min(d.asks+1, 16)
	return true, nth, now
}

// Silent says, while a call is on its way, whether the server has answered nothing for so long that it is doubted.
func (d *Doubt) Silent(now time.Duration) bool { return now-d.since >= DoubtAfter }

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
