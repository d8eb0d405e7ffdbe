package graph

import (
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Timer is when a timer step fires: so long after it was begun, or at a date that Until says, a text with expressions.
type Timer struct {
	After int64 // nanoseconds
	Until string
}

func (r *reader) timer(path string, v any) Timer {
	o, ok := r.object(path, v, "timer is a mapping {after} or {until}")
	if !ok {
		return Timer{}
	}
	r.known(path, o, "after", "until")
	until, dated := o.Get("until")
	_, counted := o.Get("after")
	switch {
	case dated && counted:
		r.refuse(path, "a timer has after (how long) or until (a date), not both")
	case counted:
		return Timer{After: r.duration(path, o, "after", 0)}
	case dated:
		text, _ := r.text(At(path, "until"), until)
		return Timer{Until: r.date(At(path, "until"), text)}
	default:
		r.refuse(path, "a timer needs after (how long) or until (a date)")
	}
	return Timer{}
}

// date refuses a date that is written out and is none; what is computed shows when it is.
func (r *reader) date(path, text string) string {
	if _, ok := parseDate(text); !ok && !strings.Contains(text, "${") {
		r.refuse(path, "%q is no date; write RFC 3339, such as 2030-01-31T09:00:00Z, or ${an expression}", shorten(text, 40))
	}
	return text
}

func (t Timer) canonical() Object {
	if t.Until != "" {
		return Object{{"until", t.Until}}
	}
	return Object{{"after", formatDuration(t.After)}}
}

// notDate is what the error of timestamp() begins with.
const notDate = "not a date"

// dateFunctions are what the expressions of a date have beside the language: timestamp() and duration() of texts, which read
// what the definition itself writes as a date or a timeout. The operators that add and compare the two are the language's
// already, which has no other way to make one.
func dateFunctions() []cel.EnvOption {
	return []cel.EnvOption{
		cel.Function("timestamp", cel.Overload("text_to_timestamp", []*cel.Type{cel.StringType}, cel.TimestampType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			at, ok := parseDate(string(v.(types.String)))
			if !ok {
				return types.NewErr(notDate)
			}
			return timestampOf(at)
		}))),
		cel.Function("duration", cel.Overload("text_to_duration", []*cel.Type{cel.StringType}, cel.DurationType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			length, ok := parseDuration(string(v.(types.String)))
			if !ok {
				return types.NewErr("not a duration")
			}
			return types.Duration{Duration: time.Duration(length)}
		}))),
	}
}

// timestampOf is a date as CEL has it.
func timestampOf(nanoseconds int64) ref.Val {
	second := int64(time.Second)
	whole := types.Int(floorDiv(nanoseconds, second))
	rest := types.Duration{Duration: time.Duration(nanoseconds - int64(whole)*second)}
	at, ok := whole.ConvertToType(types.TimestampType).(types.Timestamp)
	if !ok {
		return types.NewErr(notDate)
	}
	return at.Add(rest)
}

// Until evaluates the date of a timer step, to unix nanoseconds. Only for nodes with Dated. Errors are *EvalError.
func (g *Graph) Until(node int, view View) (int64, error) {
	t := &g.steps[node].until
	v := g.evaluation(view)
	if t.whole != nil {
		result, err := v.eval(t.whole)
		if err != nil {
			return 0, err
		}
		switch result := result.(type) {
		case types.Timestamp:
			if at, ok := nanoseconds(result.Unix(), int64(result.Nanosecond())); ok {
				return at, nil
			}
			return 0, t.whole.failed(DateInvalid)
		case types.String:
			if at, ok := parseDate(string(result)); ok {
				return at, nil
			}
			return 0, t.whole.failed(DateInvalid)
		}
		return 0, t.whole.failed(TypeMismatch)
	}
	return v.dateOf(t, At(At(At("steps", g.Nodes[node].ID), "timer"), "until"))
}

// dateOf reads a date that is a text.
func (v *evaluation) dateOf(t *template, where string) (int64, error) {
	out := encoder{max: maxResult}
	if err := t.render(&out, v); err != nil {
		return 0, err
	}
	decoded, err := decodeValue(out.buf)
	text, _ := decoded.(string)
	if at, ok := parseDate(text); ok && err == nil {
		return at, nil
	}
	return 0, &EvalError{Code: DateInvalid, Where: where, Expression: shorten(text, 40)}
}
