package model

import (
	"slices"
	"time"
)

// What becomes of a time while an earlier one's instance runs.
const (
	SkipIt   = "SKIP"
	QueueIt  = "QUEUE"
	Replace  = "CANCEL_PREVIOUS"
	AllowAll = "ALLOW"
)

// Plan is what a schedule says.
type Plan struct {
	Workflow string
	Period   int64 // its times are so far apart, in nanoseconds, from the second in which it was made
	Overlap  string
	Limit    int32
	CatchUp  int64
	Input    int64
}

// schedule starts instances.
type schedule struct {
	name     string
	plan     Plan
	position int64 // of the event that made it
	after    int64 // times up to here are over
	paused   bool
	running  *instance
	queued   []int64
}

// firing is a time that is being decided.
type firing struct {
	of      *schedule
	at      int64
	count   int32 // of times that are missed
	byHand  bool
	outcome string // what must become of it
	code    string
	done    bool
}

const triggerAhead = 60 * second

// named is the instance of a time.
func (x *schedule) named(at int64) string {
	return x.name + "@" + time.Unix(0, at).UTC().Format("2006-01-02T15:04:05Z")
}

// decides says what must become of a time.
func (s *State) decides(x *schedule, at int64) (outcome, code string) {
	switch busy := x.running != nil || len(x.queued) > 0; {
	case s.instances[x.named(at)] != nil:
		return "skipped", "INSTANCE_EXISTS"
	case slices.Contains(x.queued, at):
		return "skipped", "QUEUED"
	case x.plan.Overlap == AllowAll || !busy:
		if _, code := s.toStart(x.plan.Workflow, 0); code != "" {
			return "failed", code
		}
		return "fired", ""
	case x.plan.Overlap == Replace:
		return "queued", ""
	case x.plan.Overlap == QueueIt && len(x.queued) < int(x.plan.Limit):
		return "queued", ""
	case x.plan.Overlap == QueueIt:
		return "skipped", "QUEUE_FULL"
	}
	return "skipped", "OVERLAP"
}

// ofSchedule decides what is asked of a schedule.
func (s *State) askSchedule(c *Command) func() {
	x := s.schedules[c.Schedule]
	switch {
	case c.Kind == Schedule:
		return s.makeSchedule(c, x)
	case c.Kind == Fire:
		return s.fire(c, x)
	case x == nil:
		s.refused(c, "SCHEDULE_NOT_FOUND")
		return nil
	case c.Kind == Trigger:
		return s.trigger(c, x)
	}
	s.must(c)
	return func() {
		now := s.schedules[c.Schedule]
		if c.Kind == Unschedule && now != nil || c.Kind != Unschedule && now.paused != (c.Kind == Pause) {
			fault("schedule", "%s is told done, and is not", c.say())
		}
	}
}

func (s *State) makeSchedule(c *Command, x *schedule) func() {
	switch {
	case x != nil && x.plan != c.Plan:
		s.refused(c, "SCHEDULE_EXISTS")
		return nil
	case x != nil:
		s.must(c)
		return nil
	case s.Wall == 0:
		s.refused(c, "UNAVAILABLE")
		return nil
	case c.Answer.Code == "WORKFLOW_NOT_FOUND":
		return nil // it was not registered yet
	}
	if _, code := s.toStart(c.Plan.Workflow, 0); code != "" {
		s.refused(c, code)
		return nil
	}
	s.must(c)
	return func() {
		if s.schedules[c.Schedule] == nil {
			fault("schedule", "%s is told done, and there is no such schedule", c.say())
		}
	}
}

