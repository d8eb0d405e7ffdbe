package graph

import (
	"errors"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Object is a JSON object whose members keep their order.
type Object []Member

// Member is one key of an Object with its value.
type Member struct {
	Key   string
	Value any
}

// Get returns the value of the first member of that key.
func (o Object) Get(key string) (any, bool) {
	for _, m := range o {
		if m.Key == key {
			return m.Value, true
		}
	}
	return nil, false
}

// maxDepth bounds how deep lists and objects nest, so that no payload can exhaust the stack.
const maxDepth = 1000

// ErrRange is a number that no float64 comes near.
var ErrRange = errors.New("number out of range")

var (
	errJSON      = errors.New("not valid JSON")
	errDepth     = errors.New("JSON nests too deep")
	errDuplicate = errors.New("a key appears twice")
)

// decodeValue reads one JSON value as nil, bool, int64, float64, string, []any or map[string]any. A number
// is an int64 if its value is integral and int64 holds it, however it is written (1, 1.0 and 1e0 are
// equal); else it is a float64. Of two equal keys the later one counts. Nothing here depends on
// encoding/json, whose details change between Go releases.
func decodeValue(data []byte) (any, error) {
	return decodeWith(decoder{data: data})
}

// DecodeOrdered is like decodeValue but yields Object for objects and refuses equal keys.
func DecodeOrdered(data []byte) (any, error) {
	return decodeWith(decoder{data: data, ordered: true})
}

// checkValue refuses what decodeValue does, and makes nothing.
func checkValue(data []byte) error {
	_, err := decodeWith(decoder{data: data, checks: true})
	return err
}

func decodeWith(d decoder) (any, error) {
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if d.space(); d.at != len(d.data) {
		return nil, errJSON
	}
	return v, nil
}

type decoder struct {
	data    []byte
	at      int
	ordered bool
	checks  bool // only: values are not made
}

func (d *decoder) space() {
	for d.at < len(d.data) {
		switch d.data[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// peek returns the next byte that is not white space, zero at the end.
func (d *decoder) peek() byte {
	d.space()
	if d.at == len(d.data) {
		return 0
	}
	return d.data[d.at]
}

func (d *decoder) value(depth int) (any, error) {
	switch c := d.peek(); c {
	case '{', '[':
		if depth == maxDepth {
			return nil, errDepth
		}
		if c == '{' {
			return d.object(depth)
		}
		return d.array(depth)
	case '"':
		return d.string()
	case 't':
		return true, d.word("true")
	case 'f':
		return false, d.word("false")
	case 'n':
		return nil, d.word("null")
	default:
		return d.number()
	}
}

func (d *decoder) word(w string) error {
	if len(d.data)-d.at < len(w) || string(d.data[d.at:d.at+len(w)]) != w {
		return errJSON
	}
	d.at += len(w)
	return nil
}

func (d *decoder) object(depth int) (any, error) {
	if d.ordered {
		o := Object{}
		seen := map[string]bool{}
		err := d.members(depth, func(key string, v any) error {
			if seen[key] {
				return errDuplicate
			}
			seen[key] = true
			o = append(o, Member{Key: key, Value: v})
			return nil
		})
		return o, err
	}
	if d.checks {
		return nil, d.members(depth, func(string, any) error { return nil })
	}
	m := map[string]any{}
	return m, d.members(depth, func(key string, v any) error {
		m[key] = v
		return nil
	})
}

func (d *decoder) members(depth int, add func(string, any) error) error {
	d.at++
	if d.peek() == '}' {
		d.at++
		return nil
	}
	for {
		if d.peek() != '"' {
			return errJSON
		}
		key, err := d.string()
		if err != nil {
			return err
		}
		if d.peek() != ':' {
			return errJSON
		}
		d.at++
		v, err := d.value(depth + 1)
		if err != nil {
			return err
		}
		if err := add(key, v); err != nil {
			return err
		}
		if more, err := d.next('}'); !more {
			return err
		}
	}
}

func (d *decoder) array(depth int) (any, error) {
	d.at++
	list := []any{}
	if d.peek() == ']' {
		d.at++
		return list, nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if !d.checks {
			list = append(list, v)
		}
		if more, err := d.next(']'); !more {
			return list, err
		}
	}
}

// next passes a comma (more is true) or the closing byte.
func (d *decoder) next(closing byte) (more bool, err error) {
	c := d.peek()
	if c != ',' && c != closing {
		return false, errJSON
	}
	d.at++
	return c == ',', nil
}

func (d *decoder) number() (any, error) {
	start, integral := d.at, true
	if d.byte('-') && d.at == len(d.data) {
		return nil, errJSON
	}
	if !d.byte('0') && d.digits() == 0 {
		return nil, errJSON
	}
	if d.byte('.') {
		if integral = false; d.digits() == 0 {
			return nil, errJSON
		}
	}
	if d.byte('e') || d.byte('E') {
		integral = false
		if !d.byte('+') {
			d.byte('-')
		}
		if d.digits() == 0 {
			return nil, errJSON
		}
	}
	text := string(d.data[start:d.at])
	if integral {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			if d.checks {
				return nil, nil
			}
			return i, nil
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, ErrRange
	}
	return number(f), nil
}

// exact bounds the integers that float64 counts without gaps.
const exact = 1 << 53

// number is the one form of a JSON number that is not written as an integer.
func number(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) <= exact {
		return int64(f)
	}
	return f
}

func (d *decoder) byte(c byte) bool {
	if d.at < len(d.data) && d.data[d.at] == c {
		d.at++
		return true
	}
	return false
}

func (d *decoder) digits() int {
	start := d.at
	for d.at < len(d.data) && d.data[d.at] >= '0' && d.data[d.at] <= '9' {
		d.at++
	}
	return d.at - start
}

func (d *decoder) string() (string, error) {
	d.at++
	start := d.at
	for d.at < len(d.data) {
		switch c := d.data[d.at]; {
		case c == '"':
			s := d.data[start:d.at]
			d.at++
			if !utf8.Valid(s) {
				return "", errJSON
			}
			if d.checks {
				return "", nil
			}
			return string(s), nil
		case c == '\\':
			return d.escaped(start)
		case c < ' ':
			return "", errJSON
		}
		d.at++
	}
	return "", errJSON
}

// escaped reads on from the first backslash of a string that began at start.
func (d *decoder) escaped(start int) (string, error) {
	buf := append([]byte(nil), d.data[start:d.at]...)
	for d.at < len(d.data) {
		c := d.data[d.at]
		d.at++
		switch {
		case c == '"':
			if !utf8.Valid(buf) {
				return "", errJSON
			}
			return string(buf), nil
		case c < ' ':
			return "", errJSON
		case c != '\\':
			buf = append(buf, c)
		default:
			var err error
			if buf, err = d.escape(buf); err != nil {
				return "", err
			}
		}
	}
	return "", errJSON
}

func (d *decoder) escape(buf []byte) ([]byte, error) {
	if d.at == len(d.data) {
		return nil, errJSON
	}
	c := d.data[d.at]
	d.at++
	switch c {
	case '"', '\\', '/':
		return append(buf, c), nil
	case 'b':
		return append(buf, '\b'), nil
	case 'f':
		return append(buf, '\f'), nil
	case 'n':
		return append(buf, '\n'), nil
	case 'r':
		return append(buf, '\r'), nil
	case 't':
		return append(buf, '\t'), nil
	case 'u':
		r, ok := d.hex()
		if !ok {
			return nil, errJSON
		}
		return utf8.AppendRune(buf, d.pair(r)), nil
	}
	return nil, errJSON
}

// pair joins a surrogate with the one that follows; a lone surrogate becomes U+FFFD.
func (d *decoder) pair(r rune) rune {
	if !utf16.IsSurrogate(r) {
		return r
	}
	back := d.at
	if d.byte('\\') && d.byte('u') {
		if low, ok := d.hex(); ok {
			if joined := utf16.DecodeRune(r, low); joined != utf8.RuneError {
				return joined
			}
		}
	}
	d.at = back
	return utf8.RuneError
}

func (d *decoder) hex() (rune, bool) {
	if len(d.data)-d.at < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(d.data[d.at:d.at+4]), 16, 32)
	d.at += 4
	return rune(n), err == nil
}
