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
	paths        []string // by node: where it stands in the definition
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
	// Of an await: the id of the instance, or the value of the key.
	instance template
	barrier  *barrier // of a barrier
	locks    []lock
	limits   []limit
	fair     fairness
	keys     []stepKey
	// Of a step with a body: the list of its items, the condition of its turns, and what the body puts out; nil is none.
	in     template
	while  *expression
	output *template
}

// programKey names a program: expressions that yield dates, or keys, are of languages that have some more in them.
type programKey struct {
	text string
	more use
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
	l := d.link()
	problems := l.problems
	g := &Graph{
		Name: d.Workflow, Nodes: l.nodes, Sequential: d.Sequential, Scopes: l.scopes, Total: d.Total, Edition: d.edition(),
		schemaSource: d.InputSchema, byID: l.byID, paths: l.paths, steps: make([]step, len(l.nodes)), programs: map[programKey]*program{},
	}
	c := &compiler{fault: func(p Problem) { problems = append(problems, p) }}
	for i := range g.Nodes {
		c.node, c.scope = i, g.Nodes[i].Scope
		g.steps[i] = c.step(g.Path(i), l.of[i])
		if b := l.of[i].Body; b != nil && b.HasOutput {
			c.node, c.scope = noNode, g.Nodes[i].Body
			g.steps[i].output = c.output(At(At(g.Path(i), g.Nodes[i].Kind.name()), "output"), b.Output)
		}
	}
	if d.HasOutput {
		c.node, c.scope = noNode, 0
		g.output = c.output("output", d.Output)
	}
	return g, c.all, problems
}

// Path is where a node stands in the definition.
func (g *Graph) Path(node int) string { return g.paths[node] }

func (c *compiler) output(path string, v any) *template {
	t := c.value(path, v, 0)
	return &t
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
	if s.Kind == KindAwait {
		out.instance = c.awaited(path, &s.Await)
	}
	if s.Kind == KindBarrier {
		out.barrier = c.barrier(At(path, "barrier"), &s.Barrier)
	}
	if s.Kind == KindForEach {
		out.in = c.value(At(At(path, "forEach"), "in"), s.Body.In, 0)
	}
	if s.Kind == KindLoop && s.Body.While != "" {
		out.while = c.expression(At(At(path, "loop"), "while"), s.Body.While, 0, asBool)
		out.while.turn = true
	}
	out.fair, out.limits = c.fairness(path, s.Fairness), c.limits(path, s.Limits)
	out.keys = c.keys(path, s.Keys)
	for i, l := range s.Locks {
		where := At(AtIndex(At(path, "locks"), i), "name")
		out.locks = append(out.locks, lock{
			Lock: Lock{Shared: l.Shared, Limit: l.Limit, Take: l.Take, Hold: l.Hold}, where: where, name: c.parts(where, l.Name),
		})
	}
	return out
}

// When evaluates a node's condition; a node without one runs. Errors are *EvalError.
func (g *Graph) When(node int, view View) (bool, error) { return g.holds(g.steps[node].when, view) }

// holds evaluates a condition; none holds.
func (g *Graph) holds(e *expression, view View) (bool, error) {
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
	return g.render(&g.steps[node].input, At(g.Path(node), "input"), view)
}

// HasOutput says whether the workflow has an output of its own.
func (g *Graph) HasOutput() bool { return g.output != nil }

// Output evaluates the workflow's output, to JSON. Only for graphs with HasOutput. Errors are *EvalError.
func (g *Graph) Output(view View) ([]byte, error) { return g.render(g.output, "output", view) }

func (g *Graph) render(t *template, where string, view View) ([]byte, error) {
	out := encoder{max: maxResult}
	err := t.render(&out, g.evaluation(view))
	view.Work.encoded(len(out.buf))
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
	key := programKey{e.text, asValue}
	if e.use == asDate || e.use == asKey {
		key.more = e.use
	}
	if p, ok := g.programs[key]; ok {
		return p, nil
	}
	l, err := g.speaks()
	if err != nil {
		return nil, e.failed(ExpressionInvalid)
	}
	// As a value, whatever its use: what fails at a use must not depend on which use compiled it.
	use := key.more
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
