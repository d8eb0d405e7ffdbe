package graph

import (
	"errors"
)

// A body is steps inside a step: the part of the graph that is activated as one, with each activation of the step (scope), with
// each item of a list (forEach), or turn after turn (loop). Its steps need each other and nothing outside; their expressions see
// what is upstream of the step, and from outside only the body's output is seen, as the step's.

// Body is that of a step.
type Body struct {
	Steps     []Step
	HasOutput bool
	Output    any
	In        any    // of forEach: a list, or an expression that yields one
	Width     int    // of forEach: how many items at a time
	While     string // of loop: the condition that is looked at before each turn; empty is true
	Max       int    // of loop: how many turns at most
}

const (
	defaultTurns = 1000
	maxTurns     = 10_000
	maxItems     = 10_000
	maxScopes    = 16 // inside each other, that of the workflow included

	// MaxInside is how many runs there may be inside the steps of an instance, over or not: bodies inside bodies multiply, and all of them
	// are in memory, and can be begun in one entry.
	MaxInside = 100_000
)

// bodyKeys are those of each kind, beside steps and output.
func bodyKeys(k Kind) []string {
	switch k {
	case KindForEach:
		return []string{"in", "width"}
	case KindLoop:
		return []string{"while", "max"}
	}
	return nil
}

// body reads what is inside a step of a kind that has one.
func (r *reader) body(path string, v any, k Kind) *Body {
	keys := append(bodyKeys(k), "steps", "output")
	b := &Body{Width: 1, Max: defaultTurns}
	o, ok := r.object(path, v, k.name()+" is a mapping with steps")
	if !ok {
		return b
	}
	r.known(path, o, keys...)
	if steps, ok := o.Get("steps"); !ok {
		r.refuse(path, "steps is missing; %s needs at least one", k.name())
	} else if r.depth++; r.depth >= maxScopes {
		r.refuse(path, "steps are at most %d deep inside each other", maxScopes)
	} else {
		b.Steps = r.steps(At(path, "steps"), steps)
	}
	r.depth--
	b.Output, b.HasOutput = o.Get("output")
	switch k {
	case KindForEach:
		r.items(path, o, b)
	case KindLoop:
		r.turns(path, o, b)
	}
	return b
}

func (r *reader) items(path string, o Object, b *Body) {
	in, ok := o.Get("in")
	switch list, literal := in.([]any); {
	case !ok:
		r.refuse(path, "in is missing: the list whose items are to be done, such as ${input.items}")
	case literal && len(list) > maxItems:
		r.refuse(At(path, "in"), "at most %d items; this list has %d", maxItems, len(list))
	case !literal && !isWholeExpression(in):
		r.refuse(At(path, "in"), "in is a list, or one expression that yields one, such as ${input.items}; not %s", describe(in))
	}
	b.In = in
	if width, ok := o.Get("width"); ok {
		b.Width = int(r.integer(At(path, "width"), width, 1, maxItems))
	}
}

func (r *reader) turns(path string, o Object, b *Body) {
	b.While = r.condition(path, o, "while")
	most, bounded := o.Get("max")
	if bounded {
		b.Max = int(r.integer(At(path, "max"), most, 1, maxTurns))
	}
	if !bounded && b.While == "" {
		r.refuse(path, "a loop needs an end: while (a condition), or max (how many turns)")
	}
}

func (s *Step) width() int {
	if s.Kind == KindForEach {
		return s.Body.Width
	}
	return 0
}

func (s *Step) turns() int {
	if s.Kind == KindLoop {
		return s.Body.Max
	}
	return 0
}

// canonicalBody leaves out what equals its default.
func (s *Step) canonicalBody() Object {
	b := s.Body
	var o Object
	put := func(present bool, key string, v any) {
		if present {
			o = append(o, Member{key, v})
		}
	}
	put(s.Kind == KindForEach, "in", b.In)
	put(s.Kind == KindForEach && b.Width != 1, "width", int64(b.Width))
	put(s.Kind == KindLoop && b.While != "", "while", b.While)
	// Without a condition the bound is what ends it, and is said.
	put(s.Kind == KindLoop && (b.Max != defaultTurns || b.While == ""), "max", int64(b.Max))
	put(true, "steps", canonicalSteps(b.Steps))
	put(b.HasOutput, "output", b.Output)
	return o
}

