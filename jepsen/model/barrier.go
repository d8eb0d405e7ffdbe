package model

import (
	"fmt"
	"slices"
)

// Barrier is where a step waits for others. Its name has the number in the instance's input behind it when Own; the parties are one more
// where that number is even, when Differs.
type Barrier struct {
	Name         string
	Own, Differs bool
	Parties      int
}

// meetsAt is the name of the barrier at which a run waits.
func (r *run) meetsAt() string {
	b := r.step.Barrier
	if b.Own {
		return fmt.Sprint(b.Name, r.of.input)
	}
	return b.Name
}

func (r *run) parties() int {
	b := r.step.Barrier
	if b.Differs && r.of.input%2 == 0 {
		return b.Parties + 1
	}
	return b.Parties
}

// meets has a run wait at its barrier, behind those that do.
func (s *State) meets(f *Fact, r *run) {
	if f.Code != "BARRIER" || int(f.Count) != r.parties() {
		fault("S1", "step %s of %s waits for %d parties, and is to wait for %d", f.Step, f.Instance, f.Count, r.parties())
	}
	s.meeting[r.meetsAt()] = append(s.meeting[r.meetsAt()], r)
}

// there are those that wait at a barrier, in the order in which they came.
func (s *State) there(barrier string) []*run {
	s.meeting[barrier] = slices.DeleteFunc(s.meeting[barrier], func(r *run) bool { return r.state != Waiting })
	return s.meeting[barrier]
}

// passed: those that wait at a barrier go on, as many as they say, who came first.
func (s *State) passed(f *Fact) {
	there := s.there(f.Name)
	if s.cause.command != nil || int(f.Count) > len(there) {
		fault("S1", "%d parties pass barrier %s, where %d wait, by %s", f.Count, f.Name, len(there), s.cause.command.say())
	}
	for _, r := range there[:f.Count] {
		if r.parties() != int(f.Count) || r.delivered {
			fault("S1", "step %s of %s passes barrier %s with %d parties, and waits for %d", r.name, r.of.id, f.Name, f.Count, r.parties())
		}
		r.delivered = true
		s.touch(r.of)
	}
	if f.Count > 1 && there[0].of != there[f.Count-1].of {
		s.saw(BarrierPassed)
	}
}

// partiesDiffer: a run came to a barrier where others wait, for another number of parties.
func (s *State) partiesDiffer(f *Fact, r *run) bool {
	if f.Code != "PARTIES_DIFFER" || r.step.Barrier == nil || r.state != Waiting || s.cause.command != nil || r.delivered || !r.wanted() {
		return false
	}
	first := s.there(r.meetsAt())[0]
	if first == r || first.parties() == r.parties() {
		return false
	}
	s.saw(PartiesDiffer)
	return true
}

// barriersWhole checks behind an entry that nobody waits at a barrier where all parties are, and that all there say the same.
func (s *State) barriersWhole(events int) {
	if events > mostLater || s.Limit > 0 {
		return
	}
	for barrier := range s.meeting {
		there := s.there(barrier)
		if len(there) == 0 {
			delete(s.meeting, barrier)
			continue
		}
		for _, r := range there {
			if r.parties() != there[0].parties() {
				fault("liveness", "step %s of %s waits at barrier %s for %d parties, where others wait for %d", r.name, r.of.id, barrier, r.parties(), there[0].parties())
			}
		}
		if len(there) >= there[0].parties() {
			fault("liveness", "%d parties wait at barrier %s, which is for %d", len(there), barrier, there[0].parties())
		}
	}
}
