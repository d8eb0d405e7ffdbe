package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// maxDepth is how deep a source nests.
const maxDepth = 100

// jsonReader reads the tokens of a JSON source and knows where they begin.
type jsonReader struct {
	*tree
	*json.Decoder
	at, line, column int // a byte that has been passed, and its place
}

// json reads the source as JSON.
func (t *tree) json() any {
	r := &jsonReader{tree: t, Decoder: json.NewDecoder(bytes.NewReader(t.src)), line: 1, column: 1}
	r.UseNumber()
	value, err := r.value("", place{}, 0)
	if err == nil {
		if _, err = r.Token(); err == nil {
			err = errors.New("something follows the definition; remove it")
		} else if errors.Is(err, io.EOF) {
			return value
		}
	}
	line, column := lineColumn(t.src, int(r.InputOffset()))
	t.refuse(line, column, "", "not valid JSON: "+jsonFault(err))
	return nil
}

func jsonFault(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the source ends too early"
	}
	return err.Error()
}

// begin is where the next token begins.
func (r *jsonReader) begin() (line, column int) {
	next := int(r.InputOffset())
	for next < len(r.src) && bytes.IndexByte([]byte(" \t\r\n,:"), r.src[next]) >= 0 {
		next++
	}
	for ; r.at < next; r.at++ {
		switch c := r.src[r.at]; {
		case c == '\n':
			r.line, r.column = r.line+1, 1
		case utf8.RuneStart(c):
			r.column++
		}
	}
	return r.line, r.column
}

func (r *jsonReader) value(path string, p place, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it nests deeper than %d levels", maxDepth)
	}
	p.line, p.column = r.begin()
	token, err := r.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		r.places[path] = p
		if token == '{' {
			return r.object(path, depth)
		}
		return r.array(path, depth)
	case json.Number:
		p.scalar = true
		r.places[path] = p
		v, err := graph.DecodeOrdered([]byte(token))
		if err != nil {
			return nil, fmt.Errorf("the number %s is out of range", token)
		}
		return v, nil
	case string:
		p.value = token
	}
	p.scalar = true
	r.places[path] = p
	return token, nil
}

func (r *jsonReader) object(path string, depth int) (any, error) {
	o := graph.Object{}
	seen := map[string]bool{}
	for r.More() {
		var p place
		p.keyLine, p.keyColumn = r.begin()
		token, err := r.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok {
			return nil, errors.New("a key must be a string")
		}
		if seen[key] {
			r.refuse(p.keyLine, p.keyColumn, graph.At(path, key), fmt.Sprintf("the key %q appears twice; remove one", key))
		}
		seen[key] = true
		v, err := r.value(graph.At(path, key), p, depth+1)
		if err != nil {
			return nil, err
		}
		o = append(o, graph.Member{Key: key, Value: v})
	}
	_, err := r.Token()
	return o, err
}

func (r *jsonReader) array(path string, depth int) (any, error) {
	list := []any{}
	for r.More() {
		item := graph.AtIndex(path, len(list))
		v, err := r.value(item, place{}, depth+1)
		if err != nil {
			return nil, err
		}
		r.name(path, item, v)
		list = append(list, v)
	}
	_, err := r.Token()
	return list, err
}
