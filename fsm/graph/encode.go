package graph

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

var (
	errNotJSON  = errors.New("value has no JSON form")
	errTooLarge = errors.New("value is too large")
)

// encoder writes the one JSON form of a value: members of maps sorted by the bytes of their keys, no white
// space, nothing escaped that need not be, numbers as appendFloat says. It stops at max bytes, because
// an expression can name a large value many times.
type encoder struct {
	buf []byte
	max int
}

// encodeValue writes a value, or errNotJSON or errTooLarge.
func encodeValue(v any, max int) ([]byte, error) {
	e := encoder{max: max}
	if err := e.value(v, 0); err != nil {
		return nil, err
	}
	return e.done()
}

func (e *encoder) done() ([]byte, error) {
	if len(e.buf) > e.max {
		return nil, errTooLarge
	}
	return e.buf, nil
}

func (e *encoder) value(v any, depth int) error {
	if depth > maxDepth {
		return errNotJSON
	}
	if len(e.buf) > e.max {
		return errTooLarge
	}
	switch v := v.(type) {
	case nil:
		e.buf = append(e.buf, "null"...)
	case bool:
		e.buf = strconv.AppendBool(e.buf, v)
	case int64:
		e.buf = strconv.AppendInt(e.buf, v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return errNotJSON
		}
		e.buf = appendFloat(e.buf, v)
	case string:
		e.buf = appendString(e.buf, v)
	case []any:
		return e.list(len(v), func(i int) any { return v[i] }, depth)
	case map[string]any:
		return e.object(sortedKeys(v), func(key string) any { return v[key] }, depth)
	case Object:
		return e.members(v, depth)
	case ref.Val:
		return e.cel(v, depth)
	default:
		return errNotJSON
	}
	if len(e.buf) > e.max {
		return errTooLarge
	}
	return nil
}

func (e *encoder) cel(v ref.Val, depth int) error {
	switch v := v.(type) {
	case types.Null:
		return e.value(nil, depth)
	case types.Bool:
		return e.value(bool(v), depth)
	case types.Int:
		return e.value(int64(v), depth)
	case types.Uint:
		e.buf = strconv.AppendUint(e.buf, uint64(v), 10)
		return nil
	case types.Double:
		return e.value(float64(v), depth)
	case types.String:
		return e.value(string(v), depth)
	case traits.Lister:
		n, ok := v.Size().(types.Int)
		if !ok {
			return errNotJSON
		}
		return e.list(int(n), func(i int) any { return v.Get(types.Int(i)) }, depth)
	case traits.Mapper:
		return e.mapper(v, depth)
	}
	return errNotJSON
}

func (e *encoder) mapper(m traits.Mapper, depth int) error {
	var keys []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		key, ok := it.Next().(types.String)
		if !ok {
			return errNotJSON
		}
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	return e.object(keys, func(key string) any { return m.Get(types.String(key)) }, depth)
}

func (e *encoder) list(n int, get func(int) any, depth int) error {
	e.buf = append(e.buf, '[')
	for i := range n {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		if err := e.value(get(i), depth+1); err != nil {
			return err
		}
	}
	e.buf = append(e.buf, ']')
	return nil
}

func (e *encoder) object(keys []string, get func(string) any, depth int) error {
	e.buf = append(e.buf, '{')
	for i, key := range keys {
		if err := e.member(i, key, get(key), depth); err != nil {
			return err
		}
	}
	e.buf = append(e.buf, '}')
	return nil
}

// members writes an Object in its own order.
func (e *encoder) members(o Object, depth int) error {
	e.buf = append(e.buf, '{')
	for i, m := range o {
		if err := e.member(i, m.Key, m.Value, depth); err != nil {
			return err
		}
	}
	e.buf = append(e.buf, '}')
	return nil
}

func (e *encoder) member(i int, key string, v any, depth int) error {
	if i > 0 {
		e.buf = append(e.buf, ',')
	}
	e.buf = append(appendString(e.buf, key), ':')
	return e.value(v, depth+1)
}

// appendFloat writes the shortest digits that read back as f: as an integer where f is one below 2^53, else
// plain from 1e-6 to below 1e21 and with an exponent outside, as RFC 8785 has it. So 2.0 is 2, and 1e21 is 1e+21.
func appendFloat(buf []byte, f float64) []byte {
	if i, ok := number(f).(int64); ok {
		return strconv.AppendInt(buf, i, 10)
	}
	format := byte('f')
	if abs := math.Abs(f); abs < 1e-6 || abs >= 1e21 {
		format = 'e'
	}
	buf = strconv.AppendFloat(buf, f, format, -1, 64)
	if n := len(buf); format == 'e' && buf[n-4] == 'e' && buf[n-2] == '0' { // e-07 is e-7
		buf = append(buf[:n-2], buf[n-1])
	}
	return buf
}

const hexDigits = "0123456789abcdef"

func appendString(buf []byte, s string) []byte {
	buf = append(buf, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			buf = append(buf, '\\', c)
		case c == '\n':
			buf = append(buf, '\\', 'n')
		case c == '\t':
			buf = append(buf, '\\', 't')
		case c == '\r':
			buf = append(buf, '\\', 'r')
		case c < ' ':
			buf = append(buf, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			buf = append(buf, c)
		}
	}
	return append(buf, '"')
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
