package sound

// ordered finds an order in which all that is assumed comes to be, and what must be begun is begun. Whatever is not assumed is slow.
func (s *search) ordered() bool {
	var facts []int
	begun := s.begun
	for _, m := range s.trail {
		switch {
		case m.kind == markFact:
			facts = append(facts, m.node)
		case m.kind == markGoes && s.fact[m.node] == none:
			begun = append(begun[:len(begun):len(begun)], m.node)
		}
	}
	s.path = s.path[:0] // an order that was looked for before, of another way, led nowhere
	o := &order{search: s, begun: begun, ended: map[int]bool{}, goes: map[int]bool{}}
	for moved := true; moved && !s.budget.spent(); {
		moved = false
		for _, node := range facts {
			s.budget.work(1 + len(s.steps[node].needs))
			if !o.ended[node] && o.ends(node) {
				o.ended[node], moved = true, true
				s.path = append(s.path, node)
			}
		}
		for _, node := range begun {
			if !o.goes[node] && o.met(node) && !o.lost(node) {
				o.goes[node], moved = true, true
			}
		}
	}
	for _, node := range begun {
		if !o.goes[node] {
			return false
		}
	}
	return len(o.ended) == len(facts)
}

type order struct {
	*search
	begun []int // what is to be begun, and need not end
	ended map[int]bool
	goes  map[int]bool
}

// ends: what a node's end follows from has come to be.
func (o *order) ends(node int) bool {
	if !o.derived[node] {
		return true
	}
	switch fact := o.fact[node]; {
	case fact == isSkipped:
		return o.barred(node) || o.steps[node].skips && o.met(node) || o.lost(node)
	case !o.met(node) || o.lost(node):
		return false
	case fact == completes:
		return o.wins(node)
	}
	return true
}

// wins: of a node's race nothing is to fail, or to be begun, that has not.
func (o *order) wins(node int) bool {
	for _, rival := range o.g.Nodes[node].Rivals {
		if o.fact[rival]&failures != 0 && !o.ended[rival] {
			return false
		}
		for _, b := range o.begun {
			if b == rival && !o.goes[rival] {
				return false
			}
		}
	}
	return true
}

// lost: another of a node's race has completed.
func (o *order) lost(node int) bool {
	for _, rival := range o.g.Nodes[node].Rivals {
		if o.ended[rival] && o.fact[rival] == completes {
			return true
		}
	}
	return false
}

// so is how a need's step has ended; none: it has not.
func (o *order) so(n *need) outcomes {
	if o.ended[n.from] {
		return o.fact[n.from]
	}
	return none
}

// met: a node's needs are met.
func (o *order) met(node int) bool {
	st := &o.steps[node]
	met, passed := 0, 0
	for k := range st.needs {
		n := &st.needs[k]
		switch so := o.so(n); {
		case so&n.met != 0:
			met++
			passed++
		case so&n.neutral != 0:
			passed++
		}
	}
	if st.want > 0 {
		return met >= st.want
	}
	return passed == len(st.needs) && (met > 0 || passed == 0)
}

// barred: a node's needs skip it.
func (o *order) barred(node int) bool {
	st := &o.steps[node]
	unmet, neutral := 0, 0
	for k := range st.needs {
		n := &st.needs[k]
		switch so := o.so(n); {
		case so == none || so&n.met != 0:
		case so&n.neutral != 0:
			unmet++
			neutral++
		default:
			if unmet++; st.want == 0 {
				return true
			}
		}
	}
	if st.want > 0 {
		return unmet > len(st.needs)-st.want
	}
	return neutral > 0 && neutral == len(st.needs)
}
