package model

import "strconv"

// Fairness is by which key a step's runs take turns in their queue: a text, and behind it the rest of the instance's input by Rest, if
// that is more than zero.
type Fairness struct {
	Key          string
	Rest, Weight int64
}

// key is what the run takes turns by; empty is as those without.
func (r *run) key() string {
	f := r.step.Fairness
	switch {
	case f == nil:
		return ""
	case f.Rest == 0:
		return f.Key
	}
	return f.Key + strconv.FormatInt(r.of.input%f.Rest, 10)
}

// aTurn is a lease of weight 1, and slack what is lost where weights do not divide it.
const (
	aTurn = 1_000_000
	slack = aTurn / 500
)

// turn is what a lease of the run is worth.
func (r *run) turn() int64 {
	if f := r.step.Fairness; f != nil && r.key() != "" {
		return aTurn / max(1, f.Weight)
	}
	return aTurn
}

// turns are those of one queue: what a lease of a key was worth at most, and of each key that waits what each other one was leased
// since it waits.
type turns struct {
	worth map[string]int64
	since map[string]map[string]int64
}

// inTurn: the run is leased to who asked for none by name. Nobody here knows tags: whatever the order of turns is, while a key waits
// another one is leased no more than what the first was leased last, and once. So before the first run of a key there
// is one of each other key.
func (s *State) inTurn(r *run) {
	q, mine := s.turns[r.step.Queue], r.key()
	if q == nil {
		q = &turns{worth: map[string]int64{}, since: map[string]map[string]int64{}}
		s.turns[r.step.Queue] = q
	}
	waits := map[string]bool{}
	for _, o := range s.ready[r.step.Queue] {
		if key := o.key(); key != mine {
			waits[key] = true
		}
	}
	delete(q.since, mine)
	for key := range waits {
		s.turnPassed(q, key, r)
	}
	q.worth[mine] = max(q.worth[mine], r.turn())
}

// waitsNoMore: when no run of its key waits any more, what others were leased meanwhile is over.
func (s *State) waitsNoMore(r *run) {
	q, key := s.turns[r.step.Queue], r.key()
	if q == nil {
		return
	}
	for _, o := range s.ready[r.step.Queue] {
		if o.key() == key {
			return
		}
	}
	delete(q.since, key)
}

// passed: the run is leased while another key waits. A run that needs locks or slots may have been leased without a turn.
func (s *State) turnPassed(q *turns, key string, r *run) {
	if !r.free() {
		return
	}
	if q.since[key] == nil {
		q.since[key] = map[string]int64{}
	}
	mine := r.key()
	q.since[key][mine] += r.turn()
	if got := q.since[key][mine] - r.turn(); got > q.worth[key]+slack {
		fault("fairness", "step %s of %s is leased when key %q has had %d millionths of a turn since key %q waits in queue %s, which is owed one behind %d", r.step.Name, r.of.id, mine, got, key, r.step.Queue, q.worth[key])
	}
	s.saw(TurnTaken)
	for _, o := range s.ready[r.step.Queue] {
		if o.key() == key && (o.order < r.order || o.order == r.order && o.readyAt < r.readyAt) {
			s.saw(TurnBefore)
			return
		}
	}
}
