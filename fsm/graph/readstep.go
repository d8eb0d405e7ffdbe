package graph

import (
	"slices"
	"strings"
)

// stepKeys are the keys of a step that this version runs.
func stepKeys() []string {
	return []string{"needs", "join", "when", "queue", "task", "input", "locks", "limits", "retry", "timeouts", "priority", "fairness", "keys", "signal", "timer", "approval", "call", "await", "barrier", "scope", "forEach", "loop", "race", "compensate", "reconcile"}
}

// laterKeys are the keys that the language has and this version does not run.
func laterKeys() []string {
	return []string{"gateway", "while", "until", "edges", "default"}
}

// steps reads a mapping from id to step, or a list of steps with an id each (the canonical form, which keeps
// the order where mappings cannot).
func (r *reader) steps(path string, v any) []Step {
	var steps []Step
	switch v := v.(type) {
	case Object:
		for _, m := range v {
			steps = append(steps, r.step(m.Key, m.Value, path))
		}
	case []any:
		for i, item := range v {
			o, ok := r.object(AtIndex(path, i), item, "a step is a mapping")
			if !ok {
				continue
			}
			id := r.name(AtIndex(path, i), o, "id", "")
			steps = append(steps, r.step(id, without(o, "id"), path))
		}
	default:
		r.refuse(path, "steps is a mapping from each step's id to the step, not %s", describe(v))
		return nil
	}
	if r.count += len(steps); len(steps) == 0 {
		r.refuse(path, "a workflow needs at least one step")
	} else if r.count > maxSteps && r.count-len(steps) <= maxSteps {
		r.refuse(path, "a workflow has at most %d steps; this one has %d", maxSteps, r.count)
	}
	return steps
}

func without(o Object, key string) Object {
	var rest Object
	for _, m := range o {
		if m.Key != key {
			rest = append(rest, m)
		}
	}
	return rest
}

func (r *reader) step(id string, v any, parent string) Step {
	s := Step{ID: id, Queue: defaultQueue, Task: id, Retry: defaultRetry()}
	path := At(parent, id)
	r.checkName(path, id)
	if v == nil { // `ship:` alone is a step with every default
		s.Timeouts = defaultTimeouts(KindTask)
		return s
	}
	o, ok := r.object(path, v, "a step is a mapping")
	if !ok {
		return s
	}
	r.stepKeys(path, o)
	if r.wait(path, o, &s) {
		s.Timeouts = r.timeouts(path, o, s.Kind)
		if s.Kind == KindCall {
			s.Input, s.HasInput = o.Get("input")
			s.Compensate = r.compensate(path, o, &s)
		}
	} else {
		r.work(path, o, &s)
		s.Keys = r.stepNames(path, o)
		s.Compensate = r.compensate(path, o, &s)
	}
	s.Needs = r.needs(path, o)
	s.Join, s.AtLeast = r.join(path, o)
	r.race(path, o, &s)
	s.When = r.condition(path, o, "when")
	return s
}

// work reads what a worker is told, and how it is tried.
func (r *reader) work(path string, o Object, s *Step) {
	s.Queue = r.name(path, o, "queue", s.Queue)
	s.Task = r.name(path, o, "task", s.Task)
	s.Input, s.HasInput = o.Get("input")
	s.Locks = r.locks(path, o)
	s.Limits = r.limits(path, o)
	s.Retry = r.retry(path, o)
	s.Timeouts = r.timeouts(path, o, KindTask)
	if p, ok := o.Get("priority"); ok {
		s.Priority = int(r.integer(At(path, "priority"), p, -maxPriority, maxPriority))
	}
	s.Fairness = r.fairness(path, o)
	s.Reconcile = r.reconcile(path, o)
}

