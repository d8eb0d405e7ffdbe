package api

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// codes is how refusals read on the wire. Every code has a row.
var codes = map[v1.Code]connect.Code{
	v1.Code_CODE_UNSPECIFIED:         connect.CodeInternal,
	v1.Code_CODE_INVALID:             connect.CodeInvalidArgument,
	v1.Code_CODE_NAMESPACE_NOT_FOUND: connect.CodeNotFound,
	v1.Code_CODE_NAMESPACE_EXISTS:    connect.CodeAlreadyExists,
	v1.Code_CODE_NAMESPACE_DELETING:  connect.CodeFailedPrecondition,
	v1.Code_CODE_NAMESPACE_IN_USE:    connect.CodeFailedPrecondition,
	v1.Code_CODE_WORKFLOW_NOT_FOUND:  connect.CodeNotFound,
	v1.Code_CODE_WORKFLOW_CONFLICT:   connect.CodeAlreadyExists,
	v1.Code_CODE_WORKFLOW_INVALID:    connect.CodeInvalidArgument,
	v1.Code_CODE_UNSUPPORTED:         connect.CodeUnimplemented,
	v1.Code_CODE_INSTANCE_NOT_FOUND:  connect.CodeNotFound,
	v1.Code_CODE_INSTANCE_EXISTS:     connect.CodeAlreadyExists,
	v1.Code_CODE_ALREADY_ENDED:       connect.CodeFailedPrecondition,
	v1.Code_CODE_INPUT_INVALID:       connect.CodeInvalidArgument,
	v1.Code_CODE_STEP_NOT_FOUND:      connect.CodeNotFound,
	v1.Code_CODE_RUN_NOT_FOUND:       connect.CodeNotFound,
	v1.Code_CODE_ALREADY_DONE:        connect.CodeAlreadyExists,
	v1.Code_CODE_FENCED:              connect.CodeFailedPrecondition,
	v1.Code_CODE_TOKEN_UNKNOWN:       connect.CodeInvalidArgument,
	v1.Code_CODE_SESSION_EXPIRED:     connect.CodeFailedPrecondition,
	v1.Code_CODE_REQUEST_TOO_OLD:     connect.CodeFailedPrecondition,
	v1.Code_CODE_LOCK_NOT_FOUND:      connect.CodeNotFound,
	v1.Code_CODE_LOCK_HELD:           connect.CodeFailedPrecondition,
	v1.Code_CODE_LOCK_LIMIT_DIFFERS:  connect.CodeFailedPrecondition,
	v1.Code_CODE_DEADLOCK:            connect.CodeFailedPrecondition,
	v1.Code_CODE_WAIT_TIMEOUT:        connect.CodeDeadlineExceeded,
	v1.Code_CODE_NO_LEADER:           connect.CodeUnavailable,
	v1.Code_CODE_UNKNOWN_OUTCOME:     connect.CodeAborted,
	v1.Code_CODE_OVERLOADED:          connect.CodeResourceExhausted,
	v1.Code_CODE_PAYLOAD_TOO_LARGE:   connect.CodeInvalidArgument,
	v1.Code_CODE_POSITION_COMPACTED:  connect.CodeOutOfRange,
	v1.Code_CODE_UNAVAILABLE:         connect.CodeUnavailable,
	v1.Code_CODE_MEMBER_NOT_FOUND:    connect.CodeNotFound,
	v1.Code_CODE_NOT_READY:           connect.CodeFailedPrecondition,
	v1.Code_CODE_MEMBER_CONFLICT:     connect.CodeAlreadyExists,
	v1.Code_CODE_SCHEDULE_NOT_FOUND:  connect.CodeNotFound,
	v1.Code_CODE_SCHEDULE_EXISTS:     connect.CodeAlreadyExists,
	v1.Code_CODE_KEY_AMBIGUOUS:       connect.CodeFailedPrecondition,
	v1.Code_CODE_VERSION_DRAINED:     connect.CodeFailedPrecondition,
	v1.Code_CODE_KEY_REFUSED:         connect.CodeInvalidArgument,
	v1.Code_CODE_STOPPING:            connect.CodeFailedPrecondition,
	v1.Code_CODE_INDEX_NOT_READY:     connect.CodeFailedPrecondition,
	v1.Code_CODE_BULK_NOT_FOUND:      connect.CodeNotFound,
	v1.Code_CODE_BULK_EXISTS:         connect.CodeAlreadyExists,
	v1.Code_CODE_BULK_LIMIT:          connect.CodeResourceExhausted,
	v1.Code_CODE_NOT_FAILED:          connect.CodeFailedPrecondition,
	v1.Code_CODE_STALE_PLAN:          connect.CodeFailedPrecondition,
	v1.Code_CODE_OBSERVATIONS_FULL:   connect.CodeResourceExhausted,
	v1.Code_CODE_REPORTER_NOT_FOUND:  connect.CodeNotFound,
	v1.Code_CODE_REPORTER_EXISTS:     connect.CodeAlreadyExists,
	v1.Code_CODE_REPORTER_LIMIT:      connect.CodeResourceExhausted,
	v1.Code_CODE_UPSTREAM_PENDING:    connect.CodeFailedPrecondition,
	v1.Code_CODE_UPSTREAM_UNFIT:      connect.CodeFailedPrecondition,
	v1.Code_CODE_NOT_RUNNING:         connect.CodeFailedPrecondition,
	v1.Code_CODE_STEP_NOT_BEGUN:      connect.CodeFailedPrecondition,
	v1.Code_CODE_RESET_BUSY:          connect.CodeFailedPrecondition,
}

// asConnect gives an error its code, and a refusal its detail.
func asConnect(err error) error {
	var already *connect.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	var refusal *fsm.Refusal
	switch {
	case errors.As(err, &refusal):
		return refuse(refusal.Detail)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	}
	return connect.NewError(connect.CodeInternal, err)
}

func refuse(r *v1.Refusal) error {
	if !utf8.ValidString(r.Reason) { // it may quote what was sent
		r = proto.CloneOf(r)
		r.Reason = strings.ToValidUTF8(r.Reason, "\uFFFD")
	}
	code, ok := codes[r.Code]
	if !ok { // a node of a later version refused
		code = connect.CodeFailedPrecondition
	}
	detail, err := connect.NewErrorDetail(r)
	if err != nil {
		return connect.NewError(connect.CodeInternal, err)
	}
	out := connect.NewError(code, errors.New((&fsm.Refusal{Detail: r}).Error()))
	out.AddDetail(detail)
	return out
}

// refusalOf finds the refusal in an error, whether of this node or from another.
func refusalOf(err error) *v1.Refusal {
	var own *fsm.Refusal
	if errors.As(err, &own) {
		return own.Detail
	}
	var remote *connect.Error
	if errors.As(err, &remote) {
		for _, detail := range remote.Details() {
			if value, err := detail.Value(); err == nil {
				if refusal, ok := value.(*v1.Refusal); ok {
					return refusal
				}
			}
		}
	}
	return nil
}
