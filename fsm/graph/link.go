package graph

import (
	"slices"
	"strings"
)

// link turns a definition's steps into nodes that know each other, and says what does not fit together.
func (d *Definition) link() ([]Node, []Problem) {
	l := &linker{steps: d.Steps, nodes: make([]Node, len(d.Steps)), byID: map[string]int{}}
	for i := range d.Steps {
		s := &d.Steps[i]
		if _, twice := l.byID[s.ID]; twice {
			l.refuse(At("steps", s.ID), "there are two steps %q; ids are unique", s.ID)
			continue
		}
		l.byID[s.ID] = i
	}
	for i := range d.Steps {
		l.nodes[i] = d.Steps[i].node()
		l.needs(i)
	}
	for i := range l.nodes {
		for _, need := range l.steps[i].Needs {
			if from, ok := l.byID[need.Step]; ok {
				l.nodes[from].Successors = append(l.nodes[from].Successors, Edge{To: i, Ends: need.Ends, Codes: need.Codes})
			}
		}
	}
	l.races()
	if cycle := findCycle(l.nodes); cycle != nil {
		l.refuse(At(At("steps", cycle[0]), l.steps[l.byID[cycle[0]]].needsKey()), "the steps wait for each other in a cycle: %s; remove one of these needs",
			strings.Join(append(cycle, cycle[0]), " -> "))
	}
	l.compensations()
	return l.nodes, l.problems
}

type linker struct {
	reader
	steps []Step
	nodes []Node
	byID  map[string]int
}

// node is the step as a node without edges.
func (s *Step) node() Node {
	return Node{
		ID: s.ID, Kind: s.Kind, Queue: s.Queue, Task: s.Task, Signal: s.Signal,
		After: s.Timer.After, Dated: s.Timer.Until != "", Role: s.Role,
		Join: s.Join, AtLeast: s.AtLeast, HasWhen: s.When != "", HasInput: s.HasInput,
		Locks: len(s.Locks), Retry: s.Retry, Timeouts: s.Timeouts, Priority: s.Priority,
	}
}

func (l *linker) needs(i int) {
	s := &l.steps[i]
	path := At(At("steps", s.ID), s.needsKey())
	for k := range s.Needs {
		id := s.Needs[k].Step
		need, ok := l.byID[id]
		switch {
		case !ok:
			l.refuse(AtIndex(path, k), "there is no step %q%s", id, suggest(id, l.ids(), "; add it, or remove it from "+s.needsKey()))
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
	s := &l.steps[i]
	path := At(At("steps", s.ID), "join")
	switch {
	case s.Join != JoinAll && len(s.Needs) == 0:
		l.refuse(path, "join says how many of a step's needs must complete, but %q has no needs; remove join", s.ID)
	case s.AtLeast > len(s.Needs):
		l.refuse(path, "step %q can never become ready: it waits for %d of its %d needs", s.ID, s.AtLeast, len(s.Needs))
	}
}

func (l *linker) ids() []string {
	ids := make([]string, len(l.steps))
	for i := range l.steps {
		ids[i] = l.steps[i].ID
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

// ancestors has, for each node, a bit for every node upstream of it.
type ancestors [][]uint64

// ancestorsOf wants nodes without cycles.
func ancestorsOf(nodes []Node) ancestors {
	a := make(ancestors, len(nodes))
	words := (len(nodes) + 63) / 64
	bits := make([]uint64, words*len(nodes))
	for i := range a {
		a[i] = bits[i*words : (i+1)*words]
	}
	for _, n := range topological(nodes) {
		for _, need := range nodes[n].Needs {
			a[n][need/64] |= 1 << (need % 64)
			for w, b := range a[need] {
				a[n][w] |= b
			}
		}
	}
	return a
}

func (a ancestors) has(node, ancestor int) bool {
	return a[node][ancestor/64]&(1<<(ancestor%64)) != 0
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
