package graph

import (
	"cmp"
	"slices"
)

// Ends are the ends of a step that a need counts: a set.
type Ends uint8

const (
	// EndsCompleted counts a completion. It is what a need counts unless it says otherwise.
	EndsCompleted Ends = 1 << iota
	// EndsFailed counts a failure that is for good, and takes it: the instance does not fail by it.
	EndsFailed
	// EndsAny counts either.
	EndsAny = EndsCompleted | EndsFailed
)

// Need is a step that must end first, and how.
type Need struct {
	Step  string
	Ends  Ends
	Codes []string // of the failures that count; none is every code
}

// plain: the need says no more than its step.
func (n *Need) plain() bool { return n.Ends == EndsCompleted }

// Edge is a need as the node sees it that is needed.
type Edge struct {
	To    int // the node that needs it
	Ends  Ends
	Codes []string
}

// Takes says whether a failure with a code counts for the edge.
func (e *Edge) Takes(code string) bool {
	return e.Ends&EndsFailed != 0 && (len(e.Codes) == 0 || slices.Contains(e.Codes, code))
}

// Takes says whether some step needs a node's failure with a code, so that the instance does not fail by it.
func (n *Node) Takes(code string) bool {
	for k := range n.Successors {
		if n.Successors[k].Takes(code) {
			return true
		}
	}
	return false
}

// Edge is how a node needs another, which is one of its needs.
func (g *Graph) Edge(from, to int) *Edge {
	edges := g.Nodes[from].Successors
	n, _ := slices.BinarySearchFunc(edges, to, func(e Edge, to int) int { return cmp.Compare(e.To, to) })
	return &edges[n]
}

// Upstream lists what a node needs, and what that needs, in the order of the definition.
func (g *Graph) Upstream(node int) (before []int) {
	seen := make([]bool, len(g.Nodes))
	for list := []int{node}; len(list) > 0; {
		last := list[len(list)-1]
		list = list[:len(list)-1]
		for _, need := range g.Nodes[last].Needs {
			if !seen[need] {
				seen[need] = true
				list, before = append(list, need), append(before, need)
			}
		}
	}
	slices.Sort(before)
	return before
}

func endsNames() []string { return []string{"completed", "failed", "any"} }

// needs reads the steps that must end first: ids, or mappings that say how.
func (r *reader) needs(path string, o Object) []Need {
	v, ok := o.Get("needs")
	if !ok {
		return nil
	}
	path = At(path, "needs")
	var needs []Need
	for i, item := range r.steplist(path, v, "needs") {
		needs = append(needs, r.need(AtIndex(path, i), item))
	}
	return needs
}

// steplist is a list that people like to write without brackets when it has one item.
func (r *reader) steplist(path string, v any, key string) []any {
	if s, ok := v.(string); ok {
		r.refuse(path, "%s is a list: write [%s]", key, s)
		return nil
	}
	return r.list(path, v, key)
}

func (r *reader) need(path string, v any) Need {
	n := Need{Ends: EndsCompleted}
	o, ok := v.(Object)
	if !ok {
		n.Step, _ = r.text(path, v)
		return n
	}
	r.known(path, o, "step", "ends", "codes")
	n.Step = r.name(path, o, "step", "")
	if v, ok := o.Get("ends"); ok {
		switch at := slices.Index(endsNames(), text(v)); {
		case at < 0:
			r.refuse(At(path, "ends"), "ends is completed, failed or any, not %s", describe(v))
		default:
			n.Ends = Ends(at + 1)
		}
	}
	if _, ok := o.Get("codes"); ok && n.plain() {
		r.refuseKey(At(path, "codes"), "codes are those of failures; write ends: failed or any beside them, or remove them")
	} else if ok {
		n.Codes = r.codes(path, o, "codes")
	}
	return n
}

// text is a value that is one, or else empty.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// canonicalNeeds are ids where a need says no more.
func (s *Step) canonicalNeeds() []any {
	list := make([]any, len(s.Needs))
	for i := range s.Needs {
		n := &s.Needs[i]
		if n.plain() {
			list[i] = n.Step
			continue
		}
		o := Object{{"step", n.Step}, {"ends", endsNames()[n.Ends-1]}}
		if len(n.Codes) > 0 {
			o = append(o, Member{"codes", texts(n.Codes)})
		}
		list[i] = o
	}
	return list
}

func needed(needs []Need, step string) bool {
	return slices.ContainsFunc(needs, func(n Need) bool { return n.Step == step })
}