func (r *reader) stepKeys(path string, o Object) {
	var rest Object
	for _, m := range o {
		switch {
		case m.Key == "rate":
			r.refuseKey(At(path, m.Key), "a rate is said with limits: [{key, limit, per}]")
		case m.Key == "concurrency":
			r.refuseKey(At(path, m.Key), "how many may be at once is said with permits of a lock: locks: [{name, limit}]")
		case slices.Contains(laterKeys(), m.Key):
			r.unsupported(At(path, m.Key), "%s is not supported by this version; remove it, or model it with task and signal steps", m.Key)
		default:
			rest = append(rest, m)
		}
	}
	r.known(path, rest, stepKeys()...)
}

func (r *reader) signal(path string, v any) string {
	o, ok := r.object(path, v, "signal is a mapping with the signal's name")
	if !ok {
		return ""
	}
	if _, ok := o.Get("key"); ok {
		r.unsupported(At(path, "key"), "a signal step has no key of its own: remove key, start the instance with it, or let a step before give it (keys), and send the signal by that key")
	}
	r.known(path, o, "name", "key")
	return r.name(path, o, "name", "")
}

func (r *reader) join(path string, o Object) (Join, int) {
	v, ok := o.Get("join")
	if !ok || v == "all" {
		return JoinAll, 0
	}
	if v == "any" {
		return JoinAny, 0
	}
	path = At(path, "join")
	m, ok := v.(Object)
	if !ok {
		r.refuse(path, "join is all, any, or {atLeast: k}, not %s", describe(v))
		return JoinAll, 0
	}
	r.known(path, m, "atLeast")
	k, ok := m.Get("atLeast")
	if !ok {
		r.refuse(path, "atLeast is missing: how many of the needs must complete")
		return JoinAll, 0
	}
	return JoinAtLeast, int(r.integer(At(path, "atLeast"), k, 1, maxSteps))
}

// condition reads an expression that is written without ${}.
func (r *reader) condition(path string, o Object, key string) string {
	v, ok := o.Get(key)
	if !ok {
		return ""
	}
	path = At(path, key)
	s, ok := r.text(path, v)
	switch trimmed := strings.TrimSpace(s); {
	case ok && trimmed == "":
		r.refuse(path, "%s is empty; remove it, or write a condition", key)
	case strings.HasPrefix(trimmed, "${"):
		r.refuse(path, "%s is an expression already; write it without ${ and }", key)
	}
	return strings.TrimSpace(s)
}

func (r *reader) locks(path string, o Object) []StepLock {
	v, ok := o.Get("locks")
	if !ok {
		return nil
	}
	path = At(path, "locks")
	list := r.list(path, v, "locks")
	if len(list) > maxLocks {
		r.refuse(path, "a step has at most %d locks; this one has %d", maxLocks, len(list))
	}
	var locks []StepLock
	for i, item := range list {
		locks = append(locks, r.lock(AtIndex(path, i), item))
	}
	return locks
}

// lock reads a name, which is an exclusive lock, or a mapping.
func (r *reader) lock(path string, v any) StepLock {
	if s, ok := v.(string); ok {
		if s == "" {
			r.refuse(path, "a lock's name must not be empty")
		}
		return StepLock{Name: s}
	}
	o, ok := r.object(path, v, "a lock is its name or a mapping {name, shared, limit, take, hold}")
	if !ok {
		return StepLock{}
	}
	r.known(path, o, "name", "shared", "limit", "take", "hold")
	l := StepLock{}
	if name, ok := o.Get("name"); !ok {
		r.refuse(path, "name is missing")
	} else if l.Name, ok = r.text(At(path, "name"), name); ok && l.Name == "" {
		r.refuse(At(path, "name"), "a lock's name must not be empty")
	}
	if shared, ok := o.Get("shared"); ok {
		l.Shared = r.boolean(At(path, "shared"), shared)
	}
	r.permits(path, o, &l)
	l.Hold = r.hold(path, o, l.Limit > 0)
	return l
}

// hold reads for how long a lock is held.
func (r *reader) hold(path string, o Object, permits bool) Hold {
	v, ok := o.Get("hold")
	if !ok {
		return HoldStep
	}
	path = At(path, "hold")
	for _, h := range [...]Hold{HoldStep, HoldScope, HoldInstance} {
		if v != h.String() {
			continue
		}
		if permits && h != HoldStep {
			r.refuse(path, "permits are held for the step alone; hold a lock without limit, or leave hold out")
		}
		return h
	}
	r.refuse(path, "hold is step, scope or instance")
	return HoldStep
}