// HasBody says whether a node of this kind is done by what is inside it.
func (k Kind) HasBody() bool { return k >= KindScope }

// Items is the list that a node's body is done for, JSON, and how many items it has. Only for KindForEach. Errors are *EvalError.
func (g *Graph) Items(node int, view View) (list []byte, count int, err error) {
	where := At(At(g.Path(node), "forEach"), "in")
	if list, err = g.render(&g.steps[node].in, where, view); err != nil {
		return nil, 0, err
	}
	items, err := Split(list)
	switch {
	case err != nil:
		return nil, 0, &EvalError{Code: TypeMismatch, Where: where, Expression: g.steps[node].in.said()}
	case len(items) > maxItems:
		return nil, 0, &EvalError{Code: TooMany, Where: where, Expression: g.steps[node].in.said()}
	}
	return list, len(items), nil
}

// Split are the items of a list, each as JSON.
func Split(list []byte) ([][]byte, error) {
	value, err := decodeValue(list)
	if err != nil {
		return nil, err
	}
	items, ok := value.([]any)
	if !ok {
		return nil, errNotJSON
	}
	out := make([][]byte, len(items))
	for i, item := range items {
		if out[i], err = encodeValue(item, maxResult); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Conditional says whether a loop has a condition: then its bound is a limit, and else its end.
func (g *Graph) Conditional(node int) bool { return g.steps[node].while != nil }

// said is the template's expression, if it is one.
func (t *template) said() string {
	if t.whole != nil {
		return t.whole.text
	}
	return ""
}

// Again says whether a loop's condition holds for a turn: the view has its number as Index, and as Last what the turn before put
// out. Only for KindLoop. Errors are *EvalError.
func (g *Graph) Again(node int, view View) (bool, error) { return g.holds(g.steps[node].while, view) }

// HasBodyOutput says whether the body of a node has an output of its own; else that is null.
func (g *Graph) HasBodyOutput(node int) bool { return g.steps[node].output != nil }

// BodyOutput evaluates the output of a node's body, to JSON. Only where HasBodyOutput says so. Errors are *EvalError.
func (g *Graph) BodyOutput(node int, view View) ([]byte, error) {
	return g.render(g.steps[node].output, At(At(g.Path(node), g.Nodes[node].Kind.name()), "output"), view)
}

// List is what a forEach puts out: the outputs of its items in their order, each JSON or nil for null. The error is an
// *EvalError: what does not fit into a payload.
func List(outputs [][]byte) ([]byte, error) {
	e := encoder{max: maxResult}
	e.buf = append(e.buf, '[')
	for i, o := range outputs {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		if len(o) == 0 {
			o = []byte("null")
		}
		if e.buf = append(e.buf, o...); len(e.buf) >= e.max {
			return nil, &EvalError{Code: TooLarge, Where: "output"}
		}
	}
	e.buf = append(e.buf, ']')
	json, err := e.done()
	if errors.Is(err, errTooLarge) {
		return nil, &EvalError{Code: TooLarge, Where: "output"}
	}
	return json, err
}

// inside says whether a scope is, or is in, the body of a node of some kind.
func (g *Graph) inside(scope int, k Kind) bool {
	for ; scope != 0; scope = g.Nodes[g.Scopes[scope].Owner].Scope {
		if g.Nodes[g.Scopes[scope].Owner].Kind == k {
			return true
		}
	}
	return false
}

// Count is how many steps the definition has, those in bodies too.
func (d *Definition) Count() int { return count(d.Steps) }

func count(steps []Step) int {
	n := len(steps)
	for i := range steps {
		if b := steps[i].Body; b != nil {
			n += count(b.Steps)
		}
	}
	return n
}

// Listed is how many items a forEach has whose list stands in the definition; false when an expression yields it.
func (g *Graph) Listed(node int) (items int, is bool) {
	in := &g.steps[node].in
	if in.literal == nil {
		return len(in.list), in.list != nil
	}
	list, err := Split(in.literal)
	return len(list), err == nil
}

// Times is how often a node's body is done at most in one run of it.
func (g *Graph) Times(node int) int {
	switch n := &g.Nodes[node]; n.Kind {
	case KindForEach:
		if items, listed := g.Listed(node); listed {
			return items
		}
		return maxItems
	case KindLoop:
		return n.Turns
	}
	return 1
}
