// Package check compares what clients were told under faults with what the cluster says has happened: the answers in
// Op with the feed of events that every node tells. It imports nothing of ours, and has the rules from the guarantees
// alone.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Outcomes of an operation.
const (
	OK      = "ok"      // the cluster said yes
	Refused = "refused" // it said no, and nothing happened
	Unknown = "unknown" // nobody said
)

// Op is an operation as its caller saw it: what was asked, and what was answered between Invoke and Return.
type Op struct {
	// Kind is start, message, schedule, pause, resume, unschedule, trigger, signal, cancel, approve, reject, lease, release, complete, halt, unhalt, retry, skip, resolve, update, bulk, report, apply, read, stale, acquire, unlock, or look, which is peek when there are many at once.
	Kind     string        `json:"kind"`
	Instance string        `json:"instance,omitempty"`
	Step     string        `json:"step,omitempty"`
	Signal   string        `json:"signal,omitempty"` // its id
	Keys     []string      `json:"keys,omitempty"`   // of the instance that is started; a message goes by the first
	Starts   string        `json:"starts,omitempty"` // what a message may start, which has them all
	Schedule string        `json:"schedule,omitempty"`
	At       int64         `json:"at,omitempty"` // the time that a schedule is fired for by hand, in unix nanoseconds
	Lock     string        `json:"lock,omitempty"`
	Token    int64         `json:"token,omitempty"`
	Lapses   bool          `json:"lapses,omitempty"` // of a session that may expire
	Until    time.Duration `json:"until,omitempty"`  // when it may, at the earliest
	Reason   string        `json:"reason,omitempty"` // of what an operator did, its own; none: nothing was told, for it was so before
	Plan     string        `json:"plan,omitempty"`   // that is applied
	Touches  []Touch       `json:"touches,omitempty"`
	Seen     []string      `json:"seen,omitempty"` // steps that a read saw completed
	Age      time.Duration `json:"age,omitempty"`  // of a stale read: how old it says that it may be
	Outcome  string        `json:"outcome"`
	Code     string        `json:"code,omitempty"`
	Invoke   time.Duration `json:"invoke"`
	Return   time.Duration `json:"return"`
}

// Event is one of the feed, in the order of Position.
type Event struct {
	Position int64
	Type     string // without prefix and version: step.completed
	Instance string
	Step     string
	Token    int64
	Signal   string // its id
	Name     string // the signal's, the schedule's, or the barrier's; the step of a fork, and as what one is copied
	Key      string // by which a signal was sent, or a step waits, or that a step gave
	Lock     string
	Shared   bool
	Take     int64
	Late     bool
	Code     string
	Due      int64 // the date of a timer, or the time of a schedule, in unix nanoseconds; zero is none
	Count    int64 // of times of a schedule, of a barrier's parties, of those that a step waits for by a key, or of steps that a fork copies, or a reset sets back
	Wall     int64 // unix nanoseconds, as it shows
	// Of a slot that is taken: the limit's key, how many it has, and in which time. Count is how many are taken.
	LimitKey string
	Limit    int64
	Per      time.Duration
	// Another instance, and a step of it: who called one that is started, or whom a step waits for.
	Other, OtherStep string
	Instances        []string // with which a step goes on that waited by a key
	Forked           string   // what an instance that is started was forked from
	Through          int64    // the position up to which removal took what had ended; Count is how many that was
	Reason           string
	Index            int32  // of a reset: the activation that begins
	Bulk             string // the operation that it is about, or by which it happened; Count is how many matched, and so many were changed
	Changed          int64
	Plan, Drift      string // of an observation, and of a plan
}

// Fact is a violation.
type Fact struct {
	Guarantee string `json:"guarantee"`
	What      string `json:"what"`
}

// faults collects violations of one check; more than a few of a kind say no more.
type faults struct{ list []Fact }

func (f *faults) add(guarantee, format string, args ...any) {
	if len(f.list) < 20 {
		f.list = append(f.list, Fact{guarantee, fmt.Sprintf(format, args...)})
	}
}

// step names a run: these workloads have one of each step.
type step struct{ instance, step string }

// Feed checks a feed by itself: no gap, tokens that only grow, one completion of a run under the token of its newest
// lease, no step before those it needs, no instance before its steps, unless they lost a race, no lock held by more than it takes;
// and its wall clock does not run backwards.
//
// needs are the steps that a step needs, by the first word of an instance's name and the step: each step has its place
// there, also one that needs none. limits are permits by lock.
func Feed(events []Event, needs map[string][]string, limits map[string]int64) []Fact {
	var f faults
	var wall int64
	state := feed{f: &f, needs: needs, steps: stepsOf(needs), limits: limits, leased: map[step]int64{}, completed: map[step]bool{}, lost: map[step]bool{}, holders: map[string][]Event{}}
	for i, e := range events {
		if e.Position != int64(i)+1 {
			f.add("L7", "event %d of the feed has position %d", i+1, e.Position)
			return f.list
		}
		if e.Wall < wall {
			f.add("S6", "position %d is %s older than the one before it", e.Position, time.Duration(wall-e.Wall))
		}
		wall = max(wall, e.Wall)
		state.see(e)
	}
	return f.list
}

