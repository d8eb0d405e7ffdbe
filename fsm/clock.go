package fsm

import (
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// Clock is the state machine's time, for those who feed it.
type Clock struct {
	// The leader's clock as last heard: its term, and nanoseconds in that term.
	Term    uint64
	Elapsed int64
	// Uptime governs leases, timeouts and backoff; Wall (unix) is what people see. Nanoseconds.
	Uptime, Wall int64
	// Live sessions.
	Sessions int
	// The next deadline in uptime; zero when there is none. A date is as far away as it is if wall time passes as uptime does.
	Deadline int64
	// The cluster level.
	Level uint32
}

// dateGap is how often a date that is near is looked at, at most: wall time stands still while a leader's clock is behind that
// of one before it, and the log must not fill meanwhile.
const dateGap = int64(250 * time.Millisecond)

// Clock returns the present time.
func (m *Machine) Clock() Clock {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := Clock{
		Term: m.group.ClockTerm, Elapsed: m.group.ClockElapsed,
		Uptime: m.group.Uptime, Wall: m.group.Wall,
		Sessions: len(m.sessions), Level: m.level(), Deadline: m.deadlines.next(),
	}
	if first, ok := m.dates.Min(); ok && m.group.Wall > 0 {
		left := first.at - m.group.Wall
		if left > 0 {
			left = max(left, dateGap)
		}
		c.Deadline = soonest(c.Deadline, max(1, m.group.Uptime+max(0, left)))
	}
	if m.todos.Len()+m.toIndex > 0 { // an entry left something to do
		c.Deadline = 1
	}
	return c
}

// advance lets time pass (DESIGN §3). An entry that was proposed in another term than it is committed in
// moves no time; the first of a term only sets the leader's clock, so that an outage does not count.
func (m *Machine) advance(term uint64, header *logv1.Header) {
	g := m.group
	if header == nil || header.Term != term && !plant.Is(plant.ForeignTermTime) {
		return
	}
	var passed int64
	if header.Term == g.ClockTerm {
		passed = max(0, header.Elapsed-g.ClockElapsed)
		g.ClockElapsed = max(g.ClockElapsed, header.Elapsed)
	} else {
		m.plantTerm()
		g.ClockTerm, g.ClockElapsed = header.Term, header.Elapsed
	}
	g.Uptime += passed
	if plant.Is(plant.WallInApply) {
		header.Wall = plant.Wall()
	}
	if header.Wall > 0 {
		g.Wall = max(g.Wall, header.Wall)
	} else {
		g.Wall += passed
	}
}

// expirations bounds what one tick does; the rest stays due, and the next tick follows at once.
const expirations = 1000

// tick expires what fell due while the leader had nothing in hand that the log has not (Header.Due): no tick overtakes a
// renewal or a completion, and none waits for what came later. An entry that was proposed in another term expires nothing.
// What is due by uptime comes first, in the order of its times, and then what is due by date; where the times are the same
// the order of instances, and of steps in the definition, decides.
func (t *turn) tick(header *logv1.Header) {
	if header.GetTerm() != t.term {
		return
	}
	behind := max(0, t.m.group.ClockElapsed-header.GetDue())
	t.until, t.untilWall = t.uptime()-behind, t.wall()-behind
	if plant.Is(plant.LocalExpiry) {
		t.until = plant.Mono()
	}
	t.plantTick(header)
	for range expirations {
		if !t.expireDeadline() && !t.expireDate() {
			return
		}
		t.settle()
	}
}

// expireDeadline does what is due first by uptime; it says whether anything is.
func (t *turn) expireDeadline() bool {
	d, ok := t.m.deadlines.first()
	if !ok || d.at > t.until {
		return false
	}
	switch d.kind {
	case deadlineWait:
		t.expireWait(t.m.waits[d.wait])
	case deadlineRun:
		t.expireRun(*d.run)
	case deadlineSession:
		t.expireSession(t.m.sessions[d.session])
	case deadlineLimit:
		t.expireLimit(d.limit)
	case deadlineSignals:
		t.expireSignals(t.m.namespaces[d.run.namespace])
	}
	return true
}
