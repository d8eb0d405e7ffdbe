package model

import (
	"cmp"
	"slices"
	"strings"
)

// What is done to all instances that match: one after the other, in the order in which their starts were accepted, each as if by a command of its
// own. The facts say which, behind what it came to; which it must be follows from what there is.

// BulkPlan is what a bulk operation does, and to which.
type BulkPlan struct {
	Act        Kind // Halt, Unhalt, Cancel, RetryAll, SkipRun or Reset
	Step       string
	Compensate bool // of a reset
	Filter     Filter
}

type bulk struct {
	id   string
	plan BulkPlan
	// The entry in which it started, the position of that, and when.
	index    uint64
	position int64
	wall     int64
	runs     bool
	ends     string
	last     spot  // that it has looked at
	advanced int64 // position of when it last did
	slices   int
	// Instances that matched, were changed, and refused.
	matched, changed, refused int64
}

// spot is a place in the order of starts.
type spot struct {
	at int64
	id string
}

func (p spot) compare(o spot) int {
	return cmp.Or(cmp.Compare(p.at, o.at), strings.Compare(p.id, o.id))
}

func (i *instance) spot() spot { return spot{i.acceptedAt, i.id} }

const maxBulks = 8

func (s *State) bulksRun() (n int) {
	for _, b := range s.bulks {
		if b.runs {
			n++
		}
	}
	return n
}

// askBulk decides on what starts a bulk operation, or cancels it.
func (s *State) askBulk(c *Command) func() {
	b := s.bulks[c.Bulk]
	if c.Kind == Unbulk {
		switch {
		case b == nil:
			s.refused(c, "BULK_NOT_FOUND")
			return nil
		case b.ends == Completed:
			s.refused(c, "ALREADY_ENDED")
			return nil
		}
		s.must(c)
		return func() {
			if b.ends != Cancelled {
				fault("S4", "%s is done, and bulk operation %s is not cancelled", c.say(), b.id)
			}
		}
	}
	switch {
	case b != nil && b.plan != c.Plans:
		s.refused(c, "BULK_EXISTS")
		return nil
	case b == nil && s.bulksRun() >= maxBulks:
		s.refused(c, "BULK_LIMIT")
		return nil
	}
	s.must(c)
	again := b != nil
	return func() {
		if s.bulks[c.Bulk] == nil || c.Answer.Existing != again {
			fault("S5", "%s is answered %+v", c.say(), c.Answer)
		}
	}
}

// bulkFact is what happens to an operation as a whole.
func (s *State) bulkFact(f *Fact) {
	c, b := s.cause.command, s.bulks[f.Bulk]
	switch f.Kind {
	case "bulk.started":
		if b != nil || c == nil || c.Kind != Bulk || c.Bulk != f.Bulk {
			fault("S5", "bulk operation %s is started by %s", f.Bulk, c.say())
		}
		s.bulks[f.Bulk] = &bulk{id: f.Bulk, plan: c.Plans, index: s.Index, position: f.Position, wall: s.Wall, runs: true, advanced: f.Position}
	case "bulk.cancelled":
		if b == nil || !b.runs || c == nil || c.Kind != Unbulk || c.Bulk != f.Bulk {
			fault("S4", "bulk operation %s is cancelled by %s", f.Bulk, c.say())
		}
		b.runs, b.ends = false, Cancelled
		s.saw(BulkCancelled)
	default:
		fault("S4", "%s of bulk operation %s by %s", f.Kind, f.Bulk, c.say())
	}
}

// bulksBegin keeps which instances match as an entry in which bulk operations go on finds them: those that come to match in it may be passed over.
func (s *State) bulksBegin(e *Entry) {
	s.matched = nil
	if !slices.ContainsFunc(e.Commands, func(c Command) bool { return c.Kind == Advance }) {
		return
	}
	s.matched = map[*bulk]map[string]bool{}
	for _, b := range s.bulks {
		if b.runs {
			was := map[string]bool{}
			for id, i := range s.instances {
				if is, unsure := s.meant(b, i); is && !unsure {
					was[id] = true
				}
			}
			s.matched[b] = was
		}
	}
}

