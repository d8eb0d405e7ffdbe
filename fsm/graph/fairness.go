package graph

// Fairness says by which key a step's runs take turns in their queue, and how many turns a key has by them where another
// has one.
type Fairness struct {
	Key    string // a text with expressions; empty is none
	Weight int
}

const maxWeight = 1_000

// fairness is a key that is computed.
type fairness struct {
	where string
	key   []part
}

func (r *reader) fairness(path string, o Object) Fairness {
	v, ok := o.Get("fairness")
	if !ok {
		return Fairness{}
	}
	path = At(path, "fairness")
	m, ok := r.object(path, v, "fairness is a mapping {key, weight}")
	if !ok {
		return Fairness{}
	}
	r.known(path, m, "key", "weight")
	f := Fairness{Weight: 1}
	if key, ok := m.Get("key"); !ok {
		r.refuse(path, "key is missing: the text by which runs take turns, such as \"${input.customer}\"")
	} else if f.Key, ok = r.text(At(path, "key"), key); ok && f.Key == "" {
		r.refuse(At(path, "key"), "key is empty; remove fairness, or write a text, such as \"${input.customer}\"")
	}
	if w, ok := m.Get("weight"); ok {
		f.Weight = int(r.integer(At(path, "weight"), w, 1, maxWeight))
	}
	return f
}

func (f *Fairness) canonical() Object {
	o := Object{{"key", f.Key}}
	if f.Weight != 1 {
		o = append(o, Member{"weight", int64(f.Weight)})
	}
	return o
}

func (c *compiler) fairness(path string, f Fairness) fairness {
	if f.Key == "" {
		return fairness{}
	}
	where := At(At(path, "fairness"), "key")
	return fairness{where: where, key: c.parts(where, f.Key)}
}

// FairnessKey evaluates the key by which a node's run takes turns; a node without one is of the empty key, and so is one whose
// key turns out empty. Errors are *EvalError.
func (g *Graph) FairnessKey(node int, view View) (string, error) {
	f := &g.steps[node].fair
	if len(f.key) == 0 {
		return "", nil
	}
	key, err := g.evaluation(view).text(f.key, maxResult)
	if err == nil && key != "" && nameFault(key) != "" {
		return "", &EvalError{Code: KeyInvalid, Where: f.where, Expression: spelled(f.key)}
	}
	return key, err
}
