package propose

import (
	"time"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// Plan is what a leader knows of a schedule. Times are unix nanoseconds.
type Plan struct {
	Namespace, Schedule string
	Position            int64 // which of those with this name it is
	After               int64 // times up to here are over
	CatchUp             int64 // how old a time may be that is still fired
	// Next is the first time behind another, if there is one.
	Next func(after int64) (at int64, ok bool)
}

// Schedules says which times of schedules have come. It is a core as Core is: stepped, without goroutine, clock or IO, and not safe for
// concurrent use. It proposes nothing on its own: what it says is a guess of what the state machine will take, which takes each time
// once, behind the one before it; so a leader may say again what another has said, and what is not taken is looked at anew.
type Schedules struct {
	plans map[planKey]*plan
	order []*plan
	heard time.Duration // when state was heard of
	state int64
}

type planKey struct{ namespace, schedule string }

type plan struct {
	Plan
	next int64 // behind After; zero is never
}

// Bounds of one look.
const (
	firingsALook = 256
	missedALook  = 10_000 // of one schedule; more are told in several parts
)

// Know takes in the schedules that are not paused.
func (s *Schedules) Know(plans []Plan) {
	before := s.plans
	s.plans, s.order = make(map[planKey]*plan, len(plans)), s.order[:0]
	for _, p := range plans {
		key := planKey{p.Namespace, p.Schedule}
		known := before[key]
		if known == nil || known.Position != p.Position || known.After != p.After {
			known = &plan{Plan: p}
			known.next, _ = p.Next(p.After)
		}
		s.plans[key] = known
		s.order = append(s.order, known)
	}
}

// Date is what time it is taken to be: own is the leader's wall clock, zero if it does not trust that, and state what the log says,
// which never goes back.
func (s *Schedules) Date(now time.Duration, own, state int64) int64 {
	if state != s.state {
		s.state, s.heard = state, now
	}
	if own == 0 && state > 0 {
		own = state + int64(now-s.heard)
	}
	return max(own, state)
}

// Due returns what is to be proposed at a date: next to each other and in this order, for each time is taken behind the one before it.
func (s *Schedules) Due(date int64) (out []*logv1.Command) {
	for _, p := range s.order {
		if p.next == 0 || p.next > date {
			continue
		}
		if out = p.due(out, date); len(out) >= firingsALook {
			break
		}
	}
	return out
}

func (p *plan) due(out []*logv1.Command, date int64) []*logv1.Command {
	missed, last, after := 0, int64(0), p.After
	at := p.next
	for at != 0 && at < date-p.CatchUp && missed < missedALook {
		missed, last = missed+1, at
		at, _ = p.Next(at)
	}
	if missed > 0 {
		out = append(out, p.fire(after, last, missed-1))
		after = last
	}
	for at != 0 && at <= date && missed < missedALook && len(out) < firingsALook {
		out = append(out, p.fire(after, at, 0))
		after = at
		at, _ = p.Next(at)
	}
	return out
}

func (p *plan) fire(after, at int64, missed int) *logv1.Command {
	return &logv1.Command{
		Envelope: &logv1.Envelope{Namespace: p.Namespace},
		Body: &logv1.Command_FireSchedule{FireSchedule: &logv1.FireSchedule{
			Schedule: p.Schedule, Position: p.Position, After: after, At: at, Missed: int32(missed),
		}},
	}
}

// Wait returns how long from a date nothing comes, at most most.
func (s *Schedules) Wait(date int64, most time.Duration) time.Duration {
	for _, p := range s.order {
		if p.next > 0 {
			most = min(most, time.Duration(max(0, p.next-date)))
		}
	}
	return most
}
