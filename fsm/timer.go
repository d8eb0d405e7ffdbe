package fsm

import (
	"github.com/google/btree"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A timer step waits for a time. So much time after it was begun is a deadline of uptime like any other. A date is one of wall
// time, and those are in an order of their own. Neither kind of time ever goes back, so what fired stays fired; but wall may
// leap ahead, as far as a leader's clock does, and what lies in between fires then.

// date is a date that a run waits for, in unix nanoseconds.
type date struct {
	at  int64
	run *runKey
}

func (d date) less(o date) bool {
	if d.at != o.at {
		return d.at < o.at
	}
	return d.run.compare(o.run) < 0
}

func newDates() *btree.BTreeG[date] { return btree.NewG(32, date.less) }

// awaitTimer has a run wait for its time. A date that has passed fires at once.
func (t *turn) awaitTimer(i *instance, at at) (over bool) {
	n := i.step(at)
	w := &runWaiting{i: i, at: at}
	if n.Dated {
		on, err := i.graph.Until(int(at.node), t.view(i, i.frame(at)))
		if err != nil {
			return t.incident(i, at, "TIMER_INVALID", err)
		}
		w.date = max(on, 1) // zero is none
	} else {
		w.fires = t.uptime() + n.After
	}
	t.emit(w)
	if w.date == 0 || w.date > t.wall() {
		return false
	}
	t.fire(i, at, 0)
	return true
}

// fire completes a run whose time has come.
func (t *turn) fire(i *instance, at at, lag int64) {
	t.emit(&timerFired{i: i, at: at, lag: lag})
	t.emit(&runCompleted{i: i, at: at})
}

// expireDate fires the first timer whose date has come; it says whether there is one.
func (t *turn) expireDate() bool {
	d, ok := t.m.dates.Min()
	if !ok || d.at > t.untilWall {
		return false
	}
	i := t.runOf(*d.run)
	t.fire(i, d.run.at, t.wall()-d.at)
	t.advanceInstance(i, d.run.at)
	return true
}

// forgetDates takes a namespace's dates away.
func (m *Machine) forgetDates(ns *namespace) {
	var gone []date
	m.dates.Ascend(func(d date) bool {
		if d.run.namespace == ns.rec.Namespace {
			gone = append(gone, d)
		}
		return true
	})
	for _, d := range gone {
		m.dates.Delete(d)
	}
}

// timerFired tells of a timer, and how much later it fired than it was due.
type timerFired struct {
	i   *instance
	at  at
	lag int64
}

func (e *timerFired) kind() string { return "lockstep.timer.fired.v1" }
func (e *timerFired) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Due, d.Lag = stamp(e.i.run(e.at).TimerDate), e.lag
	return e.i.subject()
}
func (e *timerFired) evolve(t *turn) { t.result.Lags = append(t.result.Lags, e.lag) }
