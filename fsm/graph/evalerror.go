package graph

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/interpreter"
)

// EvalError is why an evaluation has no result. Events store it, so it holds codes and arguments of our own
// only, never a library's text.
type EvalError struct {
	Code       string // one of the codes below; the list only grows
	Where      string // the path in the definition, or in the data
	Expression string // the expression, or for INPUT_INVALID the schema's keyword
}

// The codes of EvalError.
const (
	MissingField       = "MISSING_FIELD"
	TypeMismatch       = "TYPE_MISMATCH"
	DivisionByZero     = "DIVISION_BY_ZERO"
	Overflow           = "OVERFLOW"
	OutOfRange         = "OUT_OF_RANGE" // an index into a list
	CostLimit          = "COST_LIMIT"
	NotJSON            = "NOT_JSON" // such as the quotient 0.0 / 0.0
	TooLarge           = "TOO_LARGE"
	TooMany            = "TOO_MANY" // items of a forEach
	LockInvalid        = "LOCK_INVALID"
	LockConflict       = "LOCK_CONFLICT" // two locks of a step turn out to be one, taken differently
	DataInvalid        = "DATA_INVALID"  // an input or output is not JSON
	InputInvalid       = "INPUT_INVALID" // the input does not fit the inputSchema
	ExpressionInvalid  = "EXPRESSION_INVALID"
	DateInvalid        = "DATE_INVALID"        // the result is no date, or one that no clock will tell
	InstanceInvalid    = "INSTANCE_INVALID"    // the result is no id of an instance
	BarrierInvalid     = "BARRIER_INVALID"     // the result is no name of a barrier
	PartiesInvalid     = "PARTIES_INVALID"     // the result is no number of parties
	KeyInvalid         = "KEY_INVALID"         // the result is no key of fairness
	LimitInvalid       = "LIMIT_INVALID"       // the result is no key of a limit
	LimitConflict      = "LIMIT_CONFLICT"      // two limits of a step turn out to have one key, and are not the same
	CorrelationInvalid = "CORRELATION_INVALID" // the result is no value of a correlation key
	EvaluationFailed   = "EVALUATION_FAILED"
)

// Error is a sentence that names the expression.
func (e *EvalError) Error() string {
	switch e.Code {
	case InputInvalid:
		return fmt.Sprintf("%s: %s does not fit the inputSchema (%s)", e.Code, e.Where, e.Expression)
	case DataInvalid:
		return fmt.Sprintf("%s: %s is not valid JSON", e.Code, e.Where)
	}
	return fmt.Sprintf("%s: %s in %s: %s", e.Code, e.sentence(), e.Where, e.Expression)
}

func (e *EvalError) sentence() string {
	switch e.Code {
	case MissingField:
		return "a field is missing"
	case TypeMismatch:
		return "a value has the wrong type"
	case DivisionByZero:
		return "division by zero"
	case Overflow:
		return "a number is out of range"
	case OutOfRange:
		return "an index is out of range"
	case CostLimit:
		return "the evaluation is too expensive"
	case NotJSON:
		return "the result has no JSON form"
	case TooLarge:
		return "the result is too large"
	case TooMany:
		return fmt.Sprintf("the result has more than %d items", maxItems)
	case LockInvalid:
		return "the result is not a lock's name"
	case DateInvalid:
		return "the result is not a date as RFC 3339 has it"
	case InstanceInvalid:
		return "the result is not an instance's id"
	case BarrierInvalid:
		return "the result is not a barrier's name"
	case PartiesInvalid:
		return fmt.Sprintf("the result is not a number of parties from 1 to %d", MaxParties)
	case KeyInvalid:
		return fmt.Sprintf("the result is not a key: it has more than %d bytes, or control characters", maxName)
	case LimitInvalid:
		return "the result is not a limit's key"
	case LimitConflict:
		return "the step has two limits with one key that are not the same"
	case CorrelationInvalid:
		return fmt.Sprintf("the result is not a correlation key's value: it is empty, no text, or has more than %d bytes or control characters", maxName)
	case LockConflict:
		return "the step takes one lock in two ways"
	}
	return "the expression cannot be evaluated"
}

// evalCode classifies cel-go's error. The library has types only for limits; for the rest its texts decide, and the golden
// corpus fails if an upgrade changes one.
func evalCode(err error) string {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) {
		return CostLimit
	}
	text := err.Error()
	for _, known := range [...]struct{ prefix, code string }{
		{"no such key", MissingField},
		{"no such attribute", MissingField},
		{"no such field", MissingField},
		{"no such overload", TypeMismatch},
		{"unsupported index", TypeMismatch},
		{"type conversion error", TypeMismatch},
		{"unsupported type", TypeMismatch},
		{"unexpected type", TypeMismatch},
		{"got ", TypeMismatch},
		{notDate, DateInvalid},
		{"division by zero", DivisionByZero},
		{"modulus by zero", DivisionByZero},
		{"integer overflow", Overflow},
		{"unsigned integer overflow", Overflow},
		{"range error", Overflow},
		{"index out of bounds", OutOfRange},
		{"index '", OutOfRange},
	} {
		if strings.HasPrefix(text, known.prefix) {
			return known.code
		}
	}
	return EvaluationFailed
}
