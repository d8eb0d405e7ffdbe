package graph

import (
	"slices"
	"strings"
)

// link turns a definition's steps into nodes that know each other, and says what does not fit together.
func (d *Definition) link() *linker {
	l := &linker{byID: map[string]int{}}
	l.bodies = []body{{d.Steps, "steps", noNode}}
	for len(l.bodies) > 0 {
		next := l.bodies[0]
		l.bodies = l.bodies[1:]
		l.place(next)
	}
	for i := range l.nodes {
		if _, compensates := l.nodes[i].Compensates(); !compensates {
			l.needs(i)
		}
	}
	for i := range l.nodes {
		for _, need := range l.of[i].Needs {
			if from, ok := l.byID[need.Step]; ok && l.nodes[from].Scope == l.nodes[i].Scope {
				l.nodes[from].Successors = append(l.nodes[from].Successors, Edge{To: i, Ends: need.Ends, Codes: need.Codes})
			}
		}
	}
	l.races()
	l.compensated()
	if cycle := findCycle(l.nodes); cycle != nil {
		first := l.byID[cycle[0]]
		l.refuse(At(l.paths[first], l.of[first].needsKey()), "the steps wait for each other in a cycle: %s; remove one of these needs",
			strings.Join(append(cycle, cycle[0]), " -> "))
	}
	return l
}

// linker makes the nodes of a graph. Those of a scope stand together, its steps before their compensations; the workflow's are
// the first, and a body's come behind those of the scope that its step is in.
type linker struct {
	reader
	nodes  []Node
	scopes []Scope
	of     []*Step  // by node
	paths  []string // by node: where it stands in the definition
	byID   map[string]int
	bodies []body // that are not placed yet
}

type body struct {
	steps []Step
	path  string
	owner int
}

// place adds the nodes of a scope.
func (l *linker) place(b body) {
	scope, first := len(l.scopes), len(l.nodes)
	add := func(s *Step, path string) int {
		n := s.node()
		n.Scope = scope
		l.nodes, l.of, l.paths = append(l.nodes, n), append(l.of, s), append(l.paths, path)
		return len(l.nodes) - 1
	}
	for i := range b.steps {
		s := &b.steps[i]
		path := At(b.path, s.ID)
		if _, twice := l.byID[s.ID]; twice {
			l.refuse(path, "there are two steps %q; ids are unique", s.ID)
			continue
		}
		node := add(s, path)
		l.byID[s.ID] = node
		if s.Body != nil {
			l.bodies = append(l.bodies, body{s.Body.Steps, At(At(path, s.Kind.name()), "steps"), node})
		}
	}
	for step, steps := first, len(l.nodes); step < steps; step++ {
		if c := l.of[step].Compensate; c != nil {
			node := add(c, At(l.paths[step], "compensate"))
			l.nodes[node].undoes, l.nodes[step].Compensation = step+1, node
		}
	}
	l.scopes = append(l.scopes, Scope{First: first, Count: len(l.nodes) - first, Owner: b.owner})
	if b.owner != noNode {
		l.nodes[b.owner].Body = scope
	}
}

// node is the step as a node without edges.
func (s *Step) node() Node {
	return Node{
		ID: s.ID, Kind: s.Kind, Queue: s.Queue, Task: s.Task, Signal: s.Signal,
		After: s.Timer.After, Dated: s.Timer.Until != "", Role: s.Role, Call: s.Call, Awaits: s.Await.Step, AwaitsKey: s.Await.Key.Name, AwaitsCount: s.Await.Count, Width: s.width(), Turns: s.turns(),
		Join: s.Join, AtLeast: s.AtLeast, HasWhen: s.When != "", HasInput: s.HasInput,
		Locks: len(s.Locks), Limits: len(s.Limits), Retry: s.Retry, Timeouts: s.Timeouts, Priority: s.Priority, Weight: s.Fairness.Weight, Reconcile: s.Reconcile,
	}
}