func stepsOf(needs map[string][]string) map[string][]string {
	out := map[string][]string{}
	for key := range needs {
		name, step, _ := strings.Cut(key, "/")
		out[name] = append(out[name], step)
	}
	return out
}

type feed struct {
	f         *faults
	needs     map[string][]string
	steps     map[string][]string // by the first word of an instance's name
	limits    map[string]int64
	token     int64
	leased    map[step]int64 // the token of the newest lease
	completed map[step]bool
	lost      map[step]bool // races
	holders   map[string][]Event
}

func (s *feed) see(e Event) {
	run := step{e.Instance, e.Step}
	switch e.Type {
	case "step.leased":
		s.newToken(e)
		if s.completed[run] {
			s.f.add("S1", "position %d: %s of %s is leased after its completion", e.Position, e.Step, e.Instance)
		}
		s.leased[run] = e.Token
	case "step.completed":
		switch {
		case s.completed[run]:
			s.f.add("S1", "position %d: %s of %s is completed again", e.Position, e.Step, e.Instance)
		case s.leased[run] != e.Token:
			s.f.add("S2", "position %d: %s of %s is completed under token %d; its newest lease has %d", e.Position, e.Step, e.Instance, e.Token, s.leased[run])
		}
		for _, need := range s.needs[first(e.Instance)+"/"+e.Step] {
			if !s.completed[step{e.Instance, need}] {
				s.f.add("S1", "position %d: %s of %s is completed before %s, which it needs", e.Position, e.Step, e.Instance, need)
			}
		}
		s.completed[run] = true
	case "step.copied": // it was done in what the instance was forked from
		s.completed[run] = e.Name == "COMPLETED"
	case "step.resolved":
		if e.Code == "" { // else it is to fail
			s.newToken(e)
			s.leased[run] = e.Token
		}
	case "step.skipped":
		s.lost[run] = e.Code == "RACE_LOST"
	case "instance.completed":
		for _, name := range s.steps[first(e.Instance)] {
			if its := (step{e.Instance, name}); !s.completed[its] && !s.lost[its] {
				s.f.add("S1", "position %d: %s is completed, and its step %s is not", e.Position, e.Instance, name)
			}
		}
	case "lock.granted":
		if e.Instance == "" {
			s.newToken(e)
		}
		s.grant(e)
	case "lock.released":
		s.holders[e.Lock] = slices.DeleteFunc(s.holders[e.Lock], func(h Event) bool { return h.Token == e.Token })
	}
}

// first is the first word of an instance's name; of one that was called, the step that did; and of one that a schedule started, the schedule's.
func first(name string) string {
	name, _, _ = strings.Cut(name, "@")
	name = name[strings.LastIndexByte(name, ':')+1:]
	for i := range name {
		if name[i] == '-' {
			return name[:i]
		}
	}
	return name
}

func (s *feed) newToken(e Event) {
	if e.Token <= s.token {
		s.f.add("S1", "position %d: token %d is granted after %d", e.Position, e.Token, s.token)
	}
	s.token = max(s.token, e.Token)
}

func (s *feed) grant(e Event) {
	holders := append(s.holders[e.Lock], e)
	s.holders[e.Lock] = holders
	if limit, permits := s.limits[e.Lock]; permits {
		var taken int64
		for _, h := range holders {
			taken += max(h.Take, 1)
		}
		if taken > limit {
			s.f.add("S2", "position %d: lock %s has %d of %d permits taken", e.Position, e.Lock, taken, limit)
		}
		return
	}
	exclusive := slices.ContainsFunc(holders, func(h Event) bool { return !h.Shared })
	if exclusive && len(holders) > 1 {
		s.f.add("S2", "position %d: lock %s is granted under token %d while token %d holds it", e.Position, e.Lock, e.Token, holders[0].Token)
	}
}

// placed is an operation with the place of its event in the feed.
type placed struct {
	*Op
	position int64
}