// fire takes a time that a leader says has come: once, behind the one before it, and not before it has come. Which times those are
// follows from the period alone, so nothing is left out unless an event says so.
func (s *State) fire(c *Command, x *schedule) func() {
	s.must(c)
	takes := x != nil && x.position == c.Position && !x.paused && c.At <= s.Wall && c.At > c.After && c.After == x.after
	late := takes && c.At < s.Wall-x.plan.CatchUp
	if takes && !late && c.Missed > 0 {
		takes = false
	}
	if takes != c.Answer.Taken {
		fault("schedule", "%s of %d behind %d is answered with taken %v at %d", c.say(), c.At, c.After, c.Answer.Taken, s.Wall)
	}
	if !takes {
		s.saw(FiredAgain)
		return nil
	}
	if due := x.after/second*second + x.plan.Period*int64(c.Missed+1); c.At != due {
		fault("schedule", "%s takes the time %d; behind %d, and %d more, comes %d", c.say(), c.At, x.after, c.Missed, due)
	}
	s.firing = &firing{of: x, at: c.At, outcome: "missed", count: c.Missed + 1}
	if !late {
		s.firing.outcome, s.firing.code = s.decides(x, c.At)
	}
	s.touched.schedules = append(s.touched.schedules, x)
	return nil
}

func (s *State) trigger(c *Command, x *schedule) func() {
	if c.At <= 0 || c.At%second != 0 || c.At > s.Wall+triggerAhead {
		s.refused(c, "INVALID")
		return nil
	}
	s.must(c)
	answer := func(outcome, code string, existing bool) {
		if a := c.Answer; a.Outcome != outcome || a.Existing != existing || a.Why != code {
			fault("schedule", "%s is answered %+v; it is %s %s, before: %v", c.say(), a, outcome, code, existing)
		}
	}
	if i := s.instances[x.named(c.At)]; i != nil && i.plan == x.name {
		answer("fired", "", true)
		return nil
	}
	if slices.Contains(x.queued, c.At) {
		answer("queued", "", true)
		return nil
	}
	s.saw(Triggered)
	outcome, code := s.decides(x, c.At)
	answer(outcome, code, false)
	s.firing = &firing{of: x, at: c.At, byHand: true, outcome: outcome, code: code}
	s.touched.schedules = append(s.touched.schedules, x)
	return nil
}

// scheduleFact takes in what became of a schedule, or of a time of it.
func (s *State) scheduleFact(f *Fact) {
	c := s.cause.command
	asked := func(k Kind) bool { return c != nil && c.Kind == k && c.Schedule == f.Name }
	x := s.schedules[f.Name]
	if (x == nil) != (f.Kind == "schedule.created") {
		fault("schedule", "%s of %s, which is there: %v", f.Kind, f.Name, x != nil)
	}
	legal := false
	switch f.Kind {
	case "schedule.created":
		legal = asked(Schedule)
		s.schedules[f.Name] = &schedule{name: f.Name, plan: c.Plan, position: f.Position, after: s.Wall}
	case "schedule.deleted":
		legal = asked(Unschedule) && int(f.Count) == len(x.queued)
		delete(s.schedules, f.Name)
	case "schedule.paused":
		legal, x.paused = asked(Pause) && !x.paused, true
		s.saw(Paused)
	case "schedule.resumed":
		legal, x.paused = asked(Resume) && x.paused, false
		if !c.CatchUp {
			x.after = max(x.after, s.Wall)
		}
		s.touched.schedules = append(s.touched.schedules, x)
	default:
		legal = s.timeFact(f, x)
	}
	if !legal {
		fault("schedule", "%s of %s for %d, code %q, by %s, while %s runs and %v wait", f.Kind, f.Name, f.Due, f.Code, c.say(), x.runs(), x.queued)
	}
}

func (x *schedule) runs() string {
	if x == nil || x.running == nil {
		return "nothing"
	}
	return x.running.id
}

