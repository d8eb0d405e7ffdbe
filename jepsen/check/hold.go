package check

// Holds checks what a feed tells of locks that instances hold for longer than a run: what is held was granted to the instance under the
// same token; nobody else is granted the lock meanwhile, unless both share it; and it is freed with the end of its instance, neither
// before nor not at all (locks).
func Holds(events []Event) []Fact {
	h := holds{by: map[string]map[string]Event{}, over: map[string]bool{}, granted: map[string]int64{}}
	for _, e := range events {
		h.take(e)
	}
	for lock, held := range h.by {
		for instance, e := range held {
			if h.over[instance] {
				h.f.add("locks", "lock %s is held since position %d by %s, which has ended", lock, e.Position, instance)
			}
		}
	}
	return h.f.list
}

type holds struct {
	f       faults
	by      map[string]map[string]Event // by lock and instance, the event that tells that it is held
	over    map[string]bool             // instances
	granted map[string]int64            // by lock, the newest token under which a run was granted it
}

func (h *holds) take(e Event) {
	switch e.Type {
	case "instance.completed", "instance.failed", "instance.cancelled":
		h.over[e.Instance] = true
	case "lock.granted":
		h.granted[e.Lock] = e.Token
		h.beside(e)
	case "lock.held":
		if h.granted[e.Lock] != e.Token {
			h.f.add("locks", "position %d: lock %s is held by %s under token %d, and was granted under token %d", e.Position, e.Lock, e.Instance, e.Token, h.granted[e.Lock])
		}
		h.beside(e)
		if h.by[e.Lock] == nil {
			h.by[e.Lock] = map[string]Event{}
		}
		h.by[e.Lock][e.Instance] = e
	case "lock.freed":
		switch held, is := h.by[e.Lock][e.Instance]; {
		case !is || held.Token != e.Token:
			h.f.add("locks", "position %d: lock %s is freed of %s under token %d, which does not hold it", e.Position, e.Lock, e.Instance, e.Token)
		case !h.over[e.Instance]:
			h.f.add("locks", "position %d: lock %s is freed, and %s, which holds it, goes on", e.Position, e.Lock, e.Instance)
		}
		delete(h.by[e.Lock], e.Instance)
	}
}

// beside: who is granted a lock, or holds it from now on, is who holds it, or shares it.
func (h *holds) beside(e Event) {
	for instance, held := range h.by[e.Lock] {
		if instance != e.Instance && !(held.Shared && e.Shared) {
			h.f.add("locks", "position %d: lock %s is granted to %q under token %d, and %s holds it since position %d", e.Position, e.Lock, e.Instance, e.Token, instance, held.Position)
		}
	}
}
