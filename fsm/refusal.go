package fsm

import (
	"fmt"
	"strings"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Refusal is a command's expected "no". It is an error, for those who pass it on.
type Refusal struct {
	Detail *v1.Refusal
	fact   bool // an event of the same command tells it
}

// Refuse returns a refusal with a sentence for people.
func Refuse(code v1.Code, format string, args ...any) *Refusal {
	return &Refusal{Detail: &v1.Refusal{Code: code, Reason: fmt.Sprintf(format, args...)}}
}

// Error returns the code and the sentence.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: %s", CodeName(r.Detail.GetCode()), r.Detail.GetReason())
}

// With sets what stands in the way.
func (r *Refusal) With(holder *v1.Holder) *Refusal {
	r.Detail.Holder = holder
	if holder != nil {
		r.Detail.Token = holder.Token
	}
	return r
}

// asFact marks a refusal that an event tells: the command may refuse although it has emitted.
func (r *Refusal) asFact() *Refusal {
	r.fact = true
	return r
}

// CodeName is the code's name as people write it: FENCED, not CODE_FENCED. One of a later version is a number.
func CodeName(code v1.Code) string { return strings.TrimPrefix(code.String(), "CODE_") }
