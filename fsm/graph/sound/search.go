package sound

import "math/bits"

// A search looks for a way in which something happens, from that backwards: what it needs is assumed, then what that needs, until
// all that is assumed follows from what it was assumed for. What may be so or so is tried in turn, that which leaves least choice first.
// It finds a way if there is one; so where it finds none, there is none.
//
// How steps end is all that is assumed. The order of things only matters in races, so it is looked for last: an order in which
// each thing has its causes before it, and of a race nothing fails behind its winner.
type search struct {
	*model
	budget *budget
	up     *upstream // of the scope that is looked at

	fact    []outcomes // by node: how it is assumed to end; none is not at all
	goes    []bool     // by node: that its needs are met is assumed, and looked at
	derived []bool     // by node: how it ends was looked at, and does not follow from the usual
	trail   []mark

	banned []ban // what must not be assumed
	begun  []int // what must have been begun, and need not end
	path   []int // when a way was found: nodes in an order in which they can end
}

// ban keeps a node from ending in some ways.
type ban struct {
	node int
	not  outcomes
}

// mark is a change that is taken back when a way leads nowhere.
type mark struct {
	node int
	kind markKind
}

type markKind uint8

const (
	markFact markKind = iota
	markGoes
	markDerived
)

// goal is something that is to be so.
type goal struct {
	kind goalKind
	node int
	in   outcomes // goalEnds
	from int      // goalMet, goalUnmet: needs before are decided
	want int
}

type goalKind uint8

const (
	goalEnds    goalKind = iota // a node ends in one of these ways
	goalGoes                    // its needs are met
	goalSkipped                 // something skips it
	goalBarred                  // its needs skip it
	goalSome                    // at least one of its needs is met
	goalMet                     // so many of its needs are met
	goalUnmet                   // so many of its needs are not
	goalDecided                 // it goes on, or is skipped
)

type goals struct {
	goal
	next *goals
}

func (l *goals) and(list ...goal) *goals {
	for _, g := range list {
		l = &goals{g, l}
	}
	return l
}

// find looks for a way to goals with what is banned, and for an order that has begun all of those.
func (s *search) find(banned []ban, begun []int, list ...goal) bool {
	s.budget.work(1 + len(banned) + len(list) + len(s.trail))
	s.undo(0)
	s.banned, s.begun, s.path = banned, begun, nil
	return s.solve((*goals)(nil).and(list...), nil) && !s.budget.spent()
}

// solve reaches goals: those that are sure, and those that leave a choice.
func (s *search) solve(sure, open *goals) bool {
	for !s.budget.spent() {
		switch {
		case sure != nil:
			g := sure.goal
			sure = sure.next
			if !s.settle(g, &sure, &open) {
				return false
			}
		case open != nil:
			var ways [][]goal
			if ways, open = s.narrowest(open); ways == nil {
				continue
			}
			switch len(ways) {
			case 0:
				return false
			case 1:
				sure = sure.and(ways[0]...)
			default:
				return s.try(ways, open)
			}
		default:
			if sure = s.disturbed(); sure == nil {
				return s.ordered()
			}
		}
	}
	return false
}

func (s *search) try(ways [][]goal, open *goals) bool {
	at := len(s.trail)
	for _, way := range ways {
		if s.solve((*goals)(nil).and(way...), open) {
			return true
		}
		s.undo(at)
	}
	return false
}

// near is among how many open goals the one is looked for that leaves least choice.
const near = 64

// narrowest takes the open goal that leaves least choice; nil when it is reached already.
func (s *search) narrowest(open *goals) (ways [][]goal, rest *goals) {
	var best *goals
	at := open
	for k := 0; at != nil && k < near; k, at = k+1, at.next {
		w, reached := s.ways(at.goal)
		if reached {
			return nil, without(open, at)
		}
		if best == nil || len(w) < len(ways) {
			best, ways = at, w
		}
		if len(ways) < 2 {
			break
		}
	}
	return append([][]goal{}, ways...), without(open, best)
}

func without(list, gone *goals) *goals {
	if list == gone {
		return list.next
	}
	return &goals{list.goal, without(list.next, gone)}
}

// settle assumes what follows from a goal, or keeps that for later.
func (s *search) settle(g goal, sure, open **goals) bool {
	switch g.kind {
	case goalEnds:
		in := g.in & s.possible(g.node)
		switch {
		case s.fact[g.node] != none:
			return s.fact[g.node]&g.in != 0
		case in == none:
			return false
		case in.single():
			return s.assume(g.node, in, sure, open)
		}
		*open = (*open).and(g)
	case goalGoes:
		s.follow(g.node, sure, open)
	default:
		*open = (*open).and(g)
	}
	return true
}

