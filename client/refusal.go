package client

import (
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Refusal is the cluster's expected "no". It unwraps to the *connect.Error that brought it.
type Refusal struct {
	Code v1.Code
	// Reason is a sentence for people.
	Reason string
	// Holder is what stands in the way, if something does.
	Holder *v1.Holder
	// Token that holds, or that was accepted before.
	Token int64
	// Leader is the API address of the leader, with NO_LEADER.
	Leader string
	// Output of the run, with ALREADY_DONE.
	Output *v1.Payload
	// Position is the first that is kept, with POSITION_COMPACTED.
	Position int64

	cause error
}

// Error is the code and the reason.
func (r *Refusal) Error() string { return CodeName(r.Code) + ": " + r.Reason }

// Unwrap is the error of the call.
func (r *Refusal) Unwrap() error { return r.cause }

// CodeName is a code as people write it: FENCED.
func CodeName(code v1.Code) string { return strings.TrimPrefix(code.String(), "CODE_") }

// AsRefusal finds the refusal in an error.
func AsRefusal(err error) (*Refusal, bool) {
	if own := (*Refusal)(nil); errors.As(err, &own) {
		return own, true
	}
	wire := (*connect.Error)(nil)
	if !errors.As(err, &wire) {
		return nil, false
	}
	for _, detail := range wire.Details() {
		if value, err := detail.Value(); err == nil {
			if m, ok := value.(*v1.Refusal); ok {
				return newRefusal(m, wire), true
			}
		}
	}
	return nil, false
}

func newRefusal(m *v1.Refusal, cause error) *Refusal {
	return &Refusal{
		Code: m.Code, Reason: m.Reason, Holder: m.Holder, Token: m.Token,
		Leader: m.Leader, Output: m.Output, Position: m.Position, cause: cause,
	}
}

// asError makes a refusal of an error that has one.
func asError(err error) error {
	if refusal, ok := AsRefusal(err); ok {
		return refusal
	}
	return err
}

// IsCode says that an error is a refusal with this code.
func IsCode(err error, code v1.Code) bool {
	refusal, ok := AsRefusal(err)
	return ok && refusal.Code == code
}

// IsFenced says that somebody else holds what a token held, or has done what it was for.
func IsFenced(err error) bool { return IsCode(err, v1.Code_CODE_FENCED) }

// IsAlreadyDone says that a run has ended; the Refusal has its output.
func IsAlreadyDone(err error) bool { return IsCode(err, v1.Code_CODE_ALREADY_DONE) }

// IsUnknownOutcome says that a call may have been done or not.
func IsUnknownOutcome(err error) bool { return IsCode(err, v1.Code_CODE_UNKNOWN_OUTCOME) }

// IsWaitTimeout says that a wait ended before there was something to grant.
func IsWaitTimeout(err error) bool { return IsCode(err, v1.Code_CODE_WAIT_TIMEOUT) }

// IsNotFound says that what was asked for does not exist.
func IsNotFound(err error) bool { return connect.CodeOf(err) == connect.CodeNotFound }

// isSessionExpired says that the cluster has ended the session.
func isSessionExpired(err error) bool { return IsCode(err, v1.Code_CODE_SESSION_EXPIRED) }

// Fail is a step's error that no retry can help: the run fails, and with it the instance. Return it from a Handler.
func Fail(code, reason string) error { return &StepError{Code: code, Reason: reason} }

// Retry is a step's error with a code: the run backs off and is tried again while attempts remain. Any other error that a
// Handler returns is a Retry with code ERROR.
func Retry(code, reason string) error { return &StepError{Code: code, Reason: reason, Retryable: true} }

// Release has a Handler give its run back, to be done by somebody else, without using an attempt.
func Release() error { return errRelease }

var errRelease = errors.New("released by the handler")

// StepError is how a step failed.
type StepError struct {
	Code      string
	Reason    string
	Retryable bool
}

// Error is the code and the reason.
func (e *StepError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Reason) }
