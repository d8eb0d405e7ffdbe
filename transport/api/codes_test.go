package api

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func TestEveryCodeHasARow(t *testing.T) {
	t.Parallel()
	for number, name := range v1.Code_name {
		if _, ok := codes[v1.Code(number)]; !ok {
			t.Errorf("%s has no row", name)
		}
	}
	for code, want := range map[v1.Code]connect.Code{ // what clients were promised
		v1.Code_CODE_FENCED: connect.CodeFailedPrecondition, v1.Code_CODE_UNKNOWN_OUTCOME: connect.CodeAborted,
		v1.Code_CODE_OVERLOADED: connect.CodeResourceExhausted, v1.Code_CODE_NO_LEADER: connect.CodeUnavailable,
	} {
		if codes[code] != want {
			t.Errorf("%v is %v", code, codes[code])
		}
	}
}

// An error that is a refusal comes with all that it says; others with a code.
func TestErrorsOnTheWire(t *testing.T) {
	t.Parallel()
	held := fsm.Refuse(v1.Code_CODE_FENCED, "held").With(&v1.Holder{Token: 7, SessionId: "3"})
	err := asConnect(fmt.Errorf("complete: %w", held))
	if r := refusedBy(t, err); r.Code != v1.Code_CODE_FENCED || r.Token != 7 || r.Holder.SessionId != "3" {
		t.Errorf("on the wire: %v", r)
	}
	if r := refusalOf(asConnect(fsm.Refuse(v1.Code_CODE_INVALID, "quotes \xff"))); r == nil || !utf8.ValidString(r.Reason) {
		t.Errorf("a reason that is not UTF-8: %v", r)
	}
	if err := asConnect(fsm.Refuse(v1.Code(999), "by a later version")); connect.CodeOf(err) != connect.CodeFailedPrecondition || refusalOf(err).GetCode() != 999 {
		t.Errorf("a code that is not known: %v", err)
	}
	for in, want := range map[error]connect.Code{
		context.Canceled: connect.CodeCanceled, context.DeadlineExceeded: connect.CodeDeadlineExceeded, errors.New("x"): connect.CodeInternal,
	} {
		if got := connect.CodeOf(asConnect(in)); got != want {
			t.Errorf("%v is %v", in, got)
		}
	}
	if asConnect(nil) != nil {
		t.Error("no error is one")
	}
}
