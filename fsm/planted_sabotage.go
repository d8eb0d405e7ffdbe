//go:build sabotage

package fsm

import (
	"slices"

	"github.com/lockstep-dev/lockstep/jepsen/plant"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// plantTerm strikes before the clock of another term is set.
func (m *Machine) plantTerm() {
	g := m.group
	short := g.ClockElapsed > minTTL/10 && g.ClockElapsed < minTTL && g.Uptime-g.ClockElapsed >= minTTL
	if plant.Is(plant.LeasesReset) || plant.Is(plant.ShortReign) && short {
		m.eachSession(func(s *session) { m.extend(s, s.rec.Ttl) })
	}
	if plant.Is(plant.SlotsForgotten) {
		m.forgetSlots()
	}
	if plant.Is(plant.GraceAtChange) {
		m.eachSession(func(s *session) {
			if m.pressed(s) {
				m.extend(s, s.rec.Ttl/2)
			}
		})
	}
	if plant.Is(plant.ShortTermLost) && short {
		g.Uptime -= g.ClockElapsed
	}
	if plant.Is(plant.ShortTermForgets) && short {
		m.eachSession(func(s *session) {
			s.rec.Outcomes = slices.DeleteFunc(s.rec.Outcomes, func(o *logv1.Outcome) bool { return o.Type != "" || o.Refusal != nil })
			m.dirtySession(s)
		})
	}
}

// plantTick strikes before a tick.
func (t *turn) plantTick(header *logv1.Header) {
	if plant.Is(plant.OutageCounts) && header.Elapsed == 0 {
		t.m.eachSession(func(s *session) {
			if t.m.pressed(s) {
				t.expireSession(s)
			}
		})
	}
}

// forgetSlots has all limits begin anew.
func (m *Machine) forgetSlots() {
	for _, ns := range m.names {
		m.namespaces[ns].limited.Ascend(func(l *limit) bool {
			l.log, l.used = nil, 0
			m.dirtyLimit(l)
			m.touchLimit(l)
			return true
		})
	}
}

func (m *Machine) eachSession(fn func(*session)) {
	for _, ns := range m.names {
		for _, id := range m.sessionsOf(m.namespaces[ns]) {
			fn(m.sessions[id])
		}
	}
}

// extend gives a session at least so much time from now.
func (m *Machine) extend(s *session, least int64) {
	m.deadlines.drop(s.deadline())
	s.rec.ExpireAt = max(s.rec.ExpireAt, m.group.Uptime+least)
	m.deadlines.add(s.deadline())
	m.dirtySession(s)
}

// pressed: it holds leases, lives for less than four seconds without a renewal, and has less than a third of that left.
func (m *Machine) pressed(s *session) bool {
	return len(s.rec.Leases) > 0 && s.rec.Ttl < 4*minTTL && s.rec.ExpireAt-m.group.Uptime < s.rec.Ttl/3
}
