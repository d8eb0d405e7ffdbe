package graph

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Graph is a compiled definition. Every method and exported field is safe for use from any goroutine;
// the fields never change.
//
// Expressions are compiled when they are first evaluated, and once: compiling one costs some 0.3 ms, so a graph of a
// thousand steps would hold up apply for a second if it compiled them all.
type Graph struct {
	Name string
	// Digest is the SHA-256 of the canonical bytes, hex.
	Digest string
	// Nodes stand in definition order, compensations behind all steps: a node's index here is its identity everywhere.
	Nodes []Node
	// Sequential: compensations run one at a time, the newest completion first.
	Sequential bool
	// Scopes divide the nodes; the first is the workflow.
	Scopes []Scope
	// Total is how long an instance may take, in nanoseconds; zero is for ever.
	Total int64
	// Edition is that of the language in which the definition is written: the first, or one that grew later. A cluster
	// takes a definition when all of its nodes know its edition.
	Edition int

	schemaSource any
	byID         map[string]int
	steps        []step
	output       *template

	mu       sync.Mutex // guards what is compiled lazily
	language *language
	programs map[programKey]*program
	schema   *jsonschema.Schema
}

// step is what is evaluated for a node.
type step struct {
	when  *expression
	input template
	until template
	locks []lock
}

// programKey names a program: expressions that yield dates are of a language that has some more in it.
type programKey struct {
	text  string
	dates bool
}

// Compile reads a canonical definition. It refuses every other spelling of it.
func Compile(canonical []byte) (*Graph, error) {
	if len(canonical) > maxDefinition {
		return nil, errors.New("compile definition: larger than 512 KiB")
	}
	value, err := DecodeOrdered(canonical)
	if err != nil {
		return nil, fmt.Errorf("compile definition: %w", err)
	}
	d, problems := Read(value)
	if len(problems) == 0 {
		var g *Graph
		if g, _, problems = d.build(); len(problems) == 0 {
			again, err := d.Canonical()
			if err != nil || !bytes.Equal(again, canonical) {
				return nil, errors.New("compile definition: not in canonical form")
			}
			g.Digest = digest(canonical)
			return g, nil
		}
	}
	return nil, fmt.Errorf("compile definition: %s", problems[0])
}

// build makes the graph and lists its expressions.
func (d *Definition) build() (*Graph, []*expression, []Problem) {
	nodes, problems := d.link()
	g := &Graph{
		Name: d.Workflow, Nodes: nodes, Sequential: d.Sequential, Scopes: scopesOf(nodes), Total: d.Total, Edition: d.edition(),
		schemaSource: d.InputSchema, byID: make(map[string]int, len(nodes)), steps: make([]step, len(nodes)), programs: map[programKey]*program{},
	}
	c := &compiler{fault: func(p Problem) { problems = append(problems, p) }}
	for i := range d.Steps {
		g.byID[d.Steps[i].ID] = i
		c.node = i
		g.steps[i] = c.step(At("steps", d.Steps[i].ID), &d.Steps[i])
	}
	for i := len(d.Steps); i < len(nodes); i++ {
		c.node = i
		g.steps[i] = c.step(g.path(i), d.Steps[nodes[i].undoes-1].Compensate)
	}
	if d.HasOutput {
		c.node = noNode
		output := c.value("output", d.Output, 0)
		g.output = &output
	}
	return g, c.all, problems
}

// path is where a node stands in the definition.
func (g *Graph) path(node int) string {
	if step, is := g.Nodes[node].Compensates(); is {
		return At(g.path(step), "compensate")
	}
	return At("steps", g.Nodes[node].ID)
}

func (c *compiler) step(path string, s *Step) step {
	var out step
	if s.When != "" {
		out.when = c.expression(At(path, "when"), s.When, 0, asBool)
	}
	if s.HasInput {
		out.input = c.value(At(path, "input"), s.Input, 0)
	}
	if s.Timer.Until != "" {
		out.until = c.string(At(At(path, "timer"), "until"), s.Timer.Until)
		if out.until.whole != nil {
			out.until.whole.use = asDate
		}
	}
	for i, l := range s.Locks {
		where := At(AtIndex(At(path, "locks"), i), "name")
		out.locks = append(out.locks, lock{
			Lock: Lock{Shared: l.Shared, Limit: l.Limit, Take: l.Take}, where: where, name: c.parts(where, l.Name),
		})
	}
	return out
}

// When evaluates a node's condition; a node without one runs. Errors are *EvalError.
func (g *Graph) When(node int, view View) (bool, error) {
	e := g.steps[node].when
	if e == nil {
		return true, nil
	}
	result, err := g.evaluation(view).eval(e)
	if err != nil {
		return false, err
	}
	holds, ok := result.Value().(bool)
	if !ok {
		return false, e.failed(TypeMismatch)
	}
	return holds, nil
}

// Input evaluates a node's input mapping, to JSON. Only for nodes with HasInput. Errors are *EvalError.
func (g *Graph) Input(node int, view View) ([]byte, error) {
	return g.render(&g.steps[node].input, At(g.path(node), "input"), view)
}

// HasOutput says whether the workflow has an output of its own.
func (g *Graph) HasOutput() bool { return g.output != nil }

// Output evaluates the workflow's output, to JSON. Only for graphs with HasOutput. Errors are *EvalError.
func (g *Graph) Output(view View) ([]byte, error) { return g.render(g.output, "output", view) }

func (g *Graph) render(t *template, where string, view View) ([]byte, error) {
	out := encoder{max: maxResult}
	err := t.render(&out, g.evaluation(view))
	var json []byte
	if err == nil {
		json, err = out.done()
	}
	if errors.Is(err, errTooLarge) {
		return nil, &EvalError{Code: TooLarge, Where: where}
	}
	return json, err
}

// program compiles an expression, once.
func (g *Graph) program(e *expression) (*program, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := programKey{e.text, e.use == asDate}
	if p, ok := g.programs[key]; ok {
		return p, nil
	}
	l, err := g.speaks()
	if err != nil {
		return nil, e.failed(ExpressionInvalid)
	}
	// As a value, whatever its use: what fails at a use must not depend on which use compiled it.
	use := asValue
	if key.dates {
		use = asDate
	}
	checked, problems := l.check(e.text, use)
	if len(problems) > 0 {
		return nil, e.failed(ExpressionInvalid)
	}
	p, err := l.program(checked, use)
	if err != nil {
		return nil, e.failed(ExpressionInvalid)
	}
	g.programs[key] = p
	return p, nil
}

// speaks returns the graph's language. The caller holds mu.
func (g *Graph) speaks() (*language, error) {
	var err error
	if g.language == nil {
		g.language, err = newLanguage(g.schemaSource)
	}
	return g.language, err
}

// shape is what the inputSchema declares.
func (g *Graph) shape() *shape {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.language.input // a program exists, so its language does
}