// Answers checks what was answered against the feed: what was acknowledged is there (S3), and in an order in which what
// was answered before something else was asked also happened before it (S4); what a linearizable read saw is what had
// happened by then (S4); a completion that was refused did not happen, and a decision that was refused is not the one that counts (S5).
func Answers(ops []*Op, events []Event) []Fact {
	var f faults
	at := positions(events)
	var order []placed
	for _, op := range ops {
		key, leaves := op.caused()
		position := at[key]
		switch {
		case !leaves:
		case op.Outcome == OK && position == 0:
			f.add("S3", "%s of %s%s%s was acknowledged at %s and is not in the feed (%s)", op.Kind, op.Instance, op.Lock, slash(op.Step), op.Return, key)
		case op.Outcome == OK:
			order = append(order, placed{op, position})
		case op.Outcome == Refused && op.Kind == "complete" && op.Code == "FENCED" && position != 0 && !answered(ops, op):
			f.add("S5", "completion of %s/%s under token %d was refused with %s, and is in the feed at %d", op.Instance, op.Step, op.Token, op.Code, position)
		case op.Outcome == Refused && op.Code == "ALREADY_DONE" && position != 0 && op.decides():
			f.add("S5", "%s of %s/%s was refused with %s, and is what counts, at %d of the feed", op.Kind, op.Instance, op.Step, op.Code, position)
		}
	}
	inOrder(&f, order)
	reads(&f, ops, events)
	return f.list
}

func slash(s string) string {
	if s == "" {
		return ""
	}
	return "/" + s
}

// answered says whether the same completion was accepted, or may have been, in another call.
func answered(ops []*Op, refused *Op) bool {
	return slices.ContainsFunc(ops, func(op *Op) bool {
		return op != refused && op.Kind == refused.Kind && op.Token == refused.Token && op.Outcome != Refused
	})
}

// inOrder checks real-time order. In order of invocation, nothing may lie before what had returned by then.
func inOrder(f *faults, order []placed) {
	byReturn := slices.Clone(order)
	slices.SortFunc(order, func(a, b placed) int { return cmp.Compare(a.Invoke, b.Invoke) })
	slices.SortFunc(byReturn, func(a, b placed) int { return cmp.Compare(a.Return, b.Return) })
	next, newest := 0, placed{}
	for _, op := range order {
		for ; next < len(byReturn) && byReturn[next].Return < op.Invoke; next++ {
			if byReturn[next].position > newest.position {
				newest = byReturn[next]
			}
		}
		// An operation whose event may have been another call's before (the same start again) proves nothing late.
		if newest.Op != nil && op.position < newest.position && !op.retold() {
			f.add("S4", "%s of %s%s%s, asked at %s, happened at %d, before %s of %s%s%s at %d, which was answered at %s",
				op.Kind, op.Instance, op.Lock, slash(op.Step), op.Invoke, op.position, newest.Kind, newest.Instance, newest.Lock, slash(newest.Step), newest.position, newest.Return)
		}
	}
}

// reads checks what reads saw of completions: all that were acknowledged before the read was asked, none that was asked
// after it was answered, and never less than a read before.
func reads(f *faults, ops []*Op, events []Event) {
	byInstance := map[string][]*Op{}
	for _, op := range ops {
		if op.Kind == "complete" || op.Kind == "read" {
			byInstance[op.Instance] = append(byInstance[op.Instance], op)
		}
	}
	happened := map[step]bool{}
	for _, e := range events {
		if e.Type == "step.completed" {
			happened[step{e.Instance, e.Step}] = true
		}
	}
	for _, all := range byInstance {
		for _, read := range all {
			if read.Kind != "read" || read.Outcome != OK {
				continue
			}
			for _, seen := range read.Seen {
				if !happened[step{read.Instance, seen}] {
					f.add("S4", "a read of %s at %s saw %s completed, which the feed does not have", read.Instance, read.Return, seen)
				}
			}
			for _, other := range all {
				compare(f, read, other)
			}
		}
	}
}

func compare(f *faults, read, other *Op) {
	if other.Outcome == OK && other.Return < read.Invoke {
		if other.Kind == "complete" && !slices.Contains(read.Seen, other.Step) {
			f.add("S4", "a read of %s, asked at %s, did not see the completion of %s that was acknowledged at %s", read.Instance, read.Invoke, other.Step, other.Return)
		}
		for _, seen := range other.Seen {
			if !slices.Contains(read.Seen, seen) {
				f.add("S4", "a read of %s, asked at %s, did not see %s completed, which one answered at %s had seen", read.Instance, read.Invoke, seen, other.Return)
			}
		}
	}
}

// Completion is one that its worker was told is accepted.
type Completion struct {
	Instance, Step string
	Token          int64
}

// Completions checks those that workers were told are accepted: each is in the feed, under its token. So no run has two.
func Completions(told []Completion, events []Event) []Fact {
	var f faults
	happened := map[step]int64{}
	for _, e := range events {
		if e.Type == "step.completed" {
			happened[step{e.Instance, e.Step}] = e.Token
		}
	}
	for _, c := range told {
		if got := happened[step{c.Instance, c.Step}]; got != c.Token {
			f.add("S1", "a worker was told that its completion of %s/%s under token %d is accepted; the feed has one under token %d", c.Instance, c.Step, c.Token, got)
		}
	}
	return f.list
}
