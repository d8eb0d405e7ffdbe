package source

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// tree turns a source into a value and remembers where each part of it stands.
type tree struct {
	src    []byte
	places map[string]place  // by path
	named  map[string]string // the path of a step in a list, by its path by id
	errors Errors
}

func newTree(src []byte) *tree {
	return &tree{src: src, places: map[string]place{}, named: map[string]string{}}
}

// place is where a value and its key begin: lines and columns from 1, zero if there is no key.
type place struct {
	keyLine, keyColumn int
	line, column       int
	scalar             bool
	value              string // a scalar's, if it is a string
}

func (t *tree) refuse(line, column int, path, message string) {
	if len(t.errors) < maxErrors {
		t.errors = append(t.errors, &Error{Line: line, Column: column, Path: path, Message: message})
	}
}

// located gives problems their lines and columns.
func (t *tree) located(problems []graph.Problem) Errors {
	errors := make(Errors, 0, len(problems))
	for _, p := range problems {
		line, column := t.locate(p)
		errors = append(errors, &Error{Line: line, Column: column, Path: p.Path, Message: p.Message, Unsupported: p.Unsupported})
	}
	slices.SortStableFunc(errors, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return errors
}

func (t *tree) locate(p graph.Problem) (line, column int) {
	path := t.spelled(p.Path)
	at, ok := t.places[path]
	for !ok && path != "" { // a part that the source does not spell: the nearest that it does
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
		at, ok = t.places[path]
	}
	switch {
	case !ok:
		return 1, 1
	case at.keyLine > 0 && (p.Key || !at.scalar):
		return at.keyLine, at.keyColumn
	case p.Offset > 0 && p.Offset <= len(at.value):
		return t.inside(at, p.Offset)
	}
	return at.line, at.column
}

// inside finds a byte of a string in the source. A string that the source spells in another way (escapes, folded
// lines) counts from its beginning only.
func (t *tree) inside(at place, offset int) (line, column int) {
	before := at.value[:offset]
	text := []rune(t.line(at.line))
	for quote := range 2 {
		if start := at.column - 1 + quote; start <= len(text) && strings.HasPrefix(string(text[start:]), before) {
			return at.line, at.column + quote + utf8.RuneCountInString(before)
		}
	}
	last := before[strings.LastIndexByte(before, '\n')+1:]
	block := at.line + 1 + strings.Count(before, "\n") // a block scalar begins below its indicator
	text = []rune(t.line(block))
	indent := len(text) - len([]rune(strings.TrimLeft(string(text), " ")))
	if strings.HasPrefix(string(text[indent:]), last) {
		return block, indent + 1 + utf8.RuneCountInString(last)
	}
	return at.line, at.column
}

// line returns a line of the source, from 1.
func (t *tree) line(n int) string {
	rest := t.src
	for ; n > 1; n-- {
		newline := bytes.IndexByte(rest, '\n')
		if newline < 0 {
			return ""
		}
		rest = rest[newline+1:]
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r")))
}

// lineColumn is where a byte stands.
func lineColumn(src []byte, offset int) (line, column int) {
	before := src[:min(offset, len(src))]
	line = bytes.Count(before, []byte("\n")) + 1
	return line, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}

// name remembers that a step in a list goes by its id.
func (t *tree) name(list, item string, v any) {
	if o, ok := v.(graph.Object); ok && list == "steps" {
		if id, ok := o.Get("id"); ok {
			if s, ok := id.(string); ok {
				t.named[graph.At(list, s)] = item
			}
		}
	}
}

// spelled is a problem's path as the source spells it.
func (t *tree) spelled(path string) string {
	for end := len(path); end > 0; end = max(0, strings.LastIndexAny(path[:end], ".[")) {
		if item, ok := t.named[path[:end]]; ok {
			return item + path[end:]
		}
	}
	return path
}