func (l *linker) needs(i int) {
	s := l.of[i]
	path := At(l.paths[i], s.needsKey())
	for k := range s.Needs {
		id := s.Needs[k].Step
		need, ok := l.byID[id]
		switch {
		case !ok:
			l.refuse(AtIndex(path, k), "there is no step %q%s", id, suggest(id, l.ids(), "; add it, or remove it from "+s.needsKey()))
		case l.nodes[need].Scope != l.nodes[i].Scope:
			l.refuse(AtIndex(path, k), "step %q is not beside %q: a step needs only those that are in the same steps", id, s.ID)
		case need == i:
			l.refuse(AtIndex(path, k), "step %q needs itself; remove it from its %s", id, s.needsKey())
		case slices.Contains(l.nodes[i].Needs, need):
			l.refuse(AtIndex(path, k), "step %q is needed twice; remove one", id)
		default:
			l.nodes[i].Needs = append(l.nodes[i].Needs, need)
		}
	}
	slices.Sort(l.nodes[i].Needs)
	l.join(i)
}

func (l *linker) join(i int) {
	s := l.of[i]
	path := At(l.paths[i], "join")
	switch {
	case s.Join != JoinAll && len(s.Needs) == 0:
		l.refuse(path, "join says how many of a step's needs must complete, but %q has no needs; remove join", s.ID)
	case s.AtLeast > len(s.Needs):
		l.refuse(path, "step %q can never become ready: it waits for %d of its %d needs", s.ID, s.AtLeast, len(s.Needs))
	}
}

func (l *linker) ids() []string {
	var ids []string
	for i := range l.nodes {
		if _, compensates := l.nodes[i].Compensates(); !compensates {
			ids = append(ids, l.nodes[i].ID)
		}
	}
	return ids
}

// findCycle returns the ids along a cycle of needs, or nothing.
func findCycle(nodes []Node) []string {
	const unseen, open, done = 0, 1, 2
	state := make([]uint8, len(nodes))
	next := make([]int, len(nodes)) // how many needs of an open node are seen
	for root := range nodes {
		if state[root] != unseen {
			continue
		}
		state[root] = open
		for stack := []int{root}; len(stack) > 0; {
			top := stack[len(stack)-1]
			if next[top] == len(nodes[top].Needs) {
				state[top] = done
				stack = stack[:len(stack)-1]
				continue
			}
			need := nodes[top].Needs[next[top]]
			next[top]++
			switch state[need] {
			case open:
				return names(nodes, stack[slices.Index(stack, need):])
			case unseen:
				state[need] = open
				stack = append(stack, need)
			}
		}
	}
	return nil
}

func names(nodes []Node, indexes []int) []string {
	ids := make([]string, len(indexes))
	for i, n := range indexes {
		ids[i] = nodes[n].ID
	}
	return ids
}

// ancestors has, for each node, a bit for every node of its scope that is upstream of it.
type ancestors struct {
	nodes  []Node
	scopes []Scope
	bits   [][]uint64
}

// ancestorsOf wants nodes without cycles.
func ancestorsOf(nodes []Node, scopes []Scope) *ancestors {
	a := &ancestors{nodes, scopes, make([][]uint64, len(nodes))}
	for _, n := range topological(nodes) {
		if len(nodes[n].Needs) == 0 {
			continue
		}
		s := scopes[nodes[n].Scope]
		bits := make([]uint64, (s.Count+63)/64)
		for _, need := range nodes[n].Needs {
			at := need - s.First
			bits[at/64] |= 1 << (at % 64)
			for w, b := range a.bits[need] {
				bits[w] |= b
			}
		}
		a.bits[n] = bits
	}
	return a
}

// has says whether a node is upstream of another in its scope.
func (a *ancestors) has(node, ancestor int) bool {
	at := ancestor - a.scopes[a.nodes[node].Scope].First
	return a.bits[node] != nil && a.bits[node][at/64]&(1<<(at%64)) != 0
}

// topological orders nodes so that each comes after what it needs.
func topological(nodes []Node) []int {
	missing := make([]int, len(nodes))
	var order []int
	for i := range nodes {
		if missing[i] = len(nodes[i].Needs); missing[i] == 0 {
			order = append(order, i)
		}
	}
	for at := 0; at < len(order); at++ {
		for _, s := range nodes[order[at]].Successors {
			if missing[s.To]--; missing[s.To] == 0 {
				order = append(order, s.To)
			}
		}
	}
	return order
}
