package source

import (
	"errors"
	"fmt"
	"math"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// maxNodes bounds what a source's aliases expand to: more than any source of maxSource bytes spells out.
const maxNodes = 300_000

// yamlReader turns YAML's syntax into a value.
type yamlReader struct {
	*tree
	anchors map[string]*ast.AnchorNode
	open    map[string]bool // aliases being expanded
	nodes   int
}

// yaml reads the source as YAML 1.2.
func (t *tree) yaml() any {
	if line, ok := tooDeep(t.src); ok {
		t.refuse(line, 1, "", fmt.Sprintf("it nests deeper than %d levels", maxDepth))
		return nil
	}
	file, err := parser.ParseBytes(t.src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		t.refuseSyntax(err)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			line, column := position(doc.Body)
			t.refuse(line, column, "", "a source is one document; remove the others")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		t.refuse(1, 1, "", "the source is empty; begin with workflow: NAME")
		return nil
	}
	r := &yamlReader{tree: t, anchors: map[string]*ast.AnchorNode{}, open: map[string]bool{}}
	return r.value("", body, place{}, 0)
}

// tooDeep finds nesting before the parser, which recurses, meets it: in brackets, and in compact block
// sequences. It does not know strings, and so looks for more than strings hold.
func tooDeep(src []byte) (line int, found bool) {
	line = 1
	brackets, dashes := 0, 0
	for i, c := range src {
		switch c {
		case '\n':
			line, dashes = line+1, 0
		case '[', '{':
			brackets++
		case ']', '}':
			brackets = max(0, brackets-1)
		case '-', '?', ':':
			if i+1 < len(src) && (src[i+1] == ' ' || src[i+1] == '\t') {
				dashes++
			}
		}
		if brackets > 10*maxDepth || dashes > 10*maxDepth {
			return line, true
		}
	}
	return 0, false
}

func (t *tree) refuseSyntax(err error) {
	var fault yaml.Error
	if !errors.As(err, &fault) || fault.GetToken() == nil {
		t.refuse(1, 1, "", "not valid YAML: "+err.Error())
		return
	}
	at := fault.GetToken().Position
	t.refuse(at.Line, at.Column, "", "not valid YAML: "+fault.GetMessage())
}

func position(n ast.Node) (line, column int) {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 1, 1
	}
	at := n.GetToken().Position
	return at.Line, at.Column
}

func (r *yamlReader) value(path string, n ast.Node, p place, depth int) any {
	r.nodes++
	p.line, p.column = position(n)
	switch {
	case r.nodes == maxNodes:
		r.refuse(p.line, p.column, path, "the aliases expand to too much; write less with them")
		return nil
	case r.nodes > maxNodes:
		return nil
	case depth > maxDepth:
		r.refuse(p.line, p.column, path, fmt.Sprintf("it nests deeper than %d levels", maxDepth))
		return nil
	}
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		r.places[path] = p
		return r.mapping(path, n.(ast.MapNode), depth)
	case *ast.SequenceNode:
		r.places[path] = p
		return r.sequence(path, n, depth)
	case *ast.AnchorNode:
		r.anchors[n.Name.GetToken().Value] = n
		return r.value(path, n.Value, p, depth+1)
	case *ast.AliasNode:
		return r.alias(path, n, p, depth)
	}
	return r.scalar(path, n, p)
}

func (r *yamlReader) scalar(path string, n ast.Node, p place) any {
	p.scalar = true
	defer func() { r.places[path] = p }()
	switch n := n.(type) {
	case nil, *ast.NullNode:
		if p.keyLine > 0 {
			p.scalar = false // there may be nothing to point at
		}
		return nil
	case *ast.StringNode:
		p.value = n.Value
		v, err := plainScalar(n)
		if err != nil {
			r.refuse(p.line, p.column, path, "this number is out of range; put it in quotes if it is a string")
		}
		return v
	case *ast.LiteralNode:
		p.value = n.Value.Value
		return n.Value.Value
	case *ast.BoolNode:
		return n.Value
	case *ast.IntegerNode:
		return integer(n.Value)
	case *ast.FloatNode:
		return float(n.Value)
	case *ast.InfinityNode, *ast.NanNode:
		r.refuse(p.line, p.column, path, "infinity and NaN have no JSON form; write a number or a string")
	case *ast.TagNode:
		r.refuse(p.line, p.column, path, "tags are not supported; remove it")
	default:
		r.refuse(p.line, p.column, path, "this has no place in a definition; write a string, number, list or mapping")
	}
	return nil
}