// meant: an instance is one of those that an operation is to come to, as it is now.
func (s *State) meant(b *bulk, i *instance) (is, unsure bool) {
	f := b.plan.Filter
	if i.acceptedPosition > b.position || !s.is(i, f, b.wall) {
		return false, false
	}
	return f.Version == 0 || i.version == nil || i.version.number == f.Version, f.Version > 0 && i.version == nil
}

// restedBulk is the operation that has rested the longest.
func (s *State) restedBulk() (next *bulk) {
	for _, b := range s.bulks {
		if b.runs && b.index < s.Index && (next == nil || b.advanced < next.advanced) {
			next = b
		}
	}
	return next
}

// advances decides on a slice: act by act, each with what follows from it.
func (s *State) advances(ordinal int, c *Command) {
	s.begin(cause{command: c})
	s.must(c)
	b := s.restedBulk()
	if b == nil || c.Answer.Bulk != b.id {
		if b != nil || c.Answer.Bulk != "" {
			fault("S4", "bulk operation %q goes on; %v has rested the longest", c.Answer.Bulk, b)
		}
		s.over()
		return
	}
	if s.bulksRun() > 1 {
		s.saw(BulkTurns)
	}
	from := *b
	for s.pending() && s.e.Facts[0].Ordinal == ordinal {
		n := slices.IndexFunc(s.e.Facts, func(f Fact) bool { return f.Ordinal != ordinal || f.Kind == "bulk.applied" })
		if n >= 0 && s.e.Facts[n].Ordinal == ordinal {
			s.appliesBulk(b, c, &s.e.Facts[n], n)
			continue
		}
		s.begin(cause{command: c})
		f := s.next()
		if s.record(f); f.Bulk != b.id {
			fault("S4", "%s of bulk operation %q, while %s goes on", f.Kind, f.Bulk, b.id)
		}
		switch f.Kind {
		case "bulk.advanced":
			s.passes(b, spot{f.Due, f.Other}, false)
			if f.Count != int32(b.matched-from.matched) || f.Changed != b.changed-from.changed || f.Refused != b.refused-from.refused {
				fault("S4", "a slice of bulk operation %s tells %+v; it was at %+v and is at %+v", b.id, f, from, b)
			}
			b.advanced = f.Position
			if b.slices++; b.slices > 1 {
				s.saw(BulkSlices)
			}
		case "bulk.completed":
			for _, i := range s.instances {
				if is, unsure := s.meant(b, i); is && !unsure && i.spot().compare(b.last) > 0 && s.matched[b][i.id] {
					fault("S4", "bulk operation %s is over, and did not come to %s", b.id, i.id)
				}
			}
			if f.Count != int32(b.matched) || f.Changed != b.changed || f.Refused != b.refused {
				fault("S4", "bulk operation %s tells %+v at its end, and came to %+v", b.id, f, b)
			}
			b.runs, b.ends = false, Completed
			s.saw(BulkDone)
		default:
			fault("S4", "%s by a slice of bulk operation %s", f.Kind, b.id)
		}
	}
	s.over()
}

// passes: up to a place, or before it, no instance is left out that is meant now, and was as the entry began.
func (s *State) passes(b *bulk, to spot, before bool) {
	if to.compare(b.last) < 0 {
		fault("S4", "bulk operation %s goes back from %v to %v", b.id, b.last, to)
	}
	for _, i := range s.instances {
		is, unsure := s.meant(b, i)
		if p := i.spot(); is && !unsure && s.matched[b][i.id] && p.compare(b.last) > 0 && (p.compare(to) < 0 || !before && p == to) {
			fault("S4", "bulk operation %s goes on behind %v, and did not come to %s", b.id, to, i.id)
		}
	}
	b.last = to
}

