package graph

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// shape is what an inputSchema says about a value where it says it simply: one type, the properties of an
// object, the items of a list. What it leaves open is nil, and dynamic.
type shape struct {
	kind   string   // JSON Schema's name of the type
	name   string   // an object's type in messages; never one that an expression could name
	names  []string // of the fields, sorted
	fields map[string]*shape
	closed bool // no other properties
	items  *shape
}

// shapeOf reads a schema; path names it.
func shapeOf(schema any, path string, depth int) *shape {
	m, ok := schema.(map[string]any)
	if !ok || depth > maxNesting {
		return nil
	}
	kind, ok := m["type"].(string)
	if !ok {
		return nil
	}
	s := &shape{kind: kind, name: "object " + path}
	switch kind {
	case "object":
		properties, ok := m["properties"].(map[string]any)
		if !ok {
			return nil
		}
		s.closed = m["additionalProperties"] == false && m["patternProperties"] == nil
		s.fields = map[string]*shape{}
		s.names = sortedKeys(properties)
		for _, name := range s.names {
			s.fields[name] = shapeOf(properties[name], At(path, name), depth+1)
		}
	case "array":
		s.items = shapeOf(m["items"], path+"[]", depth+1)
	case "string", "integer", "number", "boolean":
	default:
		return nil
	}
	return s
}

// cel is the shape's type in expressions.
func (s *shape) cel() *cel.Type {
	if s == nil {
		return cel.DynType
	}
	switch s.kind {
	case "string":
		return cel.StringType
	case "integer":
		return cel.IntType
	case "number":
		return cel.DoubleType
	case "boolean":
		return cel.BoolType
	case "array":
		return cel.ListType(s.items.cel())
	}
	return cel.ObjectType(s.name)
}

// fit turns the integers that are declared as "number" into doubles, so that arithmetic on a field does not depend on
// whether its value happens to be integral.
func (s *shape) fit(v any) any {
	if s == nil {
		return v
	}
	switch v := v.(type) {
	case int64:
		if s.kind == "number" {
			return float64(v)
		}
	case []any:
		if s.items != nil {
			for i := range v {
				v[i] = s.items.fit(v[i])
			}
		}
	case map[string]any:
		for _, name := range s.names {
			if old, ok := v[name]; ok {
				v[name] = s.fields[name].fit(old)
			}
		}
	}
	return v
}

// provider knows the objects of a shape by name, above CEL's own types.
type provider struct {
	types.Provider
	objects map[string]*shape
}

func newProvider(root *shape) (*provider, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	p := &provider{Provider: registry, objects: map[string]*shape{}}
	p.add(root)
	return p, nil
}

func (p *provider) add(s *shape) {
	if s == nil {
		return
	}
	if s.kind == "object" {
		p.objects[s.name] = s
	}
	for _, name := range s.names {
		p.add(s.fields[name])
	}
	p.add(s.items)
}

func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldType returns a declared field's type, dyn for an undeclared one, and nothing if the schema allows
// no others.
func (p *provider) FindStructFieldType(object, field string) (*types.FieldType, bool) {
	s, ok := p.objects[object]
	if !ok {
		return p.Provider.FindStructFieldType(object, field)
	}
	declared, ok := s.fields[field]
	if !ok && s.closed {
		return nil, false
	}
	return &types.FieldType{Type: declared.cel()}, true
}
