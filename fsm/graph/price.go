package graph

import (
	"maps"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// price says what the calls cost whose work grows with their arguments. cel-go prices them by the
// overload that the checker chose, and so charges next to nothing where types are dynamic.
type price struct{}

// bytesPerUnit is how much text is compared or copied for one unit of cost.
const bytesPerUnit = 64

// CallCost implements cel-go's ActualCostEstimator. Nil leaves a call to cel-go.
func (price) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	var work uint64
	switch function {
	case operators.In:
		if _, ok := args[1].(traits.Lister); ok {
			work = weight(args[1])
		}
	case operators.Equals, operators.NotEquals:
		work = min(weight(args[0]), weight(args[1]))
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		work = min(length(args[0]), length(args[1])) / bytesPerUnit
	case operators.Add:
		work = length(result) / bytesPerUnit
	case overloads.Contains, overloads.StartsWith, overloads.EndsWith:
		work = (length(args[0]) + length(args[1])) / bytesPerUnit
	case overloads.Size, overloads.TypeConvertInt, overloads.TypeConvertDouble:
		work = length(args[0]) / bytesPerUnit
	default:
		return nil
	}
	cost := 1 + work
	return &cost
}

// length is a text's in bytes, zero for other values.
func length(v ref.Val) uint64 {
	s, _ := v.(types.String)
	return uint64(len(s))
}

// weight counts the values in a value, a long text several times. It stops above what any evaluation may
// cost, and is then exactly one more.
func weight(v any) uint64 {
	s := scale{left: maxCost}
	if !s.weigh(v) {
		return maxCost + 1
	}
	return maxCost - s.left
}

type scale struct{ left uint64 }

// weigh takes a value's weight from what is left, or reports false.
func (s *scale) weigh(v any) bool {
	if val, ok := v.(ref.Val); ok {
		switch val := val.(type) {
		case types.String:
			v = string(val)
		case traits.Lister:
			return s.list(val)
		case traits.Mapper:
			return s.mapper(val)
		}
	}
	switch v := v.(type) {
	case string:
		return s.take(1 + uint64(len(v))/bytesPerUnit)
	case []any:
		ok := s.take(1)
		for i := 0; ok && i < len(v); i++ {
			ok = s.weigh(v[i])
		}
		return ok
	case map[string]any:
		ok := s.take(1 + uint64(len(v)))
		for value := range maps.Values(v) { // a sum has no order
			ok = ok && s.weigh(value)
		}
		return ok
	}
	return s.take(1)
}

func (s *scale) take(n uint64) bool {
	if n > s.left {
		return false
	}
	s.left -= n
	return true
}

// list and mapper weigh what CEL made or wraps; what it wraps is weighed as it was decoded.
func (s *scale) list(l traits.Lister) bool {
	if decoded, ok := l.Value().([]any); ok {
		return s.weigh(decoded)
	}
	ok := s.take(1)
	for it := l.Iterator(); ok && it.HasNext() == types.True; {
		ok = s.weigh(it.Next())
	}
	return ok
}

func (s *scale) mapper(m traits.Mapper) bool {
	if decoded, ok := m.Value().(map[string]any); ok {
		return s.weigh(decoded)
	}
	ok := s.take(1)
	for it := m.Iterator(); ok && it.HasNext() == types.True; {
		key := it.Next()
		ok = s.weigh(key) && s.weigh(m.Get(key))
	}
	return ok
}
