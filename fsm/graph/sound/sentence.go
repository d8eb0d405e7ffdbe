package sound

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// add keeps a finding about a node; below zero it is the workflow.
func (c *check) add(node int, code Code, witness []string, format string, args ...any) {
	f := found{node, Finding{Code: code, Path: "output", Sentence: fmt.Sprintf(format, args...), Witness: witness}}
	if node >= 0 {
		f.Step, f.Path = c.g.Nodes[node].ID, c.g.Path(node)
	}
	c.said[subject{node, code}] = true
	c.findings = append(c.findings, f)
}

// inOrder are the findings in the order of the nodes, the workflow's own last.
func (c *check) inOrder() []Finding {
	slices.SortStableFunc(c.findings, func(a, b found) int { return cmp.Compare(uint(a.node), uint(b.node)) })
	list := make([]Finding, len(c.findings))
	for i := range list {
		list[i] = c.findings[i].Finding
	}
	return list
}

func (c *check) id(node int) string { return strconv.Quote(c.g.Nodes[node].ID) }

// most is how many names a sentence has.
const most = 8

func (c *check) list(nodes []int) string {
	names := make([]string, 0, most)
	for _, node := range nodes[:min(len(nodes), most)] {
		names = append(names, c.id(node))
	}
	if len(nodes) > most {
		return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(nodes)-most)
	}
	return join(names, "and")
}

func join(names []string, last string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " " + last + " " + names[len(names)-1]
}

func with(codes []string) string {
	if len(codes) == 0 {
		return ""
	}
	return " with " + join(codes[:min(len(codes), most)], "or")
}

// failsOnly says how a node can fail.
func (c *check) failsOnly(node int) string {
	fails := c.steps[node].fails
	if fails.none() {
		return "it cannot fail"
	}
	var some []string
	for code := range fails.some {
		some = append(some, code)
	}
	slices.Sort(some)
	return "it fails only" + with(some)
}

// never says why a node never runs.
func (c *check) never(node int) {
	st := &c.steps[node]
	c.add(node, StepNeverRuns, nil, "%s; change what it needs, or remove it", c.why(node, st))
}

func (c *check) why(node int, st *step) string {
	from := make([]int, len(st.needs))
	for k := range st.needs {
		from[k] = st.needs[k].from
	}
	if st.want > 0 {
		return fmt.Sprintf("it needs %d of %s, and in no outcome are so many met", st.want, c.list(from))
	}
	unmet := true
	var all []goal
	for k := range st.needs {
		n := &st.needs[k]
		can := c.steps[n.from].can
		if can&(n.met|n.neutral) == none {
			return fmt.Sprintf("it needs %s, and %s", c.says(n, node), c.cannot(n))
		}
		unmet = unmet && can&n.met == none
		all = append(all, goal{kind: goalEnds, node: n.from, in: n.met | n.neutral})
	}
	switch {
	case unmet && len(from) == 1:
		return fmt.Sprintf("it needs %s, and %s", c.says(&st.needs[0], node), c.cannot(&st.needs[0]))
	case unmet:
		return fmt.Sprintf("in no outcome is one of its needs met: %s", c.list(from))
	case len(c.g.Nodes[node].Rivals) > 0 && c.find(nil, nil, all...):
		return "its needs are met only when its race is lost"
	}
	if a, b := c.clash(st); a != nil {
		return fmt.Sprintf("it needs %s, and %s, and in no outcome are both so", c.says(a, node), c.says(b, node))
	}
	return fmt.Sprintf("in no outcome are its needs met: %s", c.list(from))
}

// clash finds two needs that are met in no outcome together.
func (c *check) clash(st *step) (a, b *need) {
	for j := range st.needs[:min(len(st.needs), most)] {
		for i := range st.needs[:j] {
			a, b = &st.needs[i], &st.needs[j]
			if !c.find(nil, nil, goal{kind: goalEnds, node: a.from, in: a.met | a.neutral}, goal{kind: goalEnds, node: b.from, in: b.met | b.neutral}) {
				if c.budget.spent() {
					return nil, nil
				}
				return a, b
			}
		}
	}
	return nil, nil
}

// says is what a node needs of another.
func (c *check) says(n *need, node int) string {
	e := c.g.Edge(n.from, node)
	switch e.Ends {
	case graph.EndsCompleted:
		return c.id(n.from) + " to complete"
	case graph.EndsFailed:
		return c.id(n.from) + " to fail" + with(e.Codes)
	}
	return c.id(n.from) + " to end"
}

// cannot says why a need is never met.
func (c *check) cannot(n *need) string {
	switch st := &c.steps[n.from]; {
	case !st.runs:
		return "it never runs"
	case n.neutral == none:
		return c.failsOnly(n.from)
	}
	return "it never does"
}

// standsStill says that an expression of a node never has a value.
func (c *check) standsStill(node int) {
	c.add(node, StepStandsStill, nil, "its expressions read %s, and in no outcome in which it is begun is all of that there; ask with has first", c.list(c.steps[node].strict))
}

// missing says what an expression reads that may not be there.
func (c *check) missing(r graph.Reading, undo bool) {
	witness := c.witness()
	if c.fact[r.Of] == none {
		witness = append(witness, c.id(r.Of)+" has not ended")
	}
	what := "output"
	if r.Failure {
		what = "error"
	}
	then := "and it stands still until its total timeout passes"
	if undo {
		then = "and it stands still until somebody skips it"
	}
	node, code := r.Node, whenMissing(r)
	switch code {
	case OutputMayBeMissing: // the output of a body reads what is around it
		node, then = c.g.Scopes[r.Scope].Owner, "and it fails as "+outputInvalid
	case ConditionMayFail:
		then = "and it fails as " + conditionInvalid
	}
	c.add(node, code, witness, "%s reads the %s of %s, which is not there then, %s; ask with has first", r.Where, what, c.id(r.Of), then)
	c.findings[len(c.findings)-1].Path = r.Where
}

// witness is the way that was found: what happens, in order, but for what does so when all goes well.
func (c *check) witness() []string {
	var all, unusual []string
	for _, node := range c.path {
		line := c.happens(node)
		all = append(all, line)
		if c.fact[node] != c.steps[node].usual || c.steps[node].raced {
			unusual = append(unusual, line)
		}
	}
	if len(unusual) == 0 {
		unusual = all
	}
	return unusual[max(0, len(unusual)-maxWitness):]
}

// maxWitness is how many lines a witness has: the last ones.
const maxWitness = 32

func (c *check) happens(node int) string {
	st := &c.steps[node]
	switch fact := c.fact[node]; {
	case fact == completes:
		return c.id(node) + " completes"
	case fact == isSkipped:
		return c.id(node) + " is skipped"
	case st.code(fact) == "":
		return c.id(node) + " fails"
	default:
		return c.id(node) + " fails with " + st.code(fact)
	}
}
