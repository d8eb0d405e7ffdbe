package graph

import (
	"errors"
	"math"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// maxResult is how large a computed payload may be.
const maxResult = 256 << 10

// evaluation is one call into a graph: it holds what its expressions read, and their common budget. It is the activation of its
// programs.
type evaluation struct {
	graph *Graph
	view  View
	input any
	item  any
	last  any
	own   any
	steps map[string]any
	cost  uint64
}

func (g *Graph) evaluation(view View) *evaluation { return &evaluation{graph: g, view: view} }

// ResolveName implements cel.Activation.
func (v *evaluation) ResolveName(name string) (any, bool) {
	switch name {
	case "input":
		return v.input, true
	case "steps":
		return v.steps, true
	case "index":
		return int64(v.view.Index), true
	case "item":
		return v.item, true
	case "last":
		return v.last, true
	case "output":
		return v.own, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (v *evaluation) Parent() cel.Activation { return nil }

// eval evaluates an expression. Errors are *EvalError.
func (v *evaluation) eval(e *expression) (ref.Val, error) {
	p, err := v.graph.program(e)
	if err != nil {
		return nil, err
	}
	if err := v.prepare(p); err != nil {
		return nil, err
	}
	result, details, err := p.Eval(v)
	var cost uint64
	if details != nil && details.ActualCost() != nil {
		cost = *details.ActualCost()
	}
	v.cost += cost
	v.view.Work.evaluated(cost)
	if v.cost > maxCost {
		return nil, e.failed(CostLimit)
	}
	if err != nil {
		return nil, e.failed(evalCode(err))
	}
	return result, nil
}

func (e *expression) failed(code string) *EvalError {
	return &EvalError{Code: code, Where: e.where, Expression: e.text}
}

// prepare decodes what a program reads.
func (v *evaluation) prepare(p *program) error {
	if p.input {
		var err error
		if v.input, err = v.view.Input.decode(v.view.Work, v.graph.shape()); err != nil {
			return &EvalError{Code: DataInvalid, Where: "input"}
		}
	}
	for _, data := range [...]struct {
		read bool
		from *Data
		to   *any
		name string
	}{{p.item, v.view.Item, &v.item, "item"}, {p.last, v.view.Last, &v.last, "last"}, {p.own, v.view.Own, &v.own, "output"}} {
		if !data.read {
			continue
		}
		var err error
		if *data.to, err = data.from.decode(v.view.Work, nil); err != nil {
			return &EvalError{Code: DataInvalid, Where: data.name}
		}
	}
	if len(p.steps) > 0 && v.steps == nil {
		v.steps = map[string]any{}
	}
	for _, r := range p.steps {
		if err := v.step(r.id); err != nil {
			return err
		}
	}
	return nil
}

// step makes steps.ID: with an output if the step has completed, with an error if it has failed.
func (v *evaluation) step(id string) error {
	if _, ok := v.steps[id]; ok {
		return nil
	}
	state := map[string]any{}
	if node, ok := v.graph.byID[id]; ok {
		if data, completed := v.view.Output(node); completed {
			output, err := data.decode(v.view.Work, nil)
			if err != nil {
				return &EvalError{Code: DataInvalid, Where: At("steps", id) + ".output"}
			}
			state["output"] = output
		} else if code, reason, failed := v.view.Failure(node); failed {
			state["error"] = map[string]any{"code": code, "reason": reason}
		}
	}
	v.steps[id] = state
	return nil
}

// decodePayload reads a payload; none at all is null.
func decodePayload(data []byte) (any, error) {
	if len(data) == 0 {
		return nil, nil
	}
	return decodeValue(data)
}

// render writes a template's value. v may be nil for a template in which nothing is computed.
func (t template) render(out *encoder, v *evaluation) error {
	switch {
	case t.literal != nil:
		if out.buf = append(out.buf, t.literal...); len(out.buf) > out.max {
			return errTooLarge
		}
		return nil
	case t.whole != nil:
		result, err := v.eval(t.whole)
		if err != nil {
			return err
		}
		return t.whole.encoded(out.value(result, 0))
	case t.text != nil:
		text, err := v.text(t.text, out.max)
		if err != nil {
			return err
		}
		return out.value(text, 0)
	case t.list != nil:
		return t.renderList(out, v)
	}
	return t.renderObject(out, v)
}

// encoded makes an encoder's error the expression's.
func (e *expression) encoded(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooLarge):
		return e.failed(TooLarge)
	}
	return e.failed(NotJSON)
}

func (t template) renderList(out *encoder, v *evaluation) error {
	out.buf = append(out.buf, '[')
	for i, item := range t.list {
		if i > 0 {
			out.buf = append(out.buf, ',')
		}
		if err := item.render(out, v); err != nil {
			return err
		}
	}
	out.buf = append(out.buf, ']')
	return nil
}

func (t template) renderObject(out *encoder, v *evaluation) error {
	out.buf = append(out.buf, '{')
	for i, m := range t.object {
		if i > 0 {
			out.buf = append(out.buf, ',')
		}
		out.buf = append(appendString(out.buf, m.key), ':')
		if err := m.value.render(out, v); err != nil {
			return err
		}
	}
	out.buf = append(out.buf, '}')
	return nil
}

// text joins literals and results.
func (v *evaluation) text(parts []part, max int) (string, error) {
	var buf []byte
	for _, p := range parts {
		if p.expr == nil {
			buf = append(buf, p.literal...)
			continue
		}
		result, err := v.eval(p.expr)
		if err != nil {
			return "", err
		}
		var code string
		if buf, code = appendText(buf, result); code == "" && len(buf) > max {
			code = TooLarge
		}
		if code != "" {
			return "", p.expr.failed(code)
		}
	}
	return string(buf), nil
}

// appendText writes a scalar as people read it, or says why it cannot.
func appendText(buf []byte, v ref.Val) ([]byte, string) {
	switch v := v.(type) {
	case types.String:
		return append(buf, v...), ""
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return buf, NotJSON
		}
		return appendFloat(buf, float64(v)), ""
	case types.Bool, types.Int, types.Uint:
		e := encoder{buf: buf, max: math.MaxInt}
		if err := e.cel(v, 0); err != nil {
			return buf, NotJSON
		}
		return e.buf, ""
	}
	return buf, TypeMismatch
}
