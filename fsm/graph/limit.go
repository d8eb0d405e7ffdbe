package graph

// Limit is a rate limit of which each lease of a step takes a slot: no more of them than Limit in any time of Per.
type Limit struct {
	Key   string // in a definition a text with expressions
	Limit int32
	Per   int64 // nanoseconds
}

const (
	maxLimits = 4         // of a step
	maxSlots  = 1_000_000 // of a limit
	minPer    = int64(1e9)
	maxPer    = day
)

// limit is a limit whose key is computed.
type limit struct {
	Limit
	where string
	key   []part
}

func (r *reader) limits(path string, o Object) []Limit {
	v, ok := o.Get("limits")
	if !ok {
		return nil
	}
	path = At(path, "limits")
	list := r.list(path, v, "limits")
	if len(list) > maxLimits {
		r.refuse(path, "a step has at most %d limits; this one has %d", maxLimits, len(list))
	}
	var limits []Limit
	for i, item := range list {
		limits = append(limits, r.limit(AtIndex(path, i), item))
	}
	return limits
}

// limit reads one. Without per it would be a number of places, and those are permits of a lock.
func (r *reader) limit(path string, v any) (l Limit) {
	o, ok := r.object(path, v, "a limit is a mapping {key, limit, per}")
	if !ok {
		return l
	}
	r.known(path, o, "key", "limit", "per")
	if key, ok := o.Get("key"); !ok {
		r.refuse(path, "key is missing: the text by which leases are counted, such as \"partner/${input.partner}\"")
	} else if l.Key, ok = r.text(At(path, "key"), key); ok && l.Key == "" {
		r.refuse(At(path, "key"), "a limit's key must not be empty")
	}
	if n, ok := o.Get("limit"); !ok {
		r.refuse(path, "limit is missing: how many leases there may be in the time that per says")
	} else {
		l.Limit = int32(r.integer(At(path, "limit"), n, 1, maxSlots))
	}
	if _, ok := o.Get("per"); !ok {
		r.refuse(path, "per is missing: the time in which so many leases may be, such as 1m; how many may be at once is a lock with permits: locks: [{name, limit}]")
		return l
	}
	if l.Per = r.duration(path, o, "per", minPer); l.Per < minPer || l.Per > maxPer {
		r.refuse(At(path, "per"), "per is from 1s to 1d, not %s", formatDuration(l.Per))
	}
	return l
}

func (s *Step) canonicalLimits() []any {
	list := make([]any, len(s.Limits))
	for i, l := range s.Limits {
		list[i] = Object{{"key", l.Key}, {"limit", int64(l.Limit)}, {"per", formatDuration(l.Per)}}
	}
	return list
}

func (c *compiler) limits(path string, limits []Limit) (out []limit) {
	for i, l := range limits {
		where := At(AtIndex(At(path, "limits"), i), "key")
		out = append(out, limit{Limit: l, where: where, key: c.parts(where, l.Key)})
	}
	return out
}

// LimitsOf evaluates the keys of a node's limits, in the order of the definition. Limits whose keys turn out equal become one if they are
// the same otherwise, and are a LIMIT_CONFLICT if not. Errors are *EvalError.
func (g *Graph) LimitsOf(node int, view View) (limits []Limit, err error) {
	v := g.evaluation(view)
next:
	for _, l := range g.steps[node].limits {
		this := l.Limit
		if this.Key, err = v.text(l.key, maxResult); err != nil {
			return nil, err
		}
		if nameFault(this.Key) != "" {
			return nil, l.failed(LimitInvalid)
		}
		for _, other := range limits {
			if other == this {
				continue next
			}
			if other.Key == this.Key {
				return nil, l.failed(LimitConflict)
			}
		}
		limits = append(limits, this)
	}
	return limits, nil
}

func (l *limit) failed(code string) *EvalError {
	return &EvalError{Code: code, Where: l.where, Expression: spelled(l.key)}
}
