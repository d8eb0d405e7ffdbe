package graph

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaURL names the inputSchema to the library. Nothing is ever loaded.
const schemaURL = "lockstep:inputSchema"

// draft is the only dialect; in it formats are annotations, so that no format's implementation decides.
const draft = "https://json-schema.org/draft/2020-12/schema"

// noLoader refuses every reference out of the schema: apply reads no file and no network.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a reference may point only into the schema itself")
}

func compileSchema(source any) (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(schemaURL, source); err != nil {
		return nil, err
	}
	return c.Compile(schemaURL)
}

// checkSchema says what is wrong with the inputSchema.
func (g *Graph) checkSchema() *Problem {
	root, ok := g.schemaSource.(map[string]any)
	if !ok {
		return nil
	}
	if d, ok := root["$schema"]; ok && d != draft {
		return &Problem{Path: At("inputSchema", "$schema"), Message: "only the dialect " + draft + " is supported; remove $schema", Unsupported: true}
	}
	if path, ok := refers(root, "inputSchema"); ok {
		return &Problem{Path: path, Message: "references in the inputSchema are not supported by this version; write the schema out in place", Unsupported: true}
	}
	if _, err := compileSchema(g.schemaSource); err != nil {
		return schemaFault(err)
	}
	return nil
}

// refers finds a reference. They are refused because a few of them can make a check exponentially expensive.
func refers(v any, path string) (string, bool) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			switch key {
			case "$ref", "$dynamicRef", "$id", "$anchor", "$dynamicAnchor":
				return At(path, key), true
			}
			if found, ok := refers(v[key], At(path, key)); ok {
				return found, true
			}
		}
	case []any:
		for i, item := range v {
			if found, ok := refers(item, AtIndex(path, i)); ok {
				return found, true
			}
		}
	}
	return "", false
}

// schemaFault names the first place in the schema that is wrong.
func schemaFault(err error) *Problem {
	p := &Problem{Path: "inputSchema", Message: "this is not valid JSON Schema: " + oneLine(err.Error())}
	var invalid *jsonschema.SchemaValidationError
	var misfit *jsonschema.ValidationError
	if errors.As(err, &invalid) && errors.As(invalid.Err, &misfit) {
		first := slices.MinFunc(leaves(misfit), func(a, b *jsonschema.ValidationError) int {
			return cmp.Or(slices.Compare(a.InstanceLocation, b.InstanceLocation), cmp.Compare(b.Error(), a.Error()))
		})
		_, why, _ := strings.Cut(first.Error(), "': ")
		p.Path, p.Message = locationPath("inputSchema", first.InstanceLocation), "this is not valid JSON Schema: "+oneLine(why)
	}
	return p
}

func oneLine(s string) string { return shorten(strings.ReplaceAll(s, "\n", " "), 300) }

func locationPath(path string, tokens []string) string {
	for _, token := range tokens {
		if i, err := strconv.Atoi(token); err == nil {
			path = AtIndex(path, i)
		} else {
			path = At(path, token)
		}
	}
	return path
}

// leaves are the errors that have no cause below them, in no order.
func leaves(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	var list []*jsonschema.ValidationError
	for _, cause := range e.Causes {
		list = append(list, leaves(cause)...)
	}
	return list
}

// CheckInput holds an input (nil is null) against the inputSchema. The error, an *EvalError, names the first
// place in the input that does not fit, by path, and the keyword of the schema.
func (g *Graph) CheckInput(input []byte) error {
	if g.schemaSource == nil {
		if len(input) > 0 && checkValue(input) != nil {
			return &EvalError{Code: DataInvalid, Where: "input"}
		}
		return nil
	}
	value, err := decodePayload(input)
	if err != nil {
		return &EvalError{Code: DataInvalid, Where: "input"}
	}
	schema, err := g.inputSchema()
	if err != nil {
		return &EvalError{Code: InputInvalid, Where: "input", Expression: "inputSchema"}
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(value); errors.As(err, &invalid) {
		return firstMisfit(invalid)
	} else if err != nil {
		return &EvalError{Code: InputInvalid, Where: "input", Expression: "inputSchema"}
	}
	return nil
}

func (g *Graph) inputSchema() (*jsonschema.Schema, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	if g.schema == nil {
		g.schema, err = compileSchema(g.schemaSource)
	}
	return g.schema, err
}

// firstMisfit is the least of the library's errors, which come in no order.
func firstMisfit(e *jsonschema.ValidationError) *EvalError {
	var first *EvalError
	for _, leaf := range leaves(e) {
		one := &EvalError{Code: InputInvalid, Where: locationPath("input", leaf.InstanceLocation), Expression: strings.Join(leaf.ErrorKind.KeywordPath(), "/")}
		if first == nil || cmp.Or(cmp.Compare(one.Where, first.Where), cmp.Compare(one.Expression, first.Expression)) < 0 {
			first = one
		}
	}
	return first
}
