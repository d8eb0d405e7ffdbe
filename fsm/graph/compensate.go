package graph

import (
	"bytes"
	"slices"
)

// A compensation undoes what a completed step did. It is a node of its own behind the steps of its scope, which has no edges: what it
// waits for follows from the edges between steps, turned around.

// compensationSuffix makes a compensation's id out of its step's, as one would write its path in the definition.
const compensationSuffix = ".compensate"

// compensateKeys are the keys of a compensation. It is a task: what concerns edges is its step's.
func compensateKeys() []string {
	return []string{"queue", "task", "input", "locks", "limits", "retry", "timeouts", "priority", "fairness"}
}

// compensate reads a step's compensation, if it has one. Its queue is the step's unless it says otherwise.
func (r *reader) compensate(path string, o Object, s *Step) *Step {
	v, ok := o.Get("compensate")
	if !ok {
		return nil
	}
	path = At(path, "compensate")
	c := &Step{ID: s.ID + compensationSuffix, Queue: s.undoneBy(), Retry: defaultRetry(), Timeouts: defaultTimeouts(KindTask)}
	c.Task = c.ID
	m, ok := r.object(path, v, "compensate is a mapping {queue, task, input, locks, limits, retry, timeouts, priority, fairness}")
	if !ok {
		return c
	}
	if nameFault(s.ID) == "" && nameFault(c.ID) != "" {
		r.refuse(path, "the id of a step with a compensation has at most %d bytes; %q is longer", maxName-len(compensationSuffix), shorten(s.ID, 40))
	}
	r.known(path, m, compensateKeys()...)
	r.work(path, m, c)
	for i, l := range c.Locks {
		if l.Hold != HoldStep {
			r.refuse(At(AtIndex(At(path, "locks"), i), "hold"), "a compensation holds its locks for its own run; what its instance or scope holds meanwhile it has")
		}
	}
	return c
}

// undoneBy is the queue of a step's compensation, unless that says another.
func (s *Step) undoneBy() string {
	if s.Kind.Waits() {
		return defaultQueue
	}
	return s.Queue
}

// sequential reads in which order compensations run: each when the compensations of all steps behind its own are done, or
// one at a time.
func (r *reader) sequential(o Object, steps []Step) bool {
	v, ok := o.Get("compensation")
	if !ok {
		return false
	}
	switch v {
	case "parallel", "sequential":
		if compensable(steps) {
			return v == "sequential"
		}
		r.refuseKey("compensation", "compensation says in which order compensations run, but no step has one; remove it, or add compensate to a step")
	default:
		r.refuse("compensation", "compensation is parallel or sequential, not %s", describe(v))
	}
	return false
}

// compensable says whether one of the steps, or inside them, has a compensation.
func compensable(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool {
		return s.Compensate != nil || s.Body != nil && compensable(s.Body.Steps)
	})
}

// canonicalCompensation leaves out what equals its default, as the step's own form does.
func (s *Step) canonicalCompensation() Object {
	c := s.Compensate
	o := Object{}
	put := func(present bool, key string, v any) {
		if present {
			o = append(o, Member{key, v})
		}
	}
	put(c.Queue != s.undoneBy(), "queue", c.Queue)
	put(c.Task != c.ID, "task", c.Task)
	put(c.HasInput, "input", c.Input)
	put(len(c.Locks) > 0, "locks", c.canonicalLocks())
	put(len(c.Limits) > 0, "limits", c.canonicalLimits())
	retry := c.canonicalRetry()
	put(len(retry) > 0, "retry", retry)
	timeouts := c.canonicalTimeouts()
	put(len(timeouts) > 0, "timeouts", timeouts)
	put(c.Priority != 0, "priority", int64(c.Priority))
	put(c.Fairness.Key != "", "fairness", c.Fairness.canonical())
	return o
}

// compensated refuses a step that is called as the compensation of another is.
func (l *linker) compensated() {
	for i := range l.nodes {
		step, is := l.nodes[i].Compensates()
		if twin, twice := l.byID[l.nodes[i].ID]; is && twice {
			l.refuse(l.paths[twin], "%q is what the compensation of step %q is called; choose another id", l.nodes[i].ID, l.nodes[step].ID)
		}
	}
}

// Compensates says whether a node is a compensation, and of which node's step.
func (n *Node) Compensates() (step int, is bool) { return n.undoes - 1, n.undoes > 0 }

// Steps is how many of the nodes are steps, those in bodies too.
func (g *Graph) Steps() int { return len(g.byID) }

// Compensable says whether a step of the graph has a compensation.
func (g *Graph) Compensable() bool { return len(g.Nodes) > g.Steps() }

// After lists a node and those behind it, near ones first.
func (g *Graph) After(node int) []int {
	seen := make([]bool, len(g.Nodes))
	seen[node] = true
	list := []int{node}
	for at := 0; at < len(list); at++ {
		for _, next := range g.Nodes[list[at]].Successors {
			if !seen[next.To] {
				seen[next.To] = true
				list = append(list, next.To)
			}
		}
	}
	return list
}

// Undo is the input of a compensation without a mapping: that of its step's run and what that put out, as they were given.
// Nil is null. The error is an *EvalError.
func Undo(input, output []byte) ([]byte, error) {
	for i, part := range [...]*[]byte{&input, &output} {
		if _, err := decodePayload(*part); err != nil {
			return nil, &EvalError{Code: DataInvalid, Where: [...]string{"input", "output"}[i]}
		}
		if len(*part) == 0 {
			*part = []byte("null")
		}
	}
	return bytes.Join([][]byte{[]byte(`{"input":`), input, []byte(`,"output":`), output, []byte("}")}, nil), nil
}