// timeFact takes in what became of a time; it says whether it had to be that.
func (s *State) timeFact(f *Fact, x *schedule) bool {
	w := s.firing
	ours := w != nil && w.of == x && w.at == f.Due && !w.done && f.Kind == "schedule."+w.outcome && f.Code == w.code
	switch {
	case ours:
		if w.done = true; !w.byHand {
			x.after = w.at
		}
		if !w.byHand && f.Lag != s.Wall-w.at {
			return false
		}
	case len(x.queued) == 0 || f.Due != x.queued[0]:
		return false
	}
	switch f.Kind {
	case "schedule.missed":
		s.saw(Missed)
		return ours && f.Count == w.count
	case "schedule.queued":
		s.saw(Queued)
		x.queued = append(x.queued, f.Due)
		return ours
	case "schedule.skipped":
		s.saw(Class("time skipped: " + f.Code))
		if ours {
			return true
		}
		x.queued = x.queued[1:]
		replaced := w != nil && w.of == x && !w.done && w.outcome == "queued" && x.plan.Overlap == Replace
		return f.Code == "REPLACED" && replaced || f.Code == "INSTANCE_EXISTS" && x.running == nil && !x.paused && s.instances[x.named(f.Due)] != nil
	case "schedule.failed":
		if s.saw(TimeDrained); ours {
			return true
		}
		x.queued = x.queued[1:]
		_, code := s.toStart(x.plan.Workflow, 0)
		return code == f.Code && x.running == nil && !x.paused
	case "schedule.fired":
		return s.fired(f, x, ours)
	}
	return false
}

// fired: the instance of the time has just been started, and of a schedule that allows no overlap nothing else runs.
func (s *State) fired(f *Fact, x *schedule, ours bool) bool {
	i := s.newborn
	s.newborn = nil
	s.cause.born = append(s.cause.born, i)
	if i == nil || i.id != f.Instance || i.id != x.named(f.Due) {
		return false
	}
	if !ours {
		s.saw(Dequeued)
		x.queued = x.queued[1:]
	}
	if x.plan.Overlap == AllowAll {
		if x.running != nil || s.runsBeside(x, i) {
			s.saw(Beside)
		}
		return true
	}
	if x.running != nil || x.paused && (s.firing == nil || !s.firing.byHand) {
		return false
	}
	x.running = i
	s.saw(Fired)
	return true
}

func (s *State) runsBeside(x *schedule, i *instance) bool {
	for _, o := range s.instances {
		if o != i && o.plan == x.name && !over(o.state) {
			return true
		}
	}
	return false
}

// startedBy finds the schedule that may start an instance now: it decides on that time, or the time waits and nothing runs.
func (s *State) startedBy(f *Fact) *schedule {
	if w := s.firing; w != nil && !w.done && w.outcome == "fired" && w.of.named(w.at) == f.Instance {
		return w.of
	}
	for _, x := range s.schedules {
		if x.running == nil && !x.paused && len(x.queued) > 0 && x.named(x.queued[0]) == f.Instance {
			return x
		}
	}
	return nil
}

// replaces: the time that is being decided has the instance cancelled that runs.
func (s *State) replaces(i *instance) bool {
	w := s.firing
	return w != nil && w.done && w.outcome == "queued" && w.of.plan.Overlap == Replace && w.of.running == i
}

// freed: an instance has ended, and its schedule goes on.
func (s *State) freed(i *instance) {
	if x := s.schedules[i.plan]; x != nil && x.running == i {
		x.running = nil
		s.touched.schedules = append(s.touched.schedules, x)
	}
}

// schedulesWhole: a time that was to be decided is, what it replaces stops, and nothing waits for nothing.
func (s *State) schedulesWhole() {
	if w := s.firing; w != nil {
		if !w.done {
			fault("schedule", "the time %d of %s must be %s, and nothing says so", w.at, w.of.name, w.outcome)
		}
		if i := w.of.running; s.replaces(i) && i != nil && i.state == Running && i.plan == w.of.name && i.id != w.of.named(w.at) {
			fault("schedule", "%s runs on, and the time %d is to take its place", i.id, w.at)
		}
	}
	if s.newborn != nil {
		fault("schedule", "%s is started, and no schedule says so", s.newborn.id)
	}
	for _, x := range s.touched.schedules {
		if s.schedules[x.name] == x && x.running == nil && !x.paused && len(x.queued) > 0 {
			fault("liveness", "%d times of %s wait, and nothing runs", len(x.queued), x.name)
		}
	}
	s.firing, s.touched.schedules = nil, s.touched.schedules[:0]
}