// possible are the outcomes of a node that may be assumed.
func (s *search) possible(node int) outcomes {
	s.budget.work(len(s.banned) / 8)
	can := s.steps[node].can
	for _, b := range s.banned {
		if b.node == node {
			can &^= b.not
		}
	}
	return can
}

// assume has a node end so. Where it usually does, that is looked at later.
func (s *search) assume(node int, o outcomes, sure, open **goals) bool {
	s.budget.state()
	s.fact[node] = o
	s.trail = append(s.trail, mark{node, markFact})
	if o == completes {
		for _, rival := range s.g.Nodes[node].Rivals {
			if s.fact[rival] == completes {
				return false
			}
		}
	}
	if st := &s.steps[node]; st.usual == o && !st.raced {
		return true
	}
	s.derive(node, sure, open)
	return true
}

// derive has what a node's end follows from looked at.
func (s *search) derive(node int, sure, open **goals) {
	s.derived[node] = true
	s.trail = append(s.trail, mark{node, markDerived})
	switch o := s.fact[node]; {
	case o == isSkipped:
		*open = (*open).and(goal{kind: goalSkipped, node: node})
	default:
		*sure = (*sure).and(goal{kind: goalGoes, node: node})
		if o == completes || !s.steps[node].takesTimeout(o) {
			*sure = (*sure).and(s.values(node)...)
		}
		if o == completes {
			*sure = (*sure).and(completed(s.steps[node].turns)...)
		}
	}
}

// values are what a node's expressions cannot do without.
func (s *search) values(node int) []goal { return completed(s.steps[node].strict) }

func completed(nodes []int) (list []goal) {
	for _, of := range nodes {
		list = append(list, goal{kind: goalEnds, node: of, in: completes})
	}
	return list
}

// follow has the needs of a node met.
func (s *search) follow(node int, sure, open **goals) {
	st := &s.steps[node]
	if s.goes[node] || len(st.needs) == 0 {
		return
	}
	s.goes[node] = true
	s.trail = append(s.trail, mark{node, markGoes})
	s.budget.work(len(st.needs))
	if st.want > 0 {
		*open = (*open).and(goal{kind: goalMet, node: node, want: st.want})
		return
	}
	unneeded := false
	for k := range st.needs {
		n := &st.needs[k]
		*sure = (*sure).and(goal{kind: goalEnds, node: n.from, in: n.met | n.neutral})
		unneeded = unneeded || n.neutral&s.possible(n.from) != 0
	}
	if unneeded {
		*open = (*open).and(goal{kind: goalSome, node: node})
	}
}

func (s *search) undo(to int) {
	for ; len(s.trail) > to; s.trail = s.trail[:len(s.trail)-1] {
		switch m := s.trail[len(s.trail)-1]; m.kind {
		case markFact:
			s.fact[m.node] = none
		case markGoes:
			s.goes[m.node] = false
		case markDerived:
			s.derived[m.node] = false
		}
	}
}

// disturbed are goals for what was taken to end as usual, while something upstream of it does not.
func (s *search) disturbed() (list *goals) {
	var unusual []int
	for _, b := range s.banned {
		if s.steps[b.node].usual&b.not != 0 {
			unusual = append(unusual, b.node)
		}
	}
	for _, m := range s.trail {
		if m.kind == markFact && s.fact[m.node] != s.steps[m.node].usual {
			unusual = append(unusual, m.node)
		}
	}
	var open *goals
	for _, m := range s.trail {
		if m.kind != markFact || s.derived[m.node] {
			continue
		}
		if s.budget.work(len(unusual)); s.budget.spent() {
			return nil
		}
		for _, d := range unusual {
			if s.up.has(m.node, d) {
				s.derive(m.node, &list, &open)
				break
			}
		}
	}
	for ; open != nil; open = open.next {
		list = list.and(open.goal)
	}
	return list
}

// budget is what may still be spent.
type budget struct {
	states, looks int // left
	out           bool
}

func (b *budget) state()     { b.states-- }
func (b *budget) work(n int) { b.looks -= n }

// spent says so for ever, once something was left out.
func (b *budget) spent() bool {
	b.out = b.out || b.states < 0 || b.looks < 0
	return b.out
}

// bits lists those of a set.
func (o outcomes) bits() (list []outcomes) {
	for ; o != 0; o &= o - 1 {
		list = append(list, 1<<bits.TrailingZeros64(uint64(o)))
	}
	return list
}
