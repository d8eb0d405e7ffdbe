package graph

import (
	"crypto/sha256"
	"encoding/hex"
)

// Definition is what a workflow says, with every default filled in.
type Definition struct {
	Workflow string
	// Version is what the source asks for; zero is the next one. It is no part of the canonical form.
	Version     int32
	InputSchema any // nil if none
	// Sequential: compensations run one at a time, the newest completion first.
	Sequential bool
	// Total is how long an instance may take, in nanoseconds; zero is for ever.
	Total     int64
	Steps     []Step
	HasOutput bool
	Output    any
}

// Step is one step of a definition.
type Step struct {
	ID                  string
	Kind                Kind
	Needs               []Need
	Join                Join
	AtLeast             int
	When                string
	Queue, Task, Signal string
	Timer               Timer
	Role                string // whose approval
	Call                Call
	Await               Await
	Barrier             Barrier
	Race                bool // its needs are waits, which end when the first of them completes
	HasInput            bool
	Input               any
	Locks               []StepLock
	Limits              []Limit
	Retry               Retry
	Timeouts            Timeouts
	Priority            int
	Fairness            Fairness
	Keys                []StepKey // that its completion gives the instance
	Compensate          *Step     // nil if none
	Reconcile           Reconcile // what to do about drift
	Body                *Body     // what is inside it; nil if nothing
}

// StepLock is a lock whose name is a template.
type StepLock struct {
	Name        string
	Shared      bool
	Limit, Take int32
	Hold        Hold
}

const (
	defaultQueue = "default"
	day          = int64(86400e9)
)

// defaultRetry and defaultTimeouts belong to the language: the canonical form leaves them out, so they can
// never change for definitions that exist.
func defaultRetry() Retry {
	return Retry{Attempts: 3, Backoff: 1e9, MaxBackoff: 60e9, Factor: 2}
}

func defaultTimeouts(k Kind) Timeouts {
	if k.Waits() { // a timer has it for the case that its date is none
		return Timeouts{Total: 30 * day}
	}
	return Timeouts{Queue: 7 * day, Run: 3600e9, Total: 30 * day}
}

// Canonical is the definition's one JSON form. Definitions that differ only in formatting, comments, spelled
// out defaults, the spelling of durations, or the order of keys have equal bytes; the order of steps and of
// lists counts. What equals its default is left out.
func (d *Definition) Canonical() ([]byte, error) {
	o := Object{{"workflow", d.Workflow}}
	if d.InputSchema != nil {
		o = append(o, Member{"inputSchema", d.InputSchema})
	}
	if d.Sequential {
		o = append(o, Member{"compensation", "sequential"})
	}
	if d.Total > 0 {
		o = append(o, Member{"timeouts", Object{{"total", formatDuration(d.Total)}}})
	}
	o = append(o, Member{"steps", canonicalSteps(d.Steps)})
	if d.HasOutput {
		o = append(o, Member{"output", d.Output})
	}
	return encodeValue(o, maxDefinition)
}

func canonicalSteps(steps []Step) []any {
	list := make([]any, len(steps))
	for i := range steps {
		list[i] = steps[i].canonical()
	}
	return list
}

func digest(canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}

func (s *Step) canonical() Object {
	o := Object{{"id", s.ID}}
	put := func(present bool, key string, v any) {
		if present {
			o = append(o, Member{key, v})
		}
	}
	put(len(s.Needs) > 0, s.needsKey(), s.canonicalNeeds())
	put(s.Join == JoinAny && !s.Race, "join", "any")
	put(s.Join == JoinAtLeast, "join", Object{{"atLeast", int64(s.AtLeast)}})
	put(s.When != "", "when", s.When)
	if s.Kind.Waits() {
		put(true, s.Kind.name(), s.awaited())
	}
	put(s.Kind == KindTask && s.Queue != defaultQueue, "queue", s.Queue)
	put(s.Kind == KindTask && s.Task != s.ID, "task", s.Task)
	put(s.HasInput, "input", s.Input)
	put(len(s.Locks) > 0, "locks", s.canonicalLocks())
	put(len(s.Limits) > 0, "limits", s.canonicalLimits())
	retry := s.canonicalRetry()
	put(len(retry) > 0, "retry", retry)
	timeouts := s.canonicalTimeouts()
	put(len(timeouts) > 0, "timeouts", timeouts)
	put(s.Priority != 0, "priority", int64(s.Priority))
	put(s.Fairness.Key != "", "fairness", s.Fairness.canonical())
	put(len(s.Keys) > 0, "keys", canonicalKeys(s.Keys))
	if s.Compensate != nil {
		o = append(o, Member{"compensate", s.canonicalCompensation()})
	}
	put(len(s.Reconcile) > 0, "reconcile", s.Reconcile.canonical())
	return o
}

// needsKey is where the step names its needs.
func (s *Step) needsKey() string {
	if s.Race {
		return "race"
	}
	return "needs"
}

func (s *Step) canonicalLocks() []any {
	list := make([]any, len(s.Locks))
	for i, l := range s.Locks {
		o := Object{{"name", l.Name}}
		if l.Shared {
			o = append(o, Member{"shared", true})
		}
		if l.Limit > 0 {
			o = append(o, Member{"limit", int64(l.Limit)}, Member{"take", int64(l.Take)})
		}
		if l.Hold != HoldStep {
			o = append(o, Member{"hold", l.Hold.String()})
		}
		list[i] = o
	}
	return list
}

func (s *Step) canonicalRetry() Object {
	var o Object
	r, d := s.Retry, defaultRetry()
	if s.Kind.Waits() {
		return nil
	}
	if r.Attempts != d.Attempts {
		o = append(o, Member{"attempts", int64(r.Attempts)})
	}
	o = appendDuration(o, "backoff", r.Backoff, d.Backoff)
	o = appendDuration(o, "maxBackoff", r.MaxBackoff, d.MaxBackoff)
	if len(r.NonRetryable) > 0 {
		o = append(o, Member{"nonRetryable", texts(r.NonRetryable)})
	}
	return o
}

func (s *Step) canonicalTimeouts() Object {
	t, d := s.Timeouts, defaultTimeouts(s.Kind)
	o := appendDuration(nil, "queue", t.Queue, d.Queue)
	o = appendDuration(o, "run", t.Run, d.Run)
	o = appendDuration(o, "total", t.Total, d.Total)
	o = appendDuration(o, "heartbeat", t.Heartbeat, d.Heartbeat)
	return appendDuration(o, "locks", t.Locks, d.Locks)
}

func appendDuration(o Object, key string, ns, without int64) Object {
	if ns == without {
		return o
	}
	return append(o, Member{key, formatDuration(ns)})
}

func texts(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
