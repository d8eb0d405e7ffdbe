package graph

import "slices"

// race reads the waits of which one is enough. They are the step's needs.
func (r *reader) race(path string, o Object, s *Step) {
	v, ok := o.Get("race")
	if !ok {
		return
	}
	for _, key := range []string{"needs", "join"} {
		if _, ok := o.Get(key); ok {
			r.refuseKey(At(path, key), "a step that has race has no %s: it goes on with the first of what it names; let the steps in the race need what comes before", key)
		}
	}
	path = At(path, "race")
	list := r.steplist(path, v, "race")
	switch _, ok := v.([]any); {
	case ok && len(list) < 2:
		r.refuse(path, "a race is between two steps or more; write needs for one")
	case len(list) > maxRace:
		r.refuse(path, "at most %d steps race; these are %d", maxRace, len(list))
	}
	s.Race, s.Needs, s.Join = true, nil, JoinAny
	for i, item := range list {
		id, _ := r.text(AtIndex(path, i), item)
		s.Needs = append(s.Needs, Need{Step: id, Ends: EndsCompleted})
	}
}

// races has the nodes of a race know each other. Only a wait can be ended by another: what a worker may hold is not
// taken from it.
func (l *linker) races() {
	for i := range l.nodes {
		s := l.of[i]
		if !s.Race {
			continue
		}
		for k := range s.Needs {
			id, path := s.Needs[k].Step, AtIndex(At(l.paths[i], "race"), k)
			need, ok := l.byID[id]
			switch {
			case !ok || l.nodes[need].Scope != l.nodes[i].Scope || needed(s.Needs[:k], id): // its needs are refused for it
			case !l.nodes[need].Kind.Waits():
				l.refuse(path, "step %q is a task, and only steps that wait can race: a signal, a timer, an approval", id)
			case l.nodes[need].Kind.HasBody():
				l.refuse(path, "step %q is done by what is inside it, which a worker may have in hands; only a signal, a timer or an approval can race", id)
			case l.nodes[need].Kind == KindCall:
				l.refuse(path, "step %q has started an instance, which is not taken from it; only a signal, a timer, an approval, an await or a barrier can race", id)
			case l.nodes[need].Kind == KindBarrier && l.meets(s.Needs[:k]):
				l.refuse(path, "step %q is a second barrier in this race: a party would count twice where both have one name; a race has one", id)
			case l.nodes[need].Rivals != nil:
				l.refuse(path, "step %q is in another race already; a step is in one", id)
			default:
				l.nodes[need].Rivals = l.rivals(i, need)
			}
		}
	}
}

// meets: one of these needs is a barrier.
func (l *linker) meets(needs []Need) bool {
	return slices.ContainsFunc(needs, func(n Need) bool {
		node, ok := l.byID[n.Step]
		return ok && l.nodes[node].Kind == KindBarrier
	})
}

// rivals are the others of a node's race, ascending.
func (l *linker) rivals(i, of int) []int {
	others := make([]int, 0, len(l.nodes[i].Needs))
	for _, need := range l.nodes[i].Needs {
		if need != of {
			others = append(others, need)
		}
	}
	return others
}
