package graph

// waits are the keys that say what a step waits for. A step has one of them, or a worker takes it.
func waits() []string {
	return []string{"signal", "timer", "approval", "call", "await", "barrier", "scope", "forEach", "loop"}
}

// Waits says that no worker takes a step of this kind: something else ends it.
func (k Kind) Waits() bool { return k != KindTask }

// name is the key that names what a step waits for.
func (k Kind) name() string { return waits()[k-KindSignal] }

// aStep is how sentences begin that are about steps of a kind that waits.
func (k Kind) aStep() string {
	if k == KindApproval || k == KindAwait {
		return "an " + k.name() + " step"
	}
	return "a " + k.name() + " step"
}

// wait reads what a step waits for; it says whether the step does.
func (r *reader) wait(path string, o Object, s *Step) bool {
	for at, key := range waits() {
		v, ok := o.Get(key)
		switch {
		case !ok:
			continue
		case s.Kind.Waits():
			r.refuseKey(At(path, key), "a step waits for one thing, and this one has a %s already; make a step of each, and let them race if one is enough", s.Kind.name())
			continue
		}
		s.Kind, s.Queue, s.Task = KindSignal+Kind(at), "", ""
		switch s.Kind {
		case KindSignal:
			s.Signal = r.signal(At(path, key), v)
		case KindTimer:
			s.Timer = r.timer(At(path, key), v)
		case KindApproval:
			s.Role = r.approval(At(path, key), v)
		case KindCall:
			s.Call = r.call(At(path, key), v)
		case KindAwait:
			s.Await = r.await(At(path, key), v)
		case KindBarrier:
			s.Barrier = r.barrier(At(path, key), v)
		default:
			s.Body = r.body(At(path, key), v, s.Kind)
		}
	}
	if s.Kind.Waits() {
		r.taskOnly(path, o, s.Kind)
	}
	return s.Kind.Waits()
}

// taskOnly refuses on a step that waits what only a leased step has. What a call starts is given an input, and can be undone.
func (r *reader) taskOnly(path string, o Object, k Kind) {
	for _, key := range []string{"queue", "task", "input", "locks", "limits", "retry", "priority", "fairness", "keys", "compensate", "reconcile"} {
		if _, ok := o.Get(key); ok && !(k == KindCall && (key == "input" || key == "compensate")) {
			r.refuseKey(At(path, key), "%s has no %s: no worker takes it; remove it", k.aStep(), key)
		}
	}
}

// awaited is what the step waits for, in the canonical form.
func (s *Step) awaited() any {
	switch s.Kind {
	case KindSignal:
		return Object{{"name", s.Signal}}
	case KindTimer:
		return s.Timer.canonical()
	case KindCall:
		return s.Call.canonical()
	case KindAwait:
		return s.Await.canonical()
	case KindBarrier:
		return s.Barrier.canonical()
	case KindScope, KindForEach, KindLoop:
		return s.canonicalBody()
	}
	o := Object{}
	if s.Role != "" {
		o = append(o, Member{"role", s.Role})
	}
	return o
}

// approval reads whose approval a step waits for; anybody's, unless it says a role.
func (r *reader) approval(path string, v any) string {
	o, ok := r.object(path, v, "approval is a mapping {role}")
	if !ok {
		return ""
	}
	r.known(path, o, "role")
	if _, ok := o.Get("role"); !ok {
		return ""
	}
	return r.name(path, o, "role", "")
}

// Decision is the output of a step that was approved, as JSON: who did that, as far as is known, and why.
func Decision(by, reason string) []byte {
	json, err := encodeValue(Object{{"by", by}, {"reason", reason}}, maxResult)
	if err != nil { // whoever takes the command bounds what it says
		return []byte("{}")
	}
	return json
}
