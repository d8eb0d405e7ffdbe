package graph

import (
	"cmp"
	"slices"
)

// StepKey is a correlation key: a name, and a text with expressions.
type StepKey struct{ Name, Value string }

// MaxKeys is how many correlation keys an instance has.
const MaxKeys = 16

// stepKey is a StepKey that is compiled.
type stepKey struct {
	name, where string
	value       []part
}

// Key is a correlation key.
type Key struct{ Name, Value string }

// keysOf reads a mapping of names to values, in the order of the names.
func (r *reader) keysOf(path string, v any, shape string) []StepKey {
	o, ok := r.object(path, v, shape)
	if !ok {
		return nil
	}
	var keys []StepKey
	for _, m := range o {
		where := At(path, m.Key)
		r.checkName(where, m.Key)
		value, ok := r.text(where, m.Value)
		if ok && value == "" {
			r.refuse(where, "a key's value must not be empty")
		}
		keys = append(keys, StepKey{m.Key, value})
	}
	if len(o) == 0 {
		r.refuse(path, "%s", shape)
	}
	slices.SortFunc(keys, func(a, b StepKey) int { return cmp.Compare(a.Name, b.Name) })
	return keys
}

// stepNames reads the keys that a step gives its instance.
func (r *reader) stepNames(path string, o Object) []StepKey {
	v, ok := o.Get("keys")
	if !ok {
		return nil
	}
	path = At(path, "keys")
	keys := r.keysOf(path, v, "keys is a mapping of names to values, such as {shipment: \"${output.shipment}\"}")
	if len(keys) > MaxKeys {
		r.refuse(path, "an instance has at most %d keys; these are %d", MaxKeys, len(keys))
	}
	return keys
}

func canonicalKeys(keys []StepKey) Object {
	o := make(Object, len(keys))
	for i, k := range keys {
		o[i] = Member{k.Name, k.Value}
	}
	return o
}

// keys compiles those that a step gives its instance: their expressions see the step's own output.
func (c *compiler) keys(path string, keys []StepKey) (out []stepKey) {
	for _, k := range keys {
		where := At(At(path, "keys"), k.Name)
		parts := c.parts(where, k.Value)
		for _, p := range parts {
			if p.expr != nil {
				p.expr.use = asKey
			}
		}
		out = append(out, stepKey{name: k.Name, where: where, value: parts})
	}
	return out
}

// HasKeys says whether a node's step gives its instance keys.
func (g *Graph) HasKeys(node int) bool { return len(g.steps[node].keys) > 0 }

// Keys evaluates the keys that a step gives its instance, in the order of their names; view has the step's own output. Errors
// are *EvalError.
func (g *Graph) Keys(node int, view View) ([]Key, error) {
	keys := make([]Key, 0, len(g.steps[node].keys))
	v := g.evaluation(view)
	for _, k := range g.steps[node].keys {
		value, err := v.text(k.value, maxResult)
		if err != nil {
			return nil, err
		}
		if nameFault(value) != "" {
			return nil, &EvalError{Code: CorrelationInvalid, Where: k.where, Expression: spelled(k.value)}
		}
		keys = append(keys, Key{k.name, value})
	}
	return keys, nil
}
