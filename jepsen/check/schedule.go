package check

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Plan is what a schedule says. Its times are Every apart, of whole seconds, from the one in which it was made.
type Plan struct {
	Every   time.Duration
	Overlap string // SKIP, QUEUE, CANCEL_PREVIOUS or ALLOW
	Limit   int    // of the times that wait, with QUEUE
	CatchUp time.Duration
}

// undecided is for how long a time may have come, when the feed ends, and nothing be said of it.
const undecided = 5 * time.Second

// Schedules checks what becomes of the times of schedules. Each is decided once, behind the one before it, when it has come by the feed's
// wall time, and is not too old: none is left out but by an event that says so, and by a pause. What becomes of it follows from what
// runs and what waits. It starts the instance that has its name, once, and nothing else starts one. What fires by hand somebody asked
// for.
//
// plans are by what comes before the last dash of a schedule's name.
func Schedules(ops []*Op, events []Event, plans map[string]Plan) []Fact {
	c := schedules{plans: plans, all: map[string]*schedule{}, started: map[string]bool{}, doomed: map[string]bool{}, asked: map[firing]bool{}}
	for _, op := range ops {
		if op.Kind == "trigger" {
			c.asked[firing{op.Schedule, op.At}] = true
		}
	}
	for _, e := range events {
		c.see(e)
	}
	c.end()
	return c.f.list
}

type schedules struct {
	f       faults
	plans   map[string]Plan
	all     map[string]*schedule
	asked   map[firing]bool
	started map[string]bool // instances
	doomed  map[string]bool // instances whose place another time takes
	newborn Event           // an instance that was started, until a schedule says for which time
	wall    int64
}

// firing is a time of a schedule, in unix nanoseconds.
type firing struct {
	schedule string
	at       int64
}

// schedule is one, as far as the feed has come.
type schedule struct {
	Plan
	name    string
	after   int64 // times up to here are over
	paused  int64 // since when; zero: it is not
	running string
	queued  []int64
	freed   bool // the last that waited was just replaced, by what is decided next
}

func (s *schedule) next(n int64) int64 {
	return s.after/int64(time.Second)*int64(time.Second) + n*int64(s.Every)
}

// instance is the one of a time.
func (s *schedule) instance(at int64) string {
	return s.name + "@" + time.Unix(0, at).UTC().Format(time.RFC3339)
}

func (c *schedules) see(e Event) {
	c.wall = max(c.wall, e.Wall)
	name, _, scheduled := strings.Cut(e.Instance, "@")
	switch kind, of, _ := strings.Cut(e.Type, "."); {
	case kind == "schedule":
		c.change(e, of)
	case !scheduled:
	case e.Type == "instance.started":
		c.orphan()
		c.newborn = e
	case e.Type == "instance.completed" || e.Type == "instance.failed" || e.Type == "instance.cancelled":
		if c.doomed[e.Instance] && e.Type != "instance.cancelled" {
			c.f.add("schedule", "position %d: %s of %s, whose place another time takes", e.Position, e.Type, e.Instance)
		}
		if s := c.all[name]; s != nil && s.running == e.Instance {
			s.running = ""
		}
	}
}

// orphan is an instance with a name of a schedule's that none has started.
func (c *schedules) orphan() {
	if e := c.newborn; e.Instance != "" {
		c.f.add("schedule", "position %d: %s is started, and no schedule says so", e.Position, e.Instance)
	}
	c.newborn = Event{}
}

func (c *schedules) change(e Event, kind string) {
	s := c.all[e.Name]
	if (s == nil) != (kind == "created") {
		c.f.add("schedule", "position %d: %s of %s, which is there: %v", e.Position, e.Type, e.Name, s != nil)
	}
	switch {
	case kind == "created":
		plan, known := c.plans[e.Name[:max(0, strings.LastIndexByte(e.Name, '-'))]]
		if !known || plan.Overlap != e.Code {
			c.f.add("schedule", "position %d: %s is made with overlap %s, and is to be %+v", e.Position, e.Name, e.Code, plan)
		}
		c.all[e.Name] = &schedule{Plan: plan, name: e.Name, after: e.Wall}
	case s == nil:
	case kind == "deleted":
		delete(c.all, e.Name)
	case kind == "paused":
		s.paused = e.Wall
	case kind == "resumed":
		if s.paused = 0; !e.Late {
			s.after = max(s.after, e.Wall)
		}
	default:
		c.decide(s, e, kind)
	}
}