// appliesBulk takes in what an operation did to an instance: the facts before the one that says so.
func (s *State) appliesBulk(b *bulk, slice *Command, told *Fact, facts int) {
	i := s.instances[told.Other]
	if i == nil {
		fault("S4", "bulk operation %s comes to %q, which is not", b.id, told.Other)
	}
	is, _ := s.meant(b, i)
	if p := i.spot(); !is || p.compare(b.last) <= 0 {
		fault("S4", "bulk operation %s of %+v, at %v, comes to %s, which is %s at %v", b.id, b.plan, b.last, i.id, i.state, p)
	}
	s.passes(b, i.spot(), true)
	b.last = i.spot()
	act := &Command{Kind: b.plan.Act, Instance: i.id, Step: b.plan.Step, Answer: Answer{Code: told.Code, Duplicate: told.Changed+told.Refused == 0, State: i.state}}
	if act.Kind == Reset {
		act.setsBackNow(i, b.plan)
	}
	was := i.state
	s.begin(cause{command: act, bulk: b.id})
	check := s.decideBulk(act, i)
	for range facts {
		s.fact(s.next())
	}
	if act.Answer.State = i.state; check != nil { // that is told to nobody
		check()
	}
	if same := slices.Contains([]string{Cancelling, Cancelled, Compensating}, was); act.Kind == Cancel && act.Answer.Code == "" && same != act.Answer.Duplicate {
		fault("S4", "bulk operation %s tells that %s, which was %s, is cancelled: %v", b.id, i.id, was, same)
	}
	s.begin(cause{command: slice})
	s.record(s.next())
	b.matched, b.changed, b.refused = b.matched+1, b.changed+told.Changed, b.refused+told.Refused
	if told.Refused != int64(len(told.Code[:min(1, len(told.Code))])) || told.Changed+told.Refused > 1 || told.Bulk != b.id {
		fault("S4", "bulk operation %s tells %+v", b.id, told)
	}
	switch {
	case told.Refused > 0:
		s.saw(BulkRefused)
	case told.Changed > 0:
		s.saw(BulkChanged)
	default:
		s.saw(BulkSame)
	}
}

// setsBackNow has a command set an instance back as it is now; what it is answered but for a refusal is told to nobody.
func (c *Command) setsBackNow(i *instance, p BulkPlan) {
	c.From, c.Compensate = p.Step, p.Compensate
	if r := i.now(p.Step); r != nil {
		c.Index = r.frame.place
	}
	back := i.flow.back(p.Step)
	if c.Answer.Index, c.Answer.Back = i.resets+1, len(back); p.Compensate {
		c.Answer.Undone = len(i.toUndoBack(back))
	}
	if c.Answer.Code == "OVERLOADED" {
		fault("S4", "a bulk operation does not come to %s, for its entry has done enough", i.id)
	}
}

// decideBulk is decide, of what a bulk operation does to an instance.
func (s *State) decideBulk(c *Command, i *instance) func() {
	if c.Kind != RetryAll {
		return s.decide(c)
	}
	if over(i.state) {
		s.refused(c, "ALREADY_ENDED")
		return nil
	}
	var still []*run
	wanted := false
	for _, r := range i.runs {
		if r.state == Incident {
			still = append(still, r)
			wanted = wanted || r.undoes != nil || r.wanted()
		}
	}
	if len(still) > 0 && !wanted {
		s.refused(c, "STOPPING")
		return nil
	}
	s.must(c)
	return func() {
		if (len(still) == 0) != c.Answer.Duplicate {
			fault("S4", "of %s %d runs stand still, and it is answered %+v", i.id, len(still), c.Answer)
		}
		for _, r := range still {
			if r.retried != s.causes && !over(r.state) && (r.undoes != nil || r.wanted()) {
				fault("S4", "step %s of %s stands still, and is not tried again", r.name, i.id)
			}
		}
		if len(still) > 0 {
			s.saw(BulkRetried)
		}
	}
}

// BulkCame is what an operation has come to.
func (s *State) BulkCame(id string) (matched, changed, refused int64, runs bool) {
	b := s.bulks[id]
	if b == nil {
		return 0, 0, 0, false
	}
	return b.matched, b.changed, b.refused, b.runs
}
