package graph

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of a definition.
const (
	maxDefinition = 512 << 10
	maxSteps      = 10_000
	maxName       = 256
	maxLocks      = 32
	maxCodes      = 32
	maxAttempts   = 1_000_000
	maxPriority   = 1_000_000
	maxPermits    = 1_000_000
	maxRace       = 32
	maxDuration   = 3650 * day
)

// Read turns a definition's value (of nil, bool, int64, float64, string, []any and Object) into a Definition. It refuses
// what has no place in the language; Check finds what does not fit together.
func Read(value any) (*Definition, []Problem) {
	r := &reader{}
	o, ok := r.object("", value, "a definition is a mapping with the keys workflow and steps")
	if !ok {
		return nil, r.problems
	}
	d := &Definition{}
	r.known("", o, "workflow", "version", "inputSchema", "compensation", "timeouts", "steps", "output")
	d.Workflow = r.name("", o, "workflow", "")
	if v, ok := o.Get("version"); ok {
		d.Version = int32(r.integer("version", v, 1, 1<<31-1))
	}
	d.InputSchema = r.schema(o)
	d.Total = r.total(o)
	d.Output, d.HasOutput = o.Get("output")
	if steps, ok := o.Get("steps"); !ok {
		r.refuse("", "steps is missing; a workflow needs at least one step")
	} else {
		d.Steps = r.steps("steps", steps)
	}
	d.Sequential = r.sequential(o, d.Steps)
	return d, r.problems
}

// reader collects problems; after the tenth it keeps silent.
type reader struct {
	problems     []Problem
	depth, count int // of steps inside each other, and of all
}

func (r *reader) add(p Problem) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, p)
	}
}

func (r *reader) refuse(path, format string, args ...any) {
	r.add(Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// refuseKey is a refusal of the key itself.
func (r *reader) refuseKey(path, format string, args ...any) {
	r.add(Problem{Path: path, Key: true, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) unsupported(path, format string, args ...any) {
	r.add(Problem{Path: path, Key: true, Message: fmt.Sprintf(format, args...), Unsupported: true})
}

// known refuses the keys of o that are not in the list.
func (r *reader) known(path string, o Object, keys ...string) {
	for _, m := range o {
		if !slices.Contains(keys, m.Key) {
			r.refuseKey(At(path, m.Key), "unknown key %q%s", m.Key, suggest(m.Key, keys, "; known here: "+strings.Join(keys, ", ")))
		}
	}
}

func (r *reader) object(path string, v any, want string) (Object, bool) {
	o, ok := v.(Object)
	if !ok {
		r.refuse(path, "%s, not %s", want, describe(v))
	}
	return o, ok
}

func (r *reader) list(path string, v any, want string) []any {
	list, ok := v.([]any)
	if !ok {
		r.refuse(path, "%s is a list, not %s", want, describe(v))
	}
	return list
}

func (r *reader) text(path string, v any) (string, bool) {
	s, ok := v.(string)
	if !ok {
		r.refuse(path, "must be a string, not %s; put it in quotes", describe(v))
	}
	return s, ok
}

func (r *reader) integer(path string, v any, low, high int64) int64 {
	n, ok := v.(int64)
	if !ok {
		r.refuse(path, "must be a whole number, not %s", describe(v))
		return low
	}
	if n < low || n > high {
		r.refuse(path, "must be from %d to %d, not %d", low, high, n)
		return low
	}
	return n
}

func (r *reader) boolean(path string, v any) bool {
	b, ok := v.(bool)
	if !ok {
		r.refuse(path, "must be true or false, not %s", describe(v))
	}
	return b
}

// name reads a required name (fallback empty) or an optional one. Names are fixed: they hold no templates.
func (r *reader) name(path string, o Object, key, fallback string) string {
	v, ok := o.Get(key)
	if !ok {
		if fallback == "" {
			r.refuse(path, "%s is missing", key)
		}
		return fallback
	}
	s, ok := r.text(At(path, key), v)
	if !ok {
		return fallback
	}
	r.checkName(At(path, key), s)
	if strings.Contains(s, "${") {
		r.unsupported(At(path, key), "%s is a fixed name in this version; it cannot contain ${...}", key)
	}
	return s
}

func (r *reader) checkName(path, s string) {
	if why := nameFault(s); why != "" {
		r.refuse(path, "a name %s", why)
	}
}

// nameFault says what is wrong with a name, or nothing.
func nameFault(s string) string {
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > maxName:
		return "has at most " + strconv.Itoa(maxName) + " bytes; this one has " + strconv.Itoa(len(s))
	case !utf8.ValidString(s):
		return "must be valid UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "must not contain control characters"
	}
	return ""
}

func (r *reader) duration(path string, o Object, key string, fallback int64) int64 {
	v, ok := o.Get(key)
	if !ok {
		return fallback
	}
	path = At(path, key)
	s, ok := v.(string)
	if !ok {
		r.refuse(path, "a duration is a number with a unit (ms s m h d), such as 30s, not %s", describe(v))
		return fallback
	}
	ns, ok := parseDuration(s)
	switch {
	case !ok:
		r.refuse(path, "%q is not a duration; write whole numbers with the units ms s m h d, such as 500ms, 30s or 1h30m", s)
	case ns > maxDuration:
		r.refuse(path, "a duration is at most 3650d")
	case ns == 0 && key != "heartbeat":
		r.refuse(path, "%s must be more than zero", key)
	default:
		return ns
	}
	return fallback
}

func (r *reader) schema(o Object) any {
	v, ok := o.Get("inputSchema")
	if !ok {
		return nil
	}
	s, ok := r.object("inputSchema", v, "inputSchema is a JSON Schema, a mapping")
	if !ok {
		return nil
	}
	return plain(s)
}

// total reads how long an instance may take as a whole; zero is for ever.
func (r *reader) total(o Object) int64 {
	v, ok := o.Get("timeouts")
	if !ok {
		return 0
	}
	m, ok := r.object("timeouts", v, "timeouts of a workflow is a mapping {total}")
	if !ok {
		return 0
	}
	r.known("timeouts", m, "total")
	return r.duration("timeouts", m, "total", 0)
}

// plain turns every Object in a value into a map.
func plain(v any) any {
	switch v := v.(type) {
	case Object:
		m := make(map[string]any, len(v))
		for _, member := range v {
			m[member.Key] = plain(member.Value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = plain(item)
		}
		return list
	}
	return v
}

func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "the string " + strconv.Quote(shorten(v, 40))
	case []any:
		return "a list"
	}
	return "a mapping"
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