// decide sees what becomes of a time: one that waited, one of the schedule's own, or one by hand.
func (c *schedules) decide(s *schedule, e Event, kind string) {
	waited := len(s.queued) > 0 && e.Due == s.queued[0] && (kind == "fired" || e.Code == "REPLACED")
	switch own := c.own(s, e, kind); {
	case waited:
		c.leave(s, e, kind)
		return
	case own == "":
		s.after = e.Due
	case !c.asked[firing{s.name, e.Due}] || kind == "missed":
		c.f.add("schedule", "position %d: %s of %s for %s %s", e.Position, e.Type, s.name, date(e.Due), own)
		s.after = max(s.after, e.Due)
	}
	if kind == "missed" {
		return
	}
	if want, code := c.becomes(s, e.Due); want != kind || code != e.Code {
		c.f.add("schedule", "position %d: %s %s of %s for %s; it had to be %s %s, while %q runs and %d wait", e.Position, e.Type, e.Code, s.name, date(e.Due), want, code, s.running, len(s.queued))
	}
	s.freed = false
	switch kind {
	case "fired":
		c.start(s, e)
	case "queued":
		if s.Overlap == "CANCEL_PREVIOUS" && s.running != "" {
			c.doomed[s.running] = true
		}
		s.queued = append(s.queued, e.Due)
	}
}

// own says why a time is not the next of the schedule's own; empty when it is.
func (c *schedules) own(s *schedule, e Event, kind string) string {
	due := s.next(cmp.Or(e.Count, 1))
	late := e.Wall-e.Due > int64(s.CatchUp)
	switch {
	case e.Due <= s.after:
		return "is decided again, or behind a later one: up to " + date(s.after) + " all were over"
	case e.Due != due:
		return "comes when " + date(due) + " does"
	case e.Due > e.Wall:
		return "has not come at " + date(e.Wall)
	case s.paused != 0:
		return "comes while it is paused"
	case late != (kind == "missed"):
		return "was decided " + time.Duration(e.Wall-e.Due).String() + " behind it, and may be caught up with for " + s.CatchUp.String()
	}
	return ""
}

// becomes is what must become of a time that is decided now.
func (c *schedules) becomes(s *schedule, at int64) (kind, code string) {
	busy := s.running != "" || len(s.queued) > 0 || s.freed
	switch {
	case c.started[s.instance(at)]:
		return "skipped", "INSTANCE_EXISTS"
	case slices.Contains(s.queued, at):
		return "skipped", "QUEUED"
	case s.Overlap == "ALLOW" || !busy:
		return "fired", ""
	case s.Overlap == "CANCEL_PREVIOUS" || s.Overlap == "QUEUE" && len(s.queued) < s.Limit:
		return "queued", ""
	case s.Overlap == "QUEUE":
		return "skipped", "QUEUE_FULL"
	}
	return "skipped", "OVERLAP"
}

// leave sees the time that waits longest wait no more: it starts when nothing runs, unless the schedule is paused, or a later one replaces it.
func (c *schedules) leave(s *schedule, e Event, kind string) {
	s.queued = s.queued[1:]
	s.freed = kind != "fired"
	switch {
	case kind != "fired" && s.Overlap != "CANCEL_PREVIOUS":
		c.f.add("schedule", "position %d: %s of %s for %s, and it replaces nothing", e.Position, e.Code, s.name, date(e.Due))
	case kind == "fired":
		if s.running != "" || s.paused != 0 {
			c.f.add("schedule", "position %d: %s starts what waited for %s while %q runs; paused: %v", e.Position, s.name, date(e.Due), s.running, s.paused != 0)
		}
		c.start(s, e)
	}
}

// start sees the instance of a time begin.
func (c *schedules) start(s *schedule, e Event) {
	id := s.instance(e.Due)
	switch {
	case e.Instance != id || c.newborn.Instance != id:
		c.f.add("schedule", "position %d: %s fires for %s and names %q; what was started is %q", e.Position, s.name, date(e.Due), e.Instance, c.newborn.Instance)
	case c.started[id]:
		c.f.add("schedule", "position %d: %s is started again", e.Position, id)
	}
	c.started[id], c.newborn = true, Event{}
	if s.Overlap != "ALLOW" {
		s.running = id
	}
}

// end: what has come is decided, and what waits waits for something.
func (c *schedules) end() {
	c.orphan()
	for _, s := range c.all {
		until := c.wall
		if s.paused != 0 {
			until = s.paused
		}
		if next := s.next(1); next < until-int64(undecided) {
			c.f.add("schedule", "nothing is said of %s of %s, and it is %s", date(next), s.name, date(until))
		}
		if len(s.queued) > 0 && s.running == "" && s.paused == 0 {
			c.f.add("liveness", "%d times of %s wait for nothing", len(s.queued), s.name)
		}
	}
}
