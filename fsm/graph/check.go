package graph

import (
	"fmt"
	"slices"
)

// Check finds everything that Read does not: what steps refer to, cycles, expressions and their types, the schema.
// Without problems it returns the canonical form and its digest.
func Check(d *Definition) (canonical []byte, digestHex string, problems []Problem) {
	c, problems := Examine(d)
	if len(problems) > 0 {
		return nil, "", problems
	}
	return c.Canonical, c.Graph.Digest, nil
}

// Checked is a definition that Check finds nothing wrong with.
type Checked struct {
	Canonical []byte
	Graph     *Graph
	// Reads are what its expressions cannot do without, in the order of the expressions.
	Reads []Reading
}

// Examine is Check, and keeps what it found out.
func Examine(d *Definition) (*Checked, []Problem) {
	c := &checker{}
	g, expressions, problems := d.build()
	for _, p := range problems {
		c.add(p)
	}
	c.graph = g
	if len(c.problems) == 0 {
		c.ancestors = ancestorsOf(g.Nodes, g.Scopes)
	}
	if p := g.checkSchema(); p != nil {
		c.add(*p)
	}
	c.expressions(expressions)
	canonical, err := d.Canonical()
	if err != nil {
		c.refuse("", "the definition is larger than 512 KiB; keep large values out of it")
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	g.Digest = digest(canonical)
	return &Checked{Canonical: canonical, Graph: g, Reads: c.reads}, nil
}

type checker struct {
	reader
	graph     *Graph
	ancestors *ancestors // nil if the graph itself is wrong
	reads     []Reading
}

func (c *checker) expressions(list []*expression) {
	if len(list) == 0 {
		return
	}
	language, err := newLanguage(c.graph.schemaSource)
	if err != nil {
		c.refuse("inputSchema", "its types cannot be declared: %v", err)
		return
	}
	type key struct {
		text string
		use  use
	}
	seen := map[key]checked{} // the expressions that are right
	for _, e := range list {
		if len(c.problems) >= maxProblems {
			return
		}
		found, ok := seen[key{e.text, e.use}]
		if !ok {
			var problems []Problem
			if found, problems = language.check(e.text, e.use); len(problems) > 0 {
				c.report(e, problems)
				continue
			}
			seen[key{e.text, e.use}] = found
		}
		c.expression(e, found)
	}
}

func (c *checker) report(e *expression, problems []Problem) {
	for _, p := range problems {
		p.Path, p.Offset = e.where, p.Offset+e.offset
		c.add(p)
	}
}

// expression checks what depends on where an expression stands.
func (c *checker) expression(e *expression, found checked) {
	if e.use == asBool && isFalse(found.ast.NativeRep().Expr()) {
		c.refuse(e.where, "the step can never run: its condition is always false; remove the step or the condition")
	}
	for _, why := range c.places(e, found.references) {
		c.refuse(e.where, "%s", why)
	}
	for _, r := range found.steps {
		why := c.reference(e, r)
		switch {
		case why != "":
			c.add(Problem{Path: e.where, Offset: e.offset + nodeOffset(e.text, found.ast, r.at), Message: why})
		case r.strict:
			c.reads = append(c.reads, Reading{Node: e.node, Scope: e.scope, Of: c.graph.byID[r.id], Failure: r.failure, Turn: e.turn, Where: e.where})
		}
	}
}

// places says what an expression reads that is not known where it stands.
func (c *checker) places(e *expression, r references) (wrong []string) {
	if r.item && !c.graph.inside(e.scope, KindForEach) {
		wrong = append(wrong, "item is known only inside forEach")
	}
	if r.last && !e.turn && !c.graph.inside(e.scope, KindLoop) {
		wrong = append(wrong, "last is known only inside loop, and in its condition")
	}
	return wrong
}

// reference says why an expression cannot read a step's output or error, or nothing. It sees what is upstream in its own scope, and in
// those around that upstream of the step that they are in; the output of a scope sees all of its steps. A compensation reads its step's
// output too.
func (c *checker) reference(e *expression, r stepReference) string {
	id, nodes := r.id, c.graph.Nodes
	target, ok := c.graph.byID[id]
	if !ok {
		return fmt.Sprintf("there is no step %q%s", id, suggest(id, c.graph.stepIDs(), ""))
	}
	if r.failure && !slices.ContainsFunc(nodes[target].Successors, func(e Edge) bool { return e.Ends&EndsFailed != 0 }) {
		return fmt.Sprintf("nothing sees an error of step %q, for the instance fails by it; let a step need it with ends: failed", id)
	}
	if c.ancestors == nil {
		return ""
	}
	node, scope := e.node, e.scope
	for nodes[target].Scope != scope {
		if scope == 0 {
			return fmt.Sprintf("step %q is inside another, and not seen from outside; give that an output, and read it", id)
		}
		node = c.graph.Scopes[scope].Owner
		scope = nodes[node].Scope
	}
	if node == noNode {
		return ""
	}
	step, compensates := nodes[node].Compensates()
	if !compensates {
		step = node
	}
	switch {
	case c.ancestors.has(step, target), compensates && step == target:
		return ""
	case step == target:
		return fmt.Sprintf("step %q cannot read its own output", id)
	}
	field := "output"
	if r.failure {
		field = "error"
	}
	return fmt.Sprintf("step %q is not upstream of %q, so its %s may not exist yet; add it to needs", id, nodes[step].ID, field)
}

// stepIDs are the ids of all steps.
func (g *Graph) stepIDs() (ids []string) {
	for i := range g.Nodes {
		if _, compensates := g.Nodes[i].Compensates(); !compensates {
			ids = append(ids, g.Nodes[i].ID)
		}
	}
	return ids
}