// plainScalar is a string, or a number that the library takes for one: 1e3 without quotes.
func plainScalar(n *ast.StringNode) (any, error) {
	if n.Token.Type != token.StringType {
		return n.Value, nil
	}
	v, err := graph.DecodeOrdered([]byte(n.Value))
	switch {
	case errors.Is(err, graph.ErrRange):
		return nil, err
	case err != nil:
		return n.Value, nil
	}
	switch v.(type) {
	case int64, float64:
		return v, nil
	}
	return n.Value, nil
}

func integer(v any) any {
	switch v := v.(type) {
	case int64:
		return v
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v)
		}
		return float64(v)
	}
	return nil
}

// float is the one form of a JSON number.
func float(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
		return int64(f)
	}
	return f
}

func (r *yamlReader) sequence(path string, n *ast.SequenceNode, depth int) any {
	list := make([]any, 0, len(n.Values))
	for i, item := range n.Values {
		at := graph.AtIndex(path, i)
		v := r.value(at, item, place{}, depth+1)
		r.name(path, at, v)
		list = append(list, v)
	}
	return list
}

func (r *yamlReader) alias(path string, n *ast.AliasNode, p place, depth int) any {
	name := n.Value.GetToken().Value
	anchor, ok := r.anchors[name]
	switch {
	case !ok:
		r.refuse(p.line, p.column, path, fmt.Sprintf("there is no anchor &%s above; define it or write the value", name))
		return nil
	case r.open[name]:
		r.refuse(p.line, p.column, path, fmt.Sprintf("the alias *%s stands inside its own anchor; write the value", name))
		return nil
	}
	r.open[name] = true
	defer delete(r.open, name)
	return r.value(path, anchor.Value, p, depth+1)
}

func (r *yamlReader) mapping(path string, n ast.MapNode, depth int) any {
	o := graph.Object{}
	var merged []ast.Node
	for entries := n.MapRange(); entries.Next(); {
		if _, ok := entries.Key().(*ast.MergeKeyNode); ok {
			merged = append(merged, entries.Value())
			continue
		}
		o = r.entry(path, o, entries.KeyValue(), depth)
	}
	for _, from := range merged {
		o = r.merge(path, o, from, depth)
	}
	return o
}

func (r *yamlReader) entry(path string, o graph.Object, n *ast.MappingValueNode, depth int) graph.Object {
	var p place
	p.keyLine, p.keyColumn = position(n.Key)
	key, ok := keyText(n.Key)
	if !ok {
		r.refuse(p.keyLine, p.keyColumn, path, "a key must be a string; put it in quotes")
		return o
	}
	at := graph.At(path, key)
	if _, twice := r.places[at]; twice && has(o, key) {
		r.refuse(p.keyLine, p.keyColumn, at, fmt.Sprintf("the key %q appears twice; remove one", key))
		return o
	}
	return append(o, graph.Member{Key: key, Value: r.value(at, n.Value, p, depth+1)})
}

func has(o graph.Object, key string) bool {
	_, ok := o.Get(key)
	return ok
}

func keyText(n ast.MapKeyNode) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.MappingKeyNode:
		if s, ok := n.Value.(*ast.StringNode); ok {
			return s.Value, true
		}
	}
	return "", false
}

// merge adds the keys of a mapping, or of a list of them, that o does not have.
func (r *yamlReader) merge(path string, o graph.Object, from ast.Node, depth int) graph.Object {
	line, column := position(from)
	aside := &yamlReader{tree: newTree(r.src), anchors: r.anchors, open: r.open, nodes: r.nodes}
	v := aside.value(path, from, place{}, depth+1)
	r.nodes = aside.nodes
	r.errors = append(r.errors, aside.errors...)
	sources, ok := v.([]any)
	if !ok {
		sources = []any{v}
	}
	present := map[string]bool{}
	for _, m := range o {
		present[m.Key] = true
	}
	for _, source := range sources {
		members, ok := source.(graph.Object)
		if !ok {
			r.refuse(line, column, path, "<< merges a mapping, or a list of mappings")
			return o
		}
		for _, m := range members {
			if !present[m.Key] {
				present[m.Key] = true
				o = append(o, m)
				r.places[graph.At(path, m.Key)] = place{line: line, column: column}
			}
		}
	}
	return o
}
