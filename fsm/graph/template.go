package graph

import (
	"cmp"
	"slices"
	"strings"
)

// expression is one CEL expression of a definition.
type expression struct {
	text   string
	where  string // the path of the string it stands in
	offset int    // where it begins in that string
	node   int    // the step it belongs to; noNode for the output of a scope
	scope  int    // the one that it is evaluated in
	turn   bool   // it is a loop's condition, which is looked at before each turn
	use    use
}

// noNode is the node of a scope's output, and the owner of the workflow.
const noNode = -1

// use is what becomes of an expression's result.
type use uint8

const (
	asValue use = iota // any JSON value
	asText             // part of a text: a string, number or boolean
	asBool
	asDate // a string or a timestamp
	asKey  // part of a key's value: as asText, and sees the step's own output
)

// template is a JSON value some of whose strings are computed: exactly one of the fields is set.
type template struct {
	literal []byte // JSON in which nothing is computed
	whole   *expression
	text    []part
	list    []template
	object  []member
}

type member struct {
	key   string
	value template
}

// part of a text: an expression, or else a literal.
type part struct {
	literal string
	expr    *expression
}

// maxNesting bounds how deep the templates of a definition nest.
const maxNesting = 64

// compiler turns the values of one step into templates, and collects their expressions.
type compiler struct {
	node  int // the one that it is at, and the scope that this is in
	scope int
	all   []*expression
	fault func(Problem)
}

// value compiles a value of nil, bool, int64, float64, string, []any and Object.
func (c *compiler) value(path string, v any, depth int) template {
	if depth > maxNesting {
		c.fault(Problem{Path: path, Message: "nests too deep; at most 64 levels"})
		return literal(nil)
	}
	switch v := v.(type) {
	case string:
		return c.string(path, v)
	case []any:
		tpl := template{list: make([]template, len(v))}
		for i, item := range v {
			tpl.list[i] = c.value(AtIndex(path, i), item, depth+1)
		}
		return tpl.folded(slices.ContainsFunc(tpl.list, template.computed))
	case Object:
		tpl := template{object: make([]member, len(v))}
		for i, m := range v {
			if strings.Contains(m.Key, "${") {
				c.fault(Problem{Path: At(path, m.Key), Message: "a key cannot contain ${...}; only values can"})
			}
			tpl.object[i] = member{m.Key, c.value(At(path, m.Key), m.Value, depth+1)}
		}
		slices.SortFunc(tpl.object, func(a, b member) int { return cmp.Compare(a.key, b.key) })
		return tpl.folded(slices.ContainsFunc(tpl.object, func(m member) bool { return m.value.computed() }))
	}
	return literal(v)
}

func (c *compiler) string(path, s string) template {
	parts := c.parts(path, s)
	if len(parts) == 1 && parts[0].expr != nil {
		parts[0].expr.use = asValue
		return template{whole: parts[0].expr}
	}
	if slices.ContainsFunc(parts, func(p part) bool { return p.expr != nil }) {
		return template{text: parts}
	}
	var text strings.Builder
	for _, p := range parts {
		text.WriteString(p.literal)
	}
	return literal(text.String())
}

func literal(v any) template {
	buf, err := encodeValue(v, maxDefinition)
	if err != nil { // the reader bounds what a definition holds
		buf = []byte("null")
	}
	return template{literal: buf}
}

func (t template) computed() bool { return t.literal == nil }

// folded is the template as a literal, unless something in it is computed.
func (t template) folded(computed bool) template {
	if computed {
		return t
	}
	e := encoder{max: maxDefinition}
	if err := t.render(&e, nil); err != nil {
		return literal(nil)
	}
	return template{literal: e.buf}
}

// parts splits a text at its ${expressions}. $${ stands for a literal ${.
func (c *compiler) parts(path, s string) []part {
	var parts []part
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			parts = append(parts, part{literal: text.String()})
			text.Reset()
		}
	}
	for at := 0; at < len(s); {
		switch {
		case strings.HasPrefix(s[at:], "$${"):
			text.WriteString("${")
			at += 3
		case strings.HasPrefix(s[at:], "${"):
			end := expressionEnd(s, at+2)
			if end < 0 {
				c.fault(Problem{Path: path, Offset: at, Message: "${ has no closing }; write $${ for a literal ${"})
				return parts
			}
			flush()
			parts = append(parts, part{expr: c.expression(path, s[at+2:end], at+2, asText)})
			at = end + 1
		default:
			text.WriteByte(s[at])
			at++
		}
	}
	flush()
	return parts
}

func (c *compiler) expression(path, text string, offset int, use use) *expression {
	if strings.TrimSpace(text) == "" {
		c.fault(Problem{Path: path, Offset: offset, Message: "the expression is empty"})
		return &expression{text: text, where: path, node: c.node, scope: c.scope}
	}
	e := &expression{text: text, where: path, offset: offset, node: c.node, scope: c.scope, use: use}
	c.all = append(c.all, e)
	return e
}

// isWholeExpression says whether a value is a string that is one expression.
func isWholeExpression(v any) bool {
	s, ok := v.(string)
	return ok && strings.HasPrefix(s, "${") && expressionEnd(s, 2) == len(s)-1
}

// expressionEnd finds the brace that closes an expression: braces nest, and those in CEL's string literals
// and comments do not count. It returns -1 if there is none.
func expressionEnd(s string, at int) int {
	depth := 0
	for ; at < len(s); at++ {
		switch c := s[at]; {
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return at
		case c == '}':
			depth--
		case c == '"' || c == '\'':
			if at = stringEnd(s, at); at < 0 {
				return -1
			}
		case strings.HasPrefix(s[at:], "//"):
			newline := strings.IndexByte(s[at:], '\n')
			if newline < 0 {
				return -1
			}
			at += newline
		}
	}
	return -1
}

// stringEnd finds the last byte of the string literal that begins at a quote, or -1.
func stringEnd(s string, at int) int {
	quote := s[at : at+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s[at:], triple) {
		quote = triple
	}
	raw := isRaw(s, at)
	for i := at + len(quote); i < len(s); i++ {
		if s[i] == '\\' && !raw {
			i++
		} else if strings.HasPrefix(s[i:], quote) {
			return i + len(quote) - 1
		}
	}
	return -1
}

// isRaw says whether the quote at that place opens a raw string: r"..." or rb"...".
func isRaw(s string, at int) bool {
	prefix := ""
	for at > 0 && len(prefix) < 3 && isIdentifier(s[at-1:at]) {
		at--
		prefix = s[at:at+1] + prefix
	}
	switch strings.ToLower(prefix) {
	case "r", "rb", "br":
		return true
	}
	return false
}
