package sound

import (
	"math/bits"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// An outcome of a step is a bit: it completes, it is skipped, or it fails with a code that a step behind it needs. A failure that none
// needs is no outcome, for what the step is in fails by it, and nothing more is begun there.
type outcomes uint64

const (
	completes outcomes = 1 << iota
	isSkipped
	firstFailure

	maxFailures = 61 // that are told apart

	none outcomes = 0
)

const failures = ^(completes | isSkipped)

func (o outcomes) single() bool { return o != 0 && o&(o-1) == 0 }

// need is how a step needs another: the outcomes of that which meet it, and those that leave it as if it was not needed. All
// others bar it.
type need struct {
	from         int
	met, neutral outcomes
}

func (n *need) barring() outcomes { return ^(n.met | n.neutral) }

// step is what is known of a node.
type step struct {
	needs []need
	want  int      // how many needs must be met; zero is all
	codes []string // by failure, from firstFailure on: the code, or nothing for any other
	fails codes
	can   outcomes // those that are not known to be impossible

	skips  bool     // its own condition, or an empty list, can skip it
	raced  bool     // it, or something upstream, is in a race
	usual  outcomes // how it ends when everything goes well; none: it does not end, or not well
	runs   bool     // in some outcome
	strict []int    // steps of its scope that must have completed for its expressions to have values
	turns  []int    // and for a loop's condition
}

// inside is what is known of a scope.
type inside struct {
	fails codes // with which what it is in fails
	ends  bool  // it can end well
}

// model is a graph with what is known of it. Scopes are looked at by themselves, those inside before those around them.
type model struct {
	g      *graph.Graph
	steps  []step
	inside []inside
	reads  [][]graph.Reading // by the scope of what is read

	crowded bool // bodies can come to too many runs
}

func newModel(g *graph.Graph, reads []graph.Reading) *model {
	m := &model{
		g: g, steps: make([]step, len(g.Nodes)), inside: make([]inside, len(g.Scopes)), reads: make([][]graph.Reading, len(g.Scopes)), crowded: isCrowded(g),
	}
	for _, r := range reads {
		scope := g.Nodes[r.Of].Scope
		m.reads[scope] = append(m.reads[scope], r)
		switch {
		case r.Node < 0 || r.Failure || m.compensates(r.Node) || scope != g.Nodes[r.Node].Scope:
		case r.Turn:
			m.steps[r.Node].turns = append(m.steps[r.Node].turns, r.Of)
		default:
			m.steps[r.Node].strict = append(m.steps[r.Node].strict, r.Of)
		}
	}
	return m
}

func (m *model) compensates(node int) bool {
	_, is := m.g.Nodes[node].Compensates()
	return is
}

// prepare fills in the steps of a scope, in an order in which each comes behind what it needs. It returns that order, and a node of
// which it cannot be told how it ends, or -1: its kind is not known, or it has more failures than can be told apart.
func (m *model) prepare(scope int) (order []int, unknown int) {
	s := m.g.Scopes[scope]
	waits := make([]int, s.Count)
	for node := s.First; node < s.First+s.Count; node++ {
		if waits[node-s.First] = len(m.g.Nodes[node].Needs); waits[node-s.First] == 0 && !m.compensates(node) {
			order = append(order, node)
		}
		if !m.outcomes(node) {
			return nil, node
		}
	}
	for at := 0; at < len(order); at++ {
		m.raced(order[at])
		edges := m.g.Nodes[order[at]].Successors
		for k := range edges {
			m.need(order[at], &edges[k])
			if waits[edges[k].To-s.First]--; waits[edges[k].To-s.First] == 0 {
				order = append(order, edges[k].To)
			}
		}
	}
	return order, -1
}

// outcomes says how a node can end, by what it is; false when that cannot be told.
func (m *model) outcomes(node int) (known bool) {
	n, s := &m.g.Nodes[node], &m.steps[node]
	if s.fails, known = m.codesOf(node); !known {
		return false
	}
	s.can, s.skips = completes|isSkipped, m.skipsItself(node)
	if n.Join != graph.JoinAll {
		s.want = max(1, n.AtLeast)
	}
	if !m.completesItself(node) {
		s.can &^= completes
	}
	return m.failures(node)
}

// failures tells apart those of a node's failures that steps need.
func (m *model) failures(node int) bool {
	n, s := &m.g.Nodes[node], &m.steps[node]
	named, all := map[string]bool{}, false
	for k := range n.Successors {
		e := &n.Successors[k]
		if e.Ends&graph.EndsFailed == 0 {
			continue
		}
		all = all || len(e.Codes) == 0
		for _, code := range e.Codes {
			if !named[code] && s.fails.has(code) {
				s.codes = append(s.codes, code)
			}
			named[code] = true
		}
	}
	if all && s.fails.other(named) {
		s.codes = append(s.codes, "")
	}
	if len(s.codes) > maxFailures {
		return false
	}
	s.can |= 1<<(2+len(s.codes)) - firstFailure
	return true
}

// need adds an edge to the needs of the node that it leads to.
func (m *model) need(from int, e *graph.Edge) {
	n := need{from: from}
	if e.Ends&graph.EndsCompleted != 0 {
		n.met, n.neutral = completes, isSkipped
	}
	for k, code := range m.steps[from].codes {
		if code == "" && e.Ends&graph.EndsFailed != 0 && len(e.Codes) == 0 || code != "" && e.Takes(code) {
			n.met |= firstFailure << k
		}
	}
	m.steps[e.To].needs = append(m.steps[e.To].needs, n)
}

// raced passes on whether there is a race upstream. What a node needs was looked at before.
func (m *model) raced(node int) {
	s := &m.steps[node]
	s.raced = len(m.g.Nodes[node].Rivals) > 0
	for k := range s.needs {
		s.raced = s.raced || m.steps[s.needs[k].from].raced
	}
}

// code is that of a failure.
func (s *step) code(o outcomes) string { return s.codes[bits.TrailingZeros64(uint64(o))-2] }

// takesTimeout: the failure is, or may be, the total timeout of what stands still.
func (s *step) takesTimeout(o outcomes) bool {
	switch code := s.code(o); code {
	case "":
		for _, named := range s.codes {
			if named == timeoutTotal {
				return false
			}
		}
		return true
	default:
		return code == timeoutTotal
	}
}
