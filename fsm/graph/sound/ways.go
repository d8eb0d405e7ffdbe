package sound

import "slices"

// ways lists the ways to reach a goal that leaves a choice, or says that it is reached.
func (s *search) ways(g goal) (ways [][]goal, reached bool) {
	st := &s.steps[g.node]
	s.budget.work(1 + len(st.needs))
	switch g.kind {
	case goalEnds:
		if fact := s.fact[g.node]; fact != none {
			return nil, fact&g.in != 0
		}
		for _, o := range (g.in & s.possible(g.node)).bits() {
			ways = append(ways, []goal{{kind: goalEnds, node: g.node, in: o}})
		}
	case goalSkipped:
		ways = s.skips(g.node)
	case goalBarred:
		return s.bars(g.node)
	case goalSome:
		for k := range st.needs {
			n := &st.needs[k]
			if s.fact[n.from]&n.met != 0 {
				return nil, true
			}
			if s.free(n.from, n.met) {
				ways = append(ways, []goal{{kind: goalEnds, node: n.from, in: n.met}})
			}
		}
	case goalMet, goalUnmet:
		return s.counts(g)
	case goalDecided:
		if s.goes[g.node] || s.fact[g.node] != none {
			return nil, true
		}
		ways = [][]goal{{{kind: goalGoes, node: g.node}}, {{kind: goalEnds, node: g.node, in: isSkipped}}}
	}
	return ways, false
}

// free: nothing is assumed of a node, and one of these may be.
func (s *search) free(node int, in outcomes) bool {
	return s.fact[node] == none && s.possible(node)&in != 0
}

// skips are the ways in which a node is skipped: by itself when its needs are met, by these, or by the winner of its race.
func (s *search) skips(node int) (ways [][]goal) {
	if s.steps[node].skips {
		way := []goal{{kind: goalGoes, node: node}}
		if !s.g.Nodes[node].HasWhen { // what it waits for, or its list, has a value then
			way = append(way, s.values(node)...)
		}
		ways = append(ways, way)
	}
	if len(s.steps[node].needs) > 0 {
		ways = append(ways, []goal{{kind: goalBarred, node: node}})
	}
	for _, rival := range s.g.Nodes[node].Rivals {
		if s.fact[rival] == completes || s.free(rival, completes) {
			ways = append(ways, []goal{{kind: goalEnds, node: rival, in: completes}})
		}
	}
	return ways
}

// bars are the ways in which the needs of a node skip it. When all are needed, that is one that is not met any more, or that all
// are skipped.
func (s *search) bars(node int) (ways [][]goal, reached bool) {
	st := &s.steps[node]
	if st.want > 0 {
		return [][]goal{{{kind: goalUnmet, node: node, want: len(st.needs) - st.want + 1}}}, false
	}
	neutral := true
	for k := range st.needs {
		n := &st.needs[k]
		fact := s.fact[n.from]
		if fact&n.barring() != 0 {
			return nil, true
		}
		if s.free(n.from, n.barring()) {
			ways = append(ways, []goal{{kind: goalEnds, node: n.from, in: n.barring()}})
		}
		neutral = neutral && (fact&n.neutral != 0 || s.free(n.from, n.neutral))
	}
	if neutral {
		all := make([]goal, len(st.needs))
		for k := range st.needs {
			all[k] = goal{kind: goalEnds, node: st.needs[k].from, in: st.needs[k].neutral}
		}
		ways = append(ways, all)
	}
	return ways, false
}

// counts are the ways to have so many needs met, or not, of those from one on: the next that is free is so, or is left out.
func (s *search) counts(g goal) (ways [][]goal, reached bool) {
	st := &s.steps[g.node]
	have, next, before := 0, -1, 0
	var left []goal
	for k := g.from; k < len(st.needs); k++ {
		n := &st.needs[k]
		in := n.met
		switch {
		case g.kind == goalUnmet:
			in = ^n.met
		case slices.Contains(s.g.Nodes[g.node].Rivals, n.from):
			in &^= completes // who is begun behind the winner of its race has lost
		}
		switch {
		case s.fact[n.from]&in != 0:
			have++
		case s.free(n.from, in):
			if left = append(left, goal{kind: goalEnds, node: n.from, in: in}); next < 0 {
				next, before = k, have
			}
		}
	}
	switch lacking := g.want - have; {
	case lacking <= 0:
		return nil, true
	case len(left) < lacking:
		return nil, false
	case len(left) == lacking:
		return [][]goal{left}, false
	}
	// What is before the next was counted if it was there already.
	g.want -= before
	without := goal{kind: g.kind, node: g.node, from: next + 1, want: g.want}
	with := without
	with.want--
	return [][]goal{{left[0], with}, {without}}, false
}
