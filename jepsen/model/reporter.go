package model

import (
	"maps"
	"slices"
)

// SweepLock is held by who asks reporters.
const SweepLock = "lockstep.sweep"

const mostReporters = 32

// Reporter is what a reporter is registered as. Times are nanoseconds.
type Reporter struct {
	URL           string
	Every, Silent int64
}

// Ask says that a reporter was asked, and what came of that.
type Ask struct {
	ID, Error                   string
	Runs, Observations, Refused int64
}

// registered is one of a namespace.
type registered struct {
	Reporter
	position int64
	last     Ask
	token    int64
	failures int
	total    Ask
}

// askReporter decides what is asked of a reporter, by its name.
func (s *State) askReporter(c *Command) func() {
	x := s.reporters[c.Name]
	switch {
	case c.Kind == Enlist && x == nil && len(s.reporters) >= mostReporters:
		s.refused(c, "REPORTER_LIMIT")
	case c.Kind == Enlist && x != nil && x.Reporter != c.Reporter:
		s.refused(c, "REPORTER_EXISTS")
	case c.Kind != Enlist && x == nil, c.Kind == Asked && x.position != c.Position:
		s.refused(c, "REPORTER_NOT_FOUND")
	case c.Kind == Enlist:
		s.must(c)
		return func() {
			if s.reporters[c.Name] == nil || c.Answer.Existing != (x != nil) {
				fault("S5", "%s of %s is answered %+v", c.say(), c.Name, c.Answer)
			}
		}
	case c.Kind == Strike:
		s.must(c)
		return func() {
			if s.reporters[c.Name] != nil {
				fault("S4", "%s is removed, and is there", c.Name)
			}
		}
	case c.Ask.ID == x.last.ID:
		if s.must(c); !c.Answer.Duplicate {
			fault("S5", "ask %s of %s is recorded twice", c.Ask.ID, c.Name)
		}
		s.saw(AskAgain)
	case s.lock(SweepLock).holder(c.Token) == nil:
		s.refused(c, "FENCED")
		s.saw(AskFenced)
	default:
		s.must(c)
		return func() {
			if x.last != c.Ask || c.Answer.Duplicate {
				fault("S5", "%s of %s is answered %+v, and %+v is recorded", c.say(), c.Name, c.Answer, x.last)
			}
		}
	}
	return nil
}

// reporterFact is what happens to a reporter.
func (s *State) reporterFact(f *Fact) {
	c, x := s.cause.command, s.reporters[f.Reporter]
	told := c != nil && c.Name == f.Reporter
	switch f.Kind {
	case "reporter.registered":
		if !told || c.Kind != Enlist || x != nil || f.Name != c.Reporter.URL || f.Per != c.Reporter.Every || f.Delay != c.Reporter.Silent {
			fault("S4", "reporter %s is registered, by %s", f.Reporter, c.say())
		}
		if s.reporters == nil {
			s.reporters = map[string]*registered{}
		}
		s.reporters[f.Reporter] = &registered{Reporter: c.Reporter, position: f.Position}
	case "reporter.removed":
		if !told || c.Kind != Strike || x == nil {
			fault("S4", "reporter %s is removed, by %s", f.Reporter, c.say())
		}
		delete(s.reporters, f.Reporter)
	default:
		if !told || c.Kind != Asked || x == nil || f.Token != c.Token || int64(f.Count) != c.Ask.Runs || f.Changed != c.Ask.Observations || f.Refused != c.Ask.Refused {
			fault("S4", "reporter %s is told as asked, by %s", f.Reporter, c.say())
		}
		if s.lock(SweepLock).holder(f.Token) == nil {
			fault("S2", "reporter %s is told as asked under token %d, which does not hold %s", f.Reporter, f.Token, SweepLock)
		}
		x.last, x.token = c.Ask, c.Token
		if x.failures++; c.Ask.Error == "" {
			x.failures = 0
		}
		x.total.Runs, x.total.Observations, x.total.Refused = x.total.Runs+c.Ask.Runs, x.total.Observations+c.Ask.Observations, x.total.Refused+c.Ask.Refused
		s.saw(ReporterAsked)
	}
}

// ReporterNames are those that are registered, in order.
func (s *State) ReporterNames() []string { return slices.Sorted(maps.Keys(s.reporters)) }

// ReporterIs is what is known of one: what it was asked in all, why it failed last, how often in a row, and under which token it was asked.
func (s *State) ReporterIs(name string) (total Ask, failures int, position, token int64) {
	x := s.reporters[name]
	total = x.total
	total.Error = x.last.Error
	return total, x.failures, x.position, x.token
}
