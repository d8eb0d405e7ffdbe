package graph

// Barrier is what a barrier step waits at: until so many parties have come there, of any instances.
type Barrier struct {
	Name    string // a text with expressions
	Parties any    // a number, or an expression that yields one
}

// MaxParties is how many parties a barrier has at most: all of them go on in one entry of the log.
const MaxParties = 1000

func (r *reader) barrier(path string, v any) Barrier {
	o, ok := r.object(path, v, "barrier is a mapping {name, parties}")
	if !ok {
		return Barrier{}
	}
	r.known(path, o, "name", "parties")
	b := Barrier{}
	switch v, ok := o.Get("name"); {
	case !ok:
		r.refuse(path, "name is missing: the name at which the parties meet, such as batch-${input.day}")
	default:
		if b.Name, ok = r.text(At(path, "name"), v); ok && b.Name == "" {
			r.refuse(At(path, "name"), "a barrier's name must not be empty")
		}
	}
	switch v, ok := o.Get("parties"); {
	case !ok:
		r.refuse(path, "parties is missing: how many must come before all go on")
	case isWholeExpression(v):
		b.Parties = v
	default:
		b.Parties = r.integer(At(path, "parties"), v, 1, MaxParties)
	}
	return b
}

func (b *Barrier) canonical() Object {
	return Object{{"name", b.Name}, {"parties", b.Parties}}
}

// barrier is a Barrier that is compiled.
type barrier struct{ name, parties template }

func (c *compiler) barrier(path string, b *Barrier) *barrier {
	return &barrier{name: c.string(At(path, "name"), b.Name), parties: c.value(At(path, "parties"), b.Parties, 0)}
}

// Barrier evaluates at which barrier a node waits, and for how many parties. Only for KindBarrier. Errors are *EvalError.
func (g *Graph) Barrier(node int, view View) (name string, parties int, err error) {
	b, path := g.steps[node].barrier, At(g.Path(node), "barrier")
	named, err := g.rendered(&b.name, At(path, "name"), view)
	if err != nil {
		return "", 0, err
	}
	name, isText := named.(string)
	if !isText || nameFault(name) != "" {
		return "", 0, &EvalError{Code: BarrierInvalid, Where: At(path, "name"), Expression: b.name.said()}
	}
	counted, err := g.rendered(&b.parties, At(path, "parties"), view)
	if err != nil {
		return "", 0, err
	}
	count, isNumber := counted.(int64)
	if !isNumber || count < 1 || count > MaxParties {
		return "", 0, &EvalError{Code: PartiesInvalid, Where: At(path, "parties"), Expression: b.parties.said()}
	}
	return name, int(count), nil
}

// rendered is a template's value.
func (g *Graph) rendered(t *template, where string, view View) (any, error) {
	json, err := g.render(t, where, view)
	if err != nil {
		return nil, err
	}
	value, err := decodeValue(json)
	if err != nil {
		return nil, &EvalError{Code: DataInvalid, Where: where}
	}
	return value, nil
}

// Passed is the output of a step that passed a barrier, as JSON: the generation, which all that passed with it have and no others, and
// the step's place among them by when they came.
func Passed(generation int64, arrival, parties int) []byte {
	json, err := encodeValue(Object{{"generation", generation}, {"arrival", int64(arrival)}, {"parties", int64(parties)}}, maxResult)
	if err != nil { // numbers have their bounds
		return []byte("{}")
	}
	return json
}
