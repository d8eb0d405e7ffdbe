package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// maxNodes bounds what a source's aliases expand to: more than any source of maxSource bytes spells out.
const maxNodes = 300_000

// yamlReader turns YAML's syntax into a value.
type yamlReader struct {
	*tree
	open  map[*yaml.Node]bool // what encloses the node that is being read
	nodes int
}

// yaml reads the source as YAML.
func (t *tree) yaml() any {
	decoder := yaml.NewDecoder(bytes.NewReader(t.src))
	var document, second yaml.Node
	err := decoder.Decode(&document)
	switch {
	case errors.Is(err, io.EOF) || err == nil && document.Content[0].Tag == "!!null":
		t.refuse(1, 1, "", "the source is empty; begin with workflow: NAME")
		return nil
	case err != nil:
		t.refuseSyntax(err)
		return nil
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		t.refuse(second.Content[0].Line, second.Content[0].Column, "", "a source is one document; remove the others")
	case !errors.Is(err, io.EOF):
		t.refuseSyntax(err)
	}
	r := &yamlReader{tree: t, open: map[*yaml.Node]bool{}}
	return r.value("", document.Content[0], place{}, 0)
}

func (r *yamlReader) value(path string, n *yaml.Node, p place, depth int) any {
	r.nodes++
	p.line, p.column = n.Line, n.Column
	switch {
	case r.nodes == maxNodes:
		r.refuse(p.line, p.column, path, "the aliases expand to too much; write less with them")
		return nil
	case r.nodes > maxNodes:
		return nil
	case depth > maxDepth:
		r.refuse(p.line, p.column, path, fmt.Sprintf("it nests deeper than %d levels", maxDepth))
		return nil
	case n.Style&yaml.TaggedStyle != 0:
		r.refuse(p.line, p.column, path, "tags are not supported; remove it")
		return nil
	}
	r.places[path] = p
	r.open[n] = true
	defer delete(r.open, n)
	switch n.Kind {
	case yaml.MappingNode:
		return r.mapping(path, n, depth)
	case yaml.SequenceNode:
		return r.sequence(path, n, depth)
	case yaml.AliasNode:
		return r.alias(path, n, p, depth)
	}
	return r.scalar(path, n, p)
}

func (r *yamlReader) scalar(path string, n *yaml.Node, p place) any {
	p.scalar = n.Tag != "!!null" // of which there may be nothing to point at
	defer func() { r.places[path] = p }()
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		v, why := number(n)
		if why != "" {
			r.refuse(p.line, p.column, path, why)
		}
		return v
	}
	if _, err := graph.DecodeOrdered([]byte(n.Value)); n.Style == 0 && errors.Is(err, graph.ErrRange) {
		r.refuse(p.line, p.column, path, outOfRange)
	}
	p.value = n.Value
	return n.Value
}

const outOfRange = "this number is out of range; put it in quotes if it is a string"

// number reads YAML's spellings of numbers beyond those of JSON: 0x1f, 0o17, 0b1, 1_000, +1, .5.
func number(n *yaml.Node) (v any, why string) {
	v, err := graph.DecodeOrdered([]byte(n.Value))
	switch {
	case err == nil:
		return v, ""
	case errors.Is(err, graph.ErrRange):
		return nil, outOfRange
	case len(n.Value) > 1 && strings.Trim(n.Value, "0123456789_") == "":
		if n.Value[0] == '0' {
			return nil, "a number that begins with 0 is octal to some and decimal to others; write 0o17 or 15, or put it in quotes"
		}
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, "this number has no JSON form; write another, or put it in quotes if it is a string"
	}
	var i int64
	if n.Tag == "!!int" && n.Decode(&i) == nil {
		return i, ""
	}
	v, err = graph.DecodeOrdered(strconv.AppendFloat(nil, f, 'g', -1, 64))
	if err != nil {
		return nil, "this number has no JSON form"
	}
	return v, ""
}

func (r *yamlReader) sequence(path string, n *yaml.Node, depth int) any {
	list := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		at := graph.AtIndex(path, i)
		v := r.value(at, item, place{}, depth+1)
		r.name(path, at, v)
		list = append(list, v)
	}
	return list
}

func (r *yamlReader) alias(path string, n *yaml.Node, p place, depth int) any {
	if r.open[n.Alias] {
		r.refuse(p.line, p.column, path, fmt.Sprintf("the alias *%s stands inside its own anchor; write the value", n.Value))
		return nil
	}
	return r.value(path, n.Alias, p, depth+1)
}

func (r *yamlReader) mapping(path string, n *yaml.Node, depth int) any {
	o := graph.Object{}
	present := map[string]bool{}
	var merged []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := graph.At(path, key.Value)
		switch {
		case key.Tag == "!!merge":
			merged = append(merged, value)
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str":
			r.refuse(key.Line, key.Column, path, "a key must be a string; put it in quotes")
		case present[key.Value]:
			r.refuse(key.Line, key.Column, at, fmt.Sprintf("the key %q appears twice; remove one", key.Value))
		default:
			present[key.Value] = true
			o = append(o, graph.Member{Key: key.Value, Value: r.value(at, value, place{keyLine: key.Line, keyColumn: key.Column}, depth+1)})
		}
	}
	for _, from := range merged {
		o = r.merge(path, o, present, from, depth)
	}
	return o
}

// merge adds the keys of a mapping, or of a list of them, that are not present. They stand where the merge stands.
func (r *yamlReader) merge(path string, o graph.Object, present map[string]bool, from *yaml.Node, depth int) graph.Object {
	aside := &yamlReader{tree: newTree(r.src), open: r.open, nodes: r.nodes}
	v := aside.value(path, from, place{}, depth+1)
	r.nodes = aside.nodes
	r.errors = append(r.errors, aside.errors...)
	sources, ok := v.([]any)
	if !ok {
		sources = []any{v}
	}
	for _, source := range sources {
		members, ok := source.(graph.Object)
		if !ok {
			r.refuse(from.Line, from.Column, path, "<< merges a mapping, or a list of mappings")
			return o
		}
		for _, m := range members {
			if !present[m.Key] {
				present[m.Key] = true
				o = append(o, m)
				r.places[graph.At(path, m.Key)] = place{line: from.Line, column: from.Column}
			}
		}
	}
	return o
}