func (r *reader) permits(path string, o Object, l *StepLock) {
	limit, limited := o.Get("limit")
	take, takes := o.Get("take")
	switch {
	case limited && l.Shared:
		r.refuse(At(path, "limit"), "a lock is shared or has permits (limit), not both")
	case limited:
		l.Limit, l.Take = int32(r.integer(At(path, "limit"), limit, 1, maxPermits)), 1
		if takes {
			l.Take = int32(r.integer(At(path, "take"), take, 1, max(1, int64(l.Limit))))
		}
	case takes:
		r.refuse(At(path, "take"), "take needs limit: how many permits the lock has")
	}
}

func (r *reader) retry(path string, o Object) Retry {
	retry := defaultRetry()
	v, ok := o.Get("retry")
	if !ok {
		return retry
	}
	path = At(path, "retry")
	m, ok := r.object(path, v, "retry is a mapping {attempts, backoff, maxBackoff, nonRetryable}")
	if !ok {
		return retry
	}
	r.known(path, m, "attempts", "backoff", "maxBackoff", "nonRetryable")
	if n, ok := m.Get("attempts"); ok {
		retry.Attempts = int(r.integer(At(path, "attempts"), n, 1, maxAttempts))
	}
	retry.Backoff = r.duration(path, m, "backoff", retry.Backoff)
	// A longer first backoff lifts the cap's default with it.
	retry.MaxBackoff = r.duration(path, m, "maxBackoff", max(retry.MaxBackoff, retry.Backoff))
	if retry.MaxBackoff < retry.Backoff {
		r.refuse(At(path, "maxBackoff"), "maxBackoff must not be less than backoff")
	}
	retry.NonRetryable = r.codes(path, m, "nonRetryable")
	return retry
}

// codes reads a list of codes of failures.
func (r *reader) codes(path string, o Object, key string) []string {
	v, ok := o.Get(key)
	if !ok {
		return nil
	}
	path = At(path, key)
	list := r.list(path, v, key)
	if len(list) > maxCodes {
		r.refuse(path, "%s has at most %d codes; this one has %d", key, maxCodes, len(list))
	}
	var codes []string
	for i, item := range list {
		if code, ok := r.text(AtIndex(path, i), item); ok {
			r.checkName(AtIndex(path, i), code)
			codes = append(codes, code)
		}
	}
	return codes
}

func (r *reader) timeouts(path string, o Object, k Kind) Timeouts {
	t := defaultTimeouts(k)
	v, ok := o.Get("timeouts")
	if !ok {
		return t
	}
	if k == KindTimer {
		r.refuseKey(At(path, "timeouts"), "a timer step has no timeouts: it ends when it fires; remove them")
		return t
	}
	path = At(path, "timeouts")
	m, ok := r.object(path, v, "timeouts is a mapping {queue, run, total, heartbeat, locks}")
	if !ok {
		return t
	}
	r.known(path, m, "queue", "run", "total", "heartbeat", "locks")
	for _, key := range []string{"queue", "run", "heartbeat", "locks"} {
		if _, ok := m.Get(key); ok && k.Waits() {
			r.refuseKey(At(path, key), "%s has only the timeout total; remove %s", k.aStep(), key)
			return t
		}
	}
	t.Queue = r.duration(path, m, "queue", t.Queue)
	t.Run = r.duration(path, m, "run", t.Run)
	t.Total = r.duration(path, m, "total", t.Total)
	t.Heartbeat = r.duration(path, m, "heartbeat", t.Heartbeat)
	t.Locks = r.duration(path, m, "locks", t.Locks)
	if locks, _ := o.Get("locks"); t.Locks > 0 && locks == nil {
		r.refuseKey(At(path, "locks"), "locks is how long the step waits for its locks, and it has none; remove it")
	}
	return t
}
