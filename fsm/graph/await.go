package graph

import "fmt"

// Await is what an await step waits for: that an instance ends, or a step of it; or that those do that have a correlation key.
type Await struct {
	Instance string // a text with expressions; empty where it waits by a key
	Key      StepKey
	Step     string // empty: the whole instance
	// Of a wait by key: how many instances must have completed; zero is all that have the key.
	Count int
}

// MaxAwaited is how many instances a wait by key can ask for by number, and how many it tells.
const MaxAwaited = 100

func (r *reader) await(path string, v any) Await {
	o, ok := r.object(path, v, "await is a mapping {instance, step} or {key, step, of}")
	if !ok {
		return Await{}
	}
	r.known(path, o, "instance", "key", "step", "of")
	a := Await{}
	instance, byID := o.Get("instance")
	key, byKey := o.Get("key")
	switch {
	case byID && byKey:
		r.refuseKey(At(path, "key"), "a step waits for an instance by its id, or for instances by a key; remove one of them, or make a step of each")
	case byKey:
		a.Key = r.awaitedKey(At(path, "key"), key)
	case !byID:
		r.refuse(path, "instance is missing: the id of the instance to wait for, such as ${input.order}; or key: the correlation key that it has, such as {order: \"${input.order}\"}")
	default:
		if a.Instance, ok = r.text(At(path, "instance"), instance); ok && a.Instance == "" {
			r.refuse(At(path, "instance"), "an instance's id must not be empty")
		}
	}
	if _, ok := o.Get("step"); ok {
		a.Step = r.name(path, o, "step", "")
	}
	a.Count = r.of(path, o, byKey)
	return a
}

// awaitedKey reads the one key by which a step waits.
func (r *reader) awaitedKey(path string, v any) StepKey {
	keys := r.keysOf(path, v, "key is a mapping of one name to a value, such as {order: \"${input.order}\"}")
	if len(keys) > 1 {
		r.refuse(path, "a step waits by one key; these are %d: make a step of each", len(keys))
	}
	if len(keys) == 0 {
		return StepKey{}
	}
	return keys[0]
}

// of reads how many of those that have a key must have completed.
func (r *reader) of(path string, o Object, byKey bool) int {
	v, ok := o.Get("of")
	path = At(path, "of")
	switch {
	case !ok || v == "any" && byKey:
		return 1
	case !byKey:
		r.refuseKey(path, "an id is that of one instance; remove of, or wait by a key")
		return 1
	case v == "all":
		return 0
	}
	m, ok := v.(Object)
	if !ok {
		r.refuse(path, "of is any, all, or {atLeast: k}, not %s", describe(v))
		return 1
	}
	r.known(path, m, "atLeast")
	k, ok := m.Get("atLeast")
	if !ok {
		r.refuse(path, "atLeast is missing: how many of the instances must have completed")
		return 1
	}
	return int(r.integer(At(path, "atLeast"), k, 1, MaxAwaited))
}

func (a *Await) canonical() Object {
	if a.Key.Name == "" {
		o := Object{{"instance", a.Instance}}
		if a.Step != "" {
			o = append(o, Member{"step", a.Step})
		}
		return o
	}
	o := Object{{"key", canonicalKeys([]StepKey{a.Key})}}
	if a.Step != "" {
		o = append(o, Member{"step", a.Step})
	}
	switch {
	case a.Count == 0:
		o = append(o, Member{"of", "all"})
	case a.Count > 1:
		o = append(o, Member{"of", Object{{"atLeast", int64(a.Count)}}})
	}
	return o
}

// awaited compiles the id or the value of the key that a step waits by.
func (c *compiler) awaited(path string, a *Await) template {
	if path = At(path, "await"); a.Key.Name != "" {
		return c.string(At(At(path, "key"), a.Key.Name), a.Key.Value)
	}
	return c.string(At(path, "instance"), a.Instance)
}

// Awaited evaluates which instance a node waits for, or the value of the key that it waits by. Only for KindAwait. Errors are
// *EvalError.
func (g *Graph) Awaited(node int, view View) (string, error) {
	where, code := At(At(g.Path(node), "await"), "instance"), InstanceInvalid
	if name := g.Nodes[node].AwaitsKey; name != "" {
		where, code = At(At(At(g.Path(node), "await"), "key"), name), CorrelationInvalid
	}
	json, err := g.render(&g.steps[node].instance, where, view)
	if err != nil {
		return "", err
	}
	value, err := decodeValue(json)
	id, isText := value.(string)
	if n, isNumber := value.(int64); isNumber && code == CorrelationInvalid {
		id, isText = fmt.Sprint(n), true
	}
	if err != nil || !isText || nameFault(id) != "" {
		return "", &EvalError{Code: code, Where: where, Expression: g.steps[node].instance.said()}
	}
	return id, nil
}

// Satisfied is the output of a step that waited by a key, as JSON: how many instances completed, and which of these it is told, by id.
func Satisfied(ids []string, count int64) []byte {
	list := make([]any, len(ids))
	for i, id := range ids {
		list[i] = id
	}
	json, err := encodeValue(Object{{"count", count}, {"instances", list}}, maxResult)
	if err != nil { // ids and their number have their bounds
		return []byte("{}")
	}
	return json
}
